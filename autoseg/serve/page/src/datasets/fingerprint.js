import { el, newId } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { svg } from "./svg.js";
import { figure } from "./words.js";

const WIDTH = 160;
const HEIGHT = 22;

/** Quartiles as a box with whiskers, from the lowest to the highest value of all rows of its table. */
function box(values, low, high) {
  const x = (value) => 6 + ((value - low) / (high - low || 1)) * (WIDTH - 12);
  const [a, b, c, d, e] = values.map(x);
  const middle = HEIGHT / 2;
  return svg("svg", { width: WIDTH, height: HEIGHT, "aria-hidden": "true", class: "box" },
    svg("line", { x1: a, x2: e, y1: middle, y2: middle, class: "whisker" }),
    svg("line", { x1: a, x2: a, y1: middle - 5, y2: middle + 5, class: "whisker" }),
    svg("line", { x1: e, x2: e, y1: middle - 5, y2: middle + 5, class: "whisker" }),
    svg("rect", { x: d - b < 4 ? c - 2 : b, y: middle - 7, width: Math.max(4, d - b), height: 14, rx: 2, class: "quartiles" }),
    d - b < 8 ? "" : svg("line", { x1: c, x2: c, y1: middle - 7, y2: middle + 7, class: "median" }));
}

/** A bar from 0 to 1. */
function bar(part) {
  return svg("svg", { width: WIDTH, height: HEIGHT, "aria-hidden": "true", class: "box" },
    svg("rect", { x: 0, y: 7, width: WIDTH, height: 8, rx: 2, class: "ground" }),
    svg("rect", { x: 0, y: 7, width: Math.max(0, Math.min(1, part)) * WIDTH, height: 8, rx: 2, class: "quartiles" }));
}

function table(caption, names, rows) {
  const id = newId("caption");
  return el("div", { class: "scrolls", tabIndex: 0, role: "region", "aria-labelledby": id },
    el("table", {}, el("caption", { id }, caption),
      el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, rows.map(([first, ...others]) => el("tr", {}, el("th", { scope: "row" }, first),
        others.map((value) => el("td", {}, value)))))));
}

const FIVE = ["low", "quarter", "median", "three_quarters", "high"];

function axes(caption, unit, ofAxes) {
  const low = Math.min(...ofAxes.map((axis) => axis.low));
  const high = Math.max(...ofAxes.map((axis) => axis.high));
  const rows = ofAxes.map((axis, n) => [["z", "y", "x"][n], figure(axis.low), figure(axis.median), figure(axis.high),
    box(FIVE.map((name) => axis[name]), low, high)]);
  return table(`${caption} [${unit}]`, ["Axis", "Lowest", "Median", "Highest", "Spread of the cases"], rows);
}

function channels(list) {
  const known = list.filter((channel) => channel.intensities);
  if (!known.length) return null;
  const rows = known.map(({ name, presence, intensities: at }) => [name, presence === null ? "–" : `${Math.round(100 * presence)} %`,
    figure(at.percentile_00_5), figure(at.median), figure(at.percentile_99_5), `${figure(at.mean)} ± ${figure(at.std)}`]);
  return table("Intensities of the labelled voxels, in the unit of the images",
    ["Channel", "Cases that have it", "0.5 %", "Median", "99.5 %", "Mean ± SD"], rows);
}

function labels(list, cases) {
  const rows = list.map(({ name, cases: n, volume_ml: ml }) => [name, n === null ? "–" : counted(n, "case"),
    n === null ? "–" : bar(n / cases), ml === null || !n ? "–" : `${figure(ml / n)} mL`]);
  return table("Labels", ["Label", "Cases", "Share of the cases", "Mean volume per case"], rows);
}

/** The fingerprint of a dataset as readable numbers, with small drawings of their spread. */
export function fingerprintView(prints) {
  if (!prints) {
    return el("p", { class: "quiet" }, "Not measured yet. ", el("code", {}, "autoseg_plan_and_preprocess"), " measures and plans a dataset.");
  }
  return el("div", { class: "prints" },
    axes("Voxel spacing", "mm", prints.spacing_mm),
    axes("Size after cropping", "voxels", prints.shape),
    channels(prints.channels),
    labels(prints.labels, prints.cases),
    prints.conditions.length ? el("p", {}, `Clinical columns that the models take: ${prints.conditions.join(", ")}.`) : null);
}
