// What is shown: the state of the viewer, its panes, and when they are drawn.
import { el } from "../lib/dom.js";
import { apply, centre, inverse } from "./geometry.js";
import { createPane } from "./pane.js";
import { PLANES } from "./tiles.js";

const SETTLE_MS = { first: 2000, later: 500 }; // after the last movement 3D follows; to make it ready takes seconds
const NO_ENTRIES = [];
const MOST_PANES = 4; // side by side; browsers allow few WebGL contexts

/** The state of a viewer without images. */
function initial() {
  return {
    images: [],
    channel: 0,
    slots: { a: null, b: null },
    compare: "one",
    cursor: [0, 0, 0],
    touched: false,
    layout: "all",
    plane: 0,
    pan: [0, 0, 0, 1],
    azimuth: 110,
    elevation: 15,
    zoom3D: 1,
    tool: "move",
    brush: { radius: 4, ball: false, label: null },
    measures: [],
    pending: null,
    ring: null,
    overlay: { visible: true, opacity: 0.5, outline: false, hidden: new Set() },
    layer: { kind: "none", opacity: 0.6 },
    active: "a",
  };
}

/** @param {HTMLElement} container */
export function createScene(container) {
  const state = initial();
  const grid = el("div", { class: "nv-panes" });
  container.append(grid);
  const panes = [];
  const listeners = [];
  const onNewPane = [];
  let frame = 0;
  let settle = 0;
  let isSettled = false; // whether 3D was drawn before

  const current = () => state.images[state.channel] ?? null;

  /** Which image and which result each pane shows. */
  function plan() {
    if (!state.images.length) return [];
    if (state.compare === "results" && state.slots.b)
      return ["a", "b"].map((slot) => ({ image: current(), slot, title: state.slots[slot]?.title ?? "" }));
    if (state.compare === "channels" && state.images.length > 1) {
      return state.images.slice(0, MOST_PANES).map((image) => ({ image, slot: "a", title: image.name }));
    }
    return [{ image: current(), slot: state.slots.a ? "a" : "b", title: "" }];
  }

  function view(count) {
    const isFlat = current().grid.dims.some((n) => n === 1);
    const layout = isFlat ? "plane" : state.layout;
    const plane = isFlat ? PLANES.findIndex(({ across }) => current().grid.dims[across] === 1) : state.plane;
    return { ...state, layout, plane, narrow: count > 1 };
  }

  /** The view of a pane: what is common, and the labels of its result. */
  function viewOf(pane, common) {
    return { ...common, overlay: { ...state.overlay, entries: pane.mask?.entries ?? NO_ENTRIES } };
  }

  function drawNow() {
    frame = 0;
    const wanted = plan();
    if (!wanted.length || !container.clientWidth) return;
    const common = view(wanted.length);
    wanted.forEach(({ image, slot, title }, k) => {
      const pane = panes[k];
      if (!pane) return; // an image has come since the panes were arranged
      const result = state.slots[slot];
      Object.assign(pane, { slot, image, mask: result?.mask ?? null, layer: result?.layers[state.layer.kind] ?? null });
      pane.title(title);
      pane.draw(viewOf(pane, common), { measures: state.measures, ring: state.ring });
    });
    settle = setTimeout(settleNow, isSettled || state.layout === "render" ? SETTLE_MS.later : SETTLE_MS.first);
    for (const listener of listeners) listener();
  }

  function settleNow() {
    isSettled = true;
    const shown = panes.filter(({ image }) => image);
    for (const pane of shown) pane.settle(() => viewOf(pane, view(shown.length)));
  }

  /** Draws soon, once for all that asked. */
  function request() {
    clearTimeout(settle); // 3D in the middle of a movement would cost the next frames
    frame ||= requestAnimationFrame(drawNow);
  }

  /** After images, results or the comparison changed. */
  function arrange() {
    const count = Math.max(1, plan().length);
    while (panes.length < count) {
      const pane = createPane(grid);
      panes.push(pane);
      for (const listener of onNewPane) listener(pane);
    }
    panes.forEach((pane, k) => {
      pane.element.hidden = k >= count;
      if (k >= count && pane.image) pane.clear();
    });
    grid.dataset.count = count;
    request();
  }

  new ResizeObserver(() => request()).observe(grid);

  const scene = {
    state,
    panes,
    grid,
    request,
    arrange,
    plan,
    current,
    view: () => view(plan().length),
    onDraw: (listener) => listeners.push(listener),
    onPane: (listener) => onNewPane.push(listener),
    /** The plane that slices are scrolled in. */
    activePlane: () => (scene.view().layout === "plane" ? scene.view().plane : state.plane),
    /** The voxel under the cursor in the shown image, whole numbers within it. */
    voxel() {
      const { dims, affine } = current().grid;
      return apply(inverse(affine), state.cursor).map((value, k) => Math.min(dims[k] - 1, Math.max(0, Math.round(value))));
    },
    /** Moves the cursor, in mm. */
    moveTo(mm, { isTouched = true } = {}) {
      state.cursor = mm;
      state.touched ||= isTouched;
      request();
    },
    moveToVoxel(voxel) {
      scene.moveTo(apply(current().grid.affine, voxel));
    },
    reset() {
      Object.assign(state, initial(), { tool: state.tool, overlay: { ...state.overlay, hidden: new Set() } });
    },
    recentre() {
      Object.assign(state, { cursor: centre(current().grid), pan: [0, 0, 0, 1], zoom3D: 1, azimuth: 110, elevation: 15 });
      request();
    },
  };
  return scene;
}
