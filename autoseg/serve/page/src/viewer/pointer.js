// Mouse, pen and fingers on a pane.
import { fracOf, PLANES, RENDER, tileAt } from "./tiles.js";
import { dragged } from "./windows.js";

const NOTCH_PX = 100; // how far one notch of a mouse wheel scrolls in most browsers
const LINE_PX = 33; // for browsers that count lines, three per notch

/** What a press begins: by its button, by the tile, and by the tool. */
function jobOf(event, tile, tool) {
  if (event.button === 1 || event.altKey) return "pan";
  if (tile.plane === RENDER) return "turn";
  if (event.button === 2 || event.shiftKey) return "window";
  return tool;
}

/** Listens to the pointer on a pane. */
export function listen(pane, scene, actions, editor) {
  const { state } = scene;
  const { element } = pane;
  const fingers = new Map();
  let press = null;
  let pinch = null;
  let wheel = 0;

  /** Point of the view in CSS pixels. */
  function pointOfEvent(event) {
    const box = pane.view.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** The point in mm under a point of the canvas, kept to one tile. The slice is the cursor's. */
  function mmAt(tile, [x, y]) {
    const frac = fracOf(tile, pane.fracOfMm(state.cursor), x, y);
    const { dims } = pane.image.grid;
    return pane.mmOfFrac(frac.map((value, k) => Math.min(1 - 0.5 / dims[k], Math.max(0.5 / dims[k], value))));
  }

  /** The centre of the voxel at `mm`: the cursor stays in the middle of slices. */
  function atVoxel(mm) {
    const { dims } = pane.image.grid;
    const frac = pane
      .fracOfMm(mm)
      .map((value, k) => (Math.min(dims[k] - 1, Math.max(0, Math.floor(value * dims[k]))) + 0.5) / dims[k]);
    return pane.mmOfFrac(frac);
  }

  const isPainting = () => ["brush", "erase", "fill"].includes(press?.job ?? state.tool);

  function pan(from, to, tile) {
    const { along } = PLANES[tile.plane];
    const start = fracOf(tile, pane.fracOfMm(state.cursor), ...from);
    const end = fracOf(tile, pane.fracOfMm(state.cursor), ...to);
    const [a, b] = [pane.panMmOfFrac(start), pane.panMmOfFrac(end)];
    state.pan = state.pan.map((value, k) => (along.includes(k) ? value + (b[k] - a[k]) * state.pan[3] : value));
    scene.request();
  }

  function begin(point) {
    const { tile, job } = press;
    if (tile.plane < 3) state.plane = tile.plane;
    if (job === "move") scene.moveTo(atVoxel(mmAt(tile, point)));
    if (job === "measure") press.from = mmAt(tile, point);
    if (isPainting()) {
      const mm = mmAt(tile, point);
      scene.moveTo(atVoxel(mm));
      editor.dab(pane, tile.plane, mm);
    }
    press.window = scene.current().window;
    scene.request();
  }

  function go(point, event) {
    const { tile, job, at, start } = press;
    const right = point[0] - at[0];
    const down = point[1] - at[1];
    if (job === "move") scene.moveTo(atVoxel(mmAt(tile, point)));
    else if (job === "turn") actions.turn(right * 0.5, down * 0.5);
    else if (job === "pan" && tile.plane < 3) pan(at, point, tile);
    else if (job === "window") {
      const { clientWidth, clientHeight } = element;
      actions.window(dragged(press.window, (point[0] - start[0]) / clientWidth, (start[1] - point[1]) / clientHeight));
    } else if (job === "measure") {
      state.measures = state.measures.filter((measure) => measure !== press.live);
      press.live = { from: press.from, to: mmAt(tile, point), plane: tile.plane };
      state.measures.push(press.live);
      scene.request();
    } else if (isPainting()) {
      for (const step of event.getCoalescedEvents?.() ?? [event])
        editor.dab(pane, tile.plane, mmAt(tile, pointOfEvent(step)));
    }
    press.at = point;
  }

  function finish(isBroken) {
    if (!press) return;
    if (press.live) {
      state.measures = state.measures.filter((measure) => measure !== press.live);
      if (!isBroken) actions.measure(press.live.from, press.live.to, press.live.plane);
    }
    if (isPainting()) editor[isBroken ? "cancel" : "end"]();
    press = null;
  }

  /** The ring of the brush follows the pointer. */
  function ring(event) {
    const point = pointOfEvent(event);
    const tile = tileAt(pane.tiles, ...point);
    const isBrush = ["brush", "erase"].includes(state.tool) && tile && tile.plane < 3 && event.pointerType !== "touch";
    if (!isBrush && !state.ring) return;
    state.ring = isBrush
      ? {
          pane,
          tile,
          x: point[0],
          y: point[1],
          radius: state.brush.radius,
          color: state.tool === "erase" ? "#ffffff" : brushColor(),
        }
      : null;
    scene.request();
  }

  function brushColor() {
    return state.slots[pane.slot]?.mask.entries.find((entry) => entry.name === state.brush.label)?.color ?? "#ffffff";
  }

  function twoFingers() {
    const [a, b] = [...fingers.values()];
    return { apart: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  function goPinch() {
    const now = twoFingers();
    const tile = tileAt(pane.tiles, ...pinch.middle);
    const factor = now.apart / Math.max(1, pinch.apart);
    if (tile?.plane === RENDER) actions.zoom3D(factor);
    else if (tile) {
      actions.zoom(factor, fracOf(tile, pane.fracOfMm(state.cursor), ...now.middle), pane);
      pan(pinch.middle, now.middle, tile);
    }
    pinch = now;
  }

  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("pointerdown", (event) => {
    if (!pane.image) return;
    element.focus({ preventScroll: true });
    try {
      element.setPointerCapture(event.pointerId);
    } catch {
      // A pointer that is already gone has nothing to capture.
    }
    const point = pointOfEvent(event);
    if (event.pointerType === "touch") fingers.set(event.pointerId, point);
    if (fingers.size === 2) {
      finish(true);
      pinch = twoFingers();
      return;
    }
    const tile = tileAt(pane.tiles, ...point);
    if (press || !tile) return;
    press = { tile, job: jobOf(event, tile, state.tool), start: point, at: point };
    event.preventDefault();
    begin(point);
  });
  element.addEventListener("pointermove", (event) => {
    if (!pane.image) return;
    const point = pointOfEvent(event);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, point);
    if (pinch && fingers.size === 2) goPinch();
    else if (press) go(point, event);
    ring(event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    element.addEventListener(kind, (event) => {
      fingers.delete(event.pointerId);
      if (fingers.size < 2) pinch = null;
      finish(kind === "pointercancel");
    });
  }
  element.addEventListener("pointerleave", () => {
    if (!state.ring) return;
    state.ring = null;
    scene.request();
  });
  element.addEventListener(
    "wheel",
    (event) => {
      if (!pane.image) return;
      event.preventDefault();
      const tile = tileAt(pane.tiles, ...pointOfEvent(event));
      if (!tile) return;
      if (tile.plane === RENDER || event.ctrlKey) {
        const factor = 2 ** (-event.deltaY / 400);
        if (tile.plane === RENDER) actions.zoom3D(factor);
        else actions.zoom(factor, fracOf(tile, pane.fracOfMm(state.cursor), ...pointOfEvent(event)), pane);
        return;
      }
      state.plane = tile.plane;
      wheel += event.deltaMode === 1 ? event.deltaY * LINE_PX : event.deltaY;
      const steps = Math.trunc(wheel / NOTCH_PX + Math.sign(wheel) * 0.02);
      wheel -= steps * NOTCH_PX;
      if (steps) actions.scroll(steps, tile.plane);
    },
    { passive: false },
  );
}
