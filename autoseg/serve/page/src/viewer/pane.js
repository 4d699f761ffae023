// One image: its planes, its picture in 3D, and a canvas above for marks. It reads no pointer and no key.
import { el } from "../lib/dom.js";
import { apply, inverse } from "./geometry.js";
import { lookup } from "./labels.js";
import { createMarks } from "./marks.js";
import { createPicture, place } from "./picture.js";
import { createRender } from "./render.js";
import { alongAxes, cellsOf, PLANES, RENDER, tileOf } from "./tiles.js";

const MOST_PER_PX = 2; // pixels of a canvas per CSS pixel
const QUICK_MS = 40; // a 3D picture that takes no longer is drawn while something moves

/** The slice of a grid that holds a share of it along an axis. */
const sliceAt = (frac, count) => Math.min(count - 1, Math.max(0, Math.floor(frac * count)));

/** Colours of labels for `tint`; another table only where one of them changed. */
function createColors() {
  let key = [];
  let table = null;
  return ({ entries, hidden }) => {
    if (key[0] !== entries || key[1] !== hidden) {
      key = [entries, hidden];
      table = new Uint32Array(lookup(entries, hidden).buffer);
    }
    return table;
  };
}

/** The tile of 3D. WebGL is made ready when it is first shown. */
function createTile3D() {
  const render = createRender();
  const note = el("span", { class: "nv-note" }, "3D is being made ready …");
  const element = el("div", { class: "nv-render", hidden: true }, render.picture, note);
  let starting = null;

  async function start() {
    try {
      await render.start();
      note.hidden = true;
    } catch (error) {
      note.textContent = "This browser cannot draw 3D.";
      console.warn(error);
    }
  }

  return {
    element,
    isQuick: () => render.took() < QUICK_MS,
    /** Resolves when 3D can be drawn, or it is known that it cannot. */
    ready: () => (starting ??= start()),
    draw(cell, parts, look) {
      if (note.hidden) render.draw(cell.width, cell.height, parts, look);
    },
    clear: render.clear,
  };
}

/** @param {HTMLElement} parent */
export function createPane(parent) {
  const pictures = PLANES.map(createPicture);
  const solid = createTile3D();
  const view = el("div", { class: "nv-view", role: "img", "aria-label": "Image" }, pictures.map(({ element }) => element), solid.element);
  const above = el("canvas", { class: "nv-marks", "aria-hidden": "true" });
  const title = el("span", { class: "nv-title" });
  const element = el("div", {
    class: "nv-pane", tabIndex: 0, role: "application", "aria-roledescription": "image viewer", "aria-label": "Image viewer. Press ? for the keys.",
  }, view, above, title);
  parent.append(element);
  const marks = createMarks(above);
  const colorsOf = createColors();
  const pane = { element, view, slot: "a", image: null, mask: null, layer: null, tiles: [] };
  const cellOf3D = () => pane.tiles.find(({ plane }) => plane === RENDER);

  function arrange({ layout, plane, narrow, pan }) {
    const cells = cellsOf(layout, plane, narrow, element.clientWidth, element.clientHeight);
    pane.tiles = cells.map((cell) => (cell.plane === RENDER ? cell : tileOf(cell, pane.image.grid, pan)));
    pictures.forEach((picture, k) => (picture.element.hidden = cells.every((cell) => cell.plane !== k)));
    solid.element.hidden = !cellOf3D();
    if (cellOf3D()) place(solid.element, cellOf3D());
  }

  function drawSolid(seen) {
    const { entries, hidden, visible } = seen.overlay;
    solid.draw(cellOf3D(), pane, {
      frac: pane.fracOfMm(seen.cursor), azimuth: seen.azimuth, elevation: seen.elevation, zoom: seen.zoom3D,
      layerOpacity: seen.layer.opacity, visible, entries, hidden,
    });
  }

  return Object.assign(pane, {
    title(text) {
      title.textContent = text;
      title.hidden = !text;
    },
    /**
     * Draws the planes and the marks, and 3D where that is quick.
     * @param {{layout, plane, narrow, cursor, pan, azimuth, elevation, zoom3D, layer: {opacity}, overlay: {entries, hidden,
     *   visible, opacity, outline}}} seen
     * @param {{measures, ring}} overlay
     */
    draw(seen, overlay) {
      const ratio = Math.min(window.devicePixelRatio || 1, MOST_PER_PX);
      arrange(seen);
      const frac = pane.fracOfMm(seen.cursor);
      const { opacity, visible, outline } = seen.overlay;
      const look = { colors: colorsOf(seen.overlay), outline, opacity: visible ? opacity : 0, layerOpacity: seen.layer.opacity, frac };
      for (const tile of pane.tiles.filter(({ plane }) => plane !== RENDER)) {
        const { across } = PLANES[tile.plane];
        const at = sliceAt(frac[across], pane.image.grid.dims[across]);
        pictures[tile.plane].show(tile, pane, { ...look, plane: tile.plane, at }, ratio);
      }
      if (cellOf3D() && solid.isQuick()) drawSolid(seen);
      marks.draw(pane, { ...overlay, cursor: seen.cursor }, ratio);
    },
    /** Draws 3D, when nothing moves: it may take long. `seenNow` gives the view as it is when 3D is ready. */
    async settle(seenNow) {
      if (!cellOf3D()) return;
      await solid.ready();
      if (pane.image && cellOf3D()) drawSolid(seenNow());
    },
    fracOfMm(mm) {
      return apply(inverse(pane.image.grid.affine), mm).map((value, k) => (value + 0.5) / pane.image.grid.dims[k]);
    },
    mmOfFrac(frac) {
      return apply(pane.image.grid.affine, frac.map((value, k) => value * pane.image.grid.dims[k] - 0.5));
    },
    /** What the pan is measured in. */
    panMmOfFrac: (frac) => alongAxes(pane.image.grid, frac),
    clear() {
      Object.assign(pane, { image: null, mask: null, layer: null, tiles: [] });
      for (const child of view.children) child.hidden = true;
      solid.clear();
      marks.clear();
    },
  });
}
