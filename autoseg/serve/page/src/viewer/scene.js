// What is shown: the state of the viewer, its panes, and when they are drawn.
import { el } from "../lib/dom.js";
import { apply, centre, inverse } from "./geometry.js";
import { createPane } from "./pane.js";
import { PLANES } from "./tiles.js";

const SETTLE_MS = 300; // after the last movement 3D and full sharpness follow; later where frames are slow
const LONGEST_PAUSE_MS = 1200;
const FRAME_MS = { slow: 45, quick: 25 }; // beyond these a moving picture gets fewer or more pixels
const LEAST_SHARE = 0.3;
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
  let isFast = true;
  let settle = 0;
  let share = 0.6; // of the pixels along each side, while something moves without a graphics processor
  let before = 0;
  let pause = SETTLE_MS;
  let arranging = Promise.resolve();

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

  /** How many of the pixels are drawn now: all when nothing moves. */
  function shareNow() {
    const now = performance.now();
    const took = now - before;
    before = now;
    if (took < 1000) pause = Math.min(LONGEST_PAUSE_MS, Math.max(SETTLE_MS, 4 * took));
    if (!isFast || !panes[0]?.software) return 1;
    if (took > 500) return share; // the first of a movement
    if (took > FRAME_MS.slow) share = Math.max(LEAST_SHARE, share * 0.85);
    else if (took < FRAME_MS.quick) share = Math.min(1, share * 1.05);
    return share;
  }

  function drawNow() {
    frame = 0;
    const wanted = plan();
    if (!wanted.length || !container.clientWidth) return;
    const seen = view(wanted.length);
    const sharp = shareNow();
    wanted.forEach(({ image, slot, title }, k) => {
      const pane = panes[k];
      if (!pane) return;
      const result = state.slots[slot];
      pane.slot = slot;
      pane.resize(sharp);
      pane.show(image, result?.mask ?? null, result?.layers[state.layer.kind] ?? null, state.layer.opacity);
      pane.title(title);
      pane.style({ ...state.overlay, entries: result?.mask.entries ?? NO_ENTRIES });
      pane.draw(seen, isFast, { measures: state.measures, cursor: state.cursor, ring: state.ring });
    });
    clearTimeout(settle);
    if (isFast) settle = setTimeout(() => request(false), pause);
    for (const listener of listeners) listener();
  }

  /** Draws soon, once for all that asked. `fast` leaves 3D as it was until nothing moves. */
  function request(fast = true) {
    if (fast) clearTimeout(settle); // a settling in the middle of a movement would cost the next frames
    isFast = frame ? isFast || fast : fast;
    frame ||= requestAnimationFrame(drawNow);
  }

  async function ensurePanes() {
    const count = Math.max(1, plan().length); // the first canvas is made ready before there is an image
    while (panes.length < count) {
      const pane = await createPane(grid);
      panes.push(pane);
      for (const listener of onNewPane) listener(pane);
    }
    panes.forEach((pane, k) => {
      pane.element.hidden = k >= count;
      if (k >= count && pane.image) pane.clear();
    });
    grid.dataset.count = count;
  }

  /** After images, results or the comparison changed. Resolves when the panes are there. */
  function arrange() {
    arranging = arranging.then(ensurePanes).then(() => request());
    return arranging;
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
