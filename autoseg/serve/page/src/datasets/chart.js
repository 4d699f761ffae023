import { el } from "../lib/dom.js";
import { svg, ticks } from "./svg.js";
import { figure } from "./words.js";

// The panels of a training, one above the other on one axis of iterations.
const PANELS = [
  { name: "train_loss", title: "Training loss", height: 140 },
  { name: "validation_dice", title: "Dice of validation patches", height: 140, low: 0, high: 1 },
  { name: "learning_rate", title: "Learning rate", height: 80, low: 0 },
];
const LEFT = 58;
const RIGHT = 12;
const ABOVE = 24;
const BELOW = 18;
const FOOT = 22;

/** The places of the points whose value is known, as they follow each other without a gap. */
function runs(values) {
  const found = [];
  let open = null;
  values.forEach((value, place) => {
    if (value === null) open = null;
    else if (open) open.push(place);
    else found.push(open = [place]);
  });
  return found;
}

function limits(panel, values) {
  const known = values.filter((value) => value !== null);
  const low = panel.low ?? Math.min(...known);
  const high = panel.high ?? Math.max(...known);
  return high > low ? [low, high] : [low - 0.5, low + 0.5];
}

function drawnPanel(panel, curve, top, x, width) {
  const values = curve[panel.name];
  const group = svg("g", { class: `plot ${panel.name}` });
  group.append(svg("text", { x: 0, y: top + 14, class: "plot-title" }, panel.title));
  if (!values.some((value) => value !== null)) {
    group.append(svg("text", { x: LEFT, y: top + ABOVE + 20, class: "tick" }, "no values yet"));
    return { group, y: null };
  }
  const [low, high] = limits(panel, values);
  const y = (value) => top + ABOVE + (1 - (value - low) / (high - low)) * (panel.height - ABOVE - BELOW);
  for (const tick of ticks(low, high, panel.height > 100 ? 4 : 2)) {
    group.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end", class: "tick" }, figure(tick)));
  }
  for (const run of runs(values)) {
    const path = run.map((place, n) => `${n ? "L" : "M"}${x(curve.iterations[place]).toFixed(1)} ${y(values[place]).toFixed(1)}`);
    group.append(svg("path", { d: path.join(""), class: "curve" }));
    if (run.length === 1) group.append(svg("circle", { cx: x(curve.iterations[run[0]]), cy: y(values[run[0]]), r: 2.5, class: "dot" }));
  }
  return { group, y };
}

function summary(curve) {
  const last = curve.iterations.length - 1;
  return `Curves of ${curve.iterations.length} epochs up to iteration ${curve.iterations[last].toLocaleString("en")}: `
    + PANELS.map((panel) => `${panel.title.toLowerCase()} ${figure(curve[panel.name][last])}`).join(", ")
    + ". Left and right arrow read one epoch after the other.";
}

function table(curve) {
  const n = curve.iterations.length;
  const step = Math.max(1, Math.ceil(n / 50)); // fifty rows are read, five hundred are not
  const places = curve.iterations.map((_, place) => place).filter((place) => place % step === 0 || place === n - 1);
  return el("details", { class: "as-table" }, el("summary", {}, "As a table"),
    el("div", { class: "scrolls", tabIndex: 0, role: "region", "aria-label": "Values of the curves" },
      el("table", {},
        el("thead", {}, el("tr", {}, ["Iteration", ...PANELS.map((panel) => panel.title)].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, places.map((place) => el("tr", {}, el("th", { scope: "row" }, curve.iterations[place].toLocaleString("en")),
          PANELS.map((panel) => el("td", {}, figure(curve[panel.name][place])))))))));
}

/**
 * The curves of a training: axes, a value under the pointer or by arrow keys, and a table of the same numbers.
 * `show(curve, iterations)` draws them anew; `iterations` is where the training will end.
 */
export function createChart() {
  const readout = el("p", { class: "readout", role: "status" });
  const frame = el("div", { class: "chart" });
  const tables = el("div");
  const element = el("figure", { class: "curves" }, frame, el("figcaption", {}, readout), tables);
  let drawn = null;
  let shown = null;
  let place = -1;

  function mark(next) {
    if (!shown || !shown.curve.iterations.length) return;
    const { curve } = shown;
    place = Math.max(0, Math.min(curve.iterations.length - 1, next));
    const x = drawn.x(curve.iterations[place]);
    drawn.line.setAttribute("x1", x);
    drawn.line.setAttribute("x2", x);
    drawn.line.setAttribute("visibility", "visible");
    PANELS.forEach((panel, n) => {
      const value = curve[panel.name][place];
      const hidden = value === null || !drawn.ys[n];
      drawn.dots[n].setAttribute("visibility", hidden ? "hidden" : "visible");
      if (hidden) return;
      drawn.dots[n].setAttribute("cx", x);
      drawn.dots[n].setAttribute("cy", drawn.ys[n](value));
    });
    readout.textContent = `Iteration ${curve.iterations[place].toLocaleString("en")}: loss ${figure(curve.train_loss[place])}, `
      + `Dice ${figure(curve.validation_dice[place])}, learning rate ${figure(curve.learning_rate[place])}`;
  }

  function near(event) {
    const { curve } = shown;
    const at = event.clientX - frame.getBoundingClientRect().left;
    const distance = (n) => Math.abs(drawn.x(curve.iterations[n]) - at);
    mark(curve.iterations.reduce((best, _, n) => (distance(n) < distance(best) ? n : best), 0));
  }

  function onkey(event) {
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    mark(moves[event.key]);
  }

  function draw() {
    const width = frame.clientWidth;
    if (!shown || width < 120) return;
    const { curve, iterations } = shown;
    const end = Math.max(iterations ?? 0, curve.iterations.at(-1));
    const x = (iteration) => LEFT + (iteration / end) * (width - LEFT - RIGHT);
    const height = PANELS.reduce((sum, panel) => sum + panel.height, FOOT);
    const focused = document.activeElement === drawn?.image;
    const image = svg("svg", { width, height, role: "img", tabindex: "0", "aria-label": summary(curve) });
    let top = 0;
    const ys = [];
    for (const panel of PANELS) {
      const { group, y } = drawnPanel(panel, curve, top, x, width);
      image.append(group);
      ys.push(y);
      top += panel.height;
    }
    for (const tick of ticks(0, end, Math.min(6, width / 110))) {
      image.append(svg("text", { x: x(tick), y: top + 4, "text-anchor": "middle", class: "tick" }, tick.toLocaleString("en")));
    }
    image.append(svg("text", { x: width - RIGHT, y: top + 18, "text-anchor": "end", class: "tick" }, "iterations"));
    const line = svg("line", { y1: 8, y2: top - BELOW, class: "cursor", visibility: "hidden" });
    const dots = PANELS.map(() => svg("circle", { r: 4, class: "here", visibility: "hidden" }));
    image.append(line, ...dots);
    image.addEventListener("pointermove", near);
    image.addEventListener("keydown", onkey);
    drawn = { image, x, ys, line, dots };
    frame.replaceChildren(image);
    if (focused) image.focus({ preventScroll: true });
    if (place >= 0) mark(place);
  }

  function show(curve, iterations) {
    element.hidden = curve.iterations.length === 0;
    if (element.hidden) return;
    const atEnd = !shown || place < 0 || place === shown.curve.iterations.length - 1;
    const open = tables.firstChild?.open ?? false;
    shown = { curve, iterations };
    if (atEnd) place = curve.iterations.length - 1;
    const now = table(curve);
    now.open = open;
    tables.replaceChildren(now);
    draw();
  }

  new ResizeObserver(draw).observe(frame);
  return { element, show };
}
