// The picture of one plane: image, labels and uncertainty are coloured pixel by pixel of their slice, each on its own small
// canvas. The browser enlarges them, which costs it less than to show canvases in the size of the screen.
import { el } from "../lib/dom.js";
import { rgb } from "./labels.js";
import { bordersOf, clearUnder, copyColors, placesOf, shade, sizeOf, tint } from "./slices.js";
import { PLANES, pointOf } from "./tiles.js";

const BORDER_PX = 1.5;
const HEAT = ["#000004", "#781c6d", "#ed6925", "#fcffa4"]; // as the bar of the menu: .nv-gradient
const CLEAR_BELOW = 0.02; // share of the highest uncertainty
const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]]; // of each axis: where it begins, where it ends

/** The 256 colours of uncertainty; the lowest are clear. */
function heatColors() {
  const stops = HEAT.map(rgb);
  return Uint32Array.from({ length: 256 }, (_, k) => {
    if (k < CLEAR_BELOW * 256) return 0;
    const at = (k / 255) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    const [red, green, blue] = stops[low].map((value, part) => Math.round(value + (stops[low + 1][part] - value) * (at - low)));
    return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  });
}

const HEAT_COLORS = heatColors();

/** Whether two lists hold the same things. */
export function isSame(a, b) {
  return a.length === b.length && a.every((value, k) => value === b[k]);
}

/** Places an element at a box of CSS pixels. */
export function place({ style }, { left, top, width, height }) {
  Object.assign(style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}

/** The sides of a plane that its left and its top show, of an image that is turned to right, front, up. */
export function sidesOf(tile) {
  return PLANES[tile.plane].along.map((axis, k) => SIDES[axis][tile.first[k] > tile.last[k] ? 1 : 0]);
}

/** A small canvas whose pixels are those of a slice. They are only written again when something of `key` changed. */
function createSheet(name, options = {}) {
  const canvas = el("canvas", { class: `nv-sheet nv-${name}` });
  const pen = canvas.getContext("2d", options);
  let data = null;
  let before = [];
  return {
    canvas,
    pixels: () => new Uint32Array(data.data.buffer),
    update([width, height], key, color) {
      if (isSame(key, before)) return;
      before = key;
      if (!data || data.width !== width || data.height !== height) {
        Object.assign(canvas, { width, height });
        data = pen.createImageData(width, height);
      }
      color(new Uint32Array(data.data.buffer));
      pen.putImageData(data, 0, 0);
    },
  };
}

/** The borders of labels, as thin lines in the size of the screen. */
function createBorders() {
  const canvas = el("canvas", { class: "nv-borders" });
  const pen = canvas.getContext("2d");
  let before = [];
  let last = { key: [], pieces: [] };

  function draw({ cell, image: box }, { image, mask }, { plane, at, colors }, ratio) {
    const [width, height] = sizeOf(image.grid, plane);
    const key = [image.grid, mask, mask.revision, plane, at];
    if (!isSame(key, last.key)) {
      last = { key, pieces: bordersOf(placesOf(image.grid, plane, at, mask), mask.indices, width, height) };
    }
    Object.assign(canvas, { width: Math.round(cell.width * ratio), height: Math.round(cell.height * ratio) });
    pen.setTransform(ratio, 0, 0, ratio, (box.left - cell.left) * ratio, (box.top - cell.top) * ratio);
    const [wide, high] = [box.width / width, box.height / height];
    for (const { index, x, y, length, isUpright, inward } of last.pieces) {
      if (!colors[index]) continue;
      pen.fillStyle = `rgb(${colors[index] & 255} ${(colors[index] >> 8) & 255} ${(colors[index] >> 16) & 255})`;
      const across = inward * BORDER_PX;
      pen.fillRect(x * wide, y * high, isUpright ? across : length * wide, isUpright ? length * high : across);
    }
  }

  return {
    canvas,
    show(tile, parts, look, ratio) {
      const { mask } = parts;
      canvas.hidden = !mask || !look.outline || !look.opacity;
      const key = [parts.image.grid, mask, mask?.revision, look.colors, look.at, ratio, ...Object.values(tile.image),
        ...Object.values(tile.cell)];
      if (canvas.hidden || isSame(key, before)) return;
      before = key;
      draw(tile, parts, look, ratio);
    },
  };
}

/** Two thin lines through the cursor, and the names of the left and the upper side. */
function createCross() {
  const lines = [0, 1].map(() => el("div", { class: "nv-line" }));
  const letters = ["nv-left", "nv-top"].map((name) => el("span", { class: `nv-side ${name}` }));
  return {
    elements: [...lines, ...letters],
    show(tile, frac) {
      const [x, y] = pointOf(tile, frac);
      const left = tile.left - tile.cell.left;
      const top = tile.top - tile.cell.top;
      place(lines[0], { left: x - tile.cell.left - 0.5, top, width: 1, height: tile.height });
      place(lines[1], { left, top: y - tile.cell.top - 0.5, width: tile.width, height: 1 });
      letters.forEach((letter, k) => (letter.textContent = sidesOf(tile)[k]));
      Object.assign(letters[0].style, { left: `${left + 6}px`, top: `${top + tile.height / 2}px` });
      Object.assign(letters[1].style, { left: `${left + tile.width / 2}px`, top: `${top + 4}px` });
    },
  };
}

/** A picture of a plane, hidden at first. */
export function createPicture() {
  const sheets = { image: createSheet("image", { alpha: false }), mask: createSheet("labelled"), layer: createSheet("layer") };
  const borders = createBorders();
  const cross = createCross();
  const canvases = Object.values(sheets).map(({ canvas }) => canvas);
  const element = el("div", { class: "nv-plane", hidden: true }, canvases, borders.canvas, cross.elements);
  let placed = [];

  function color({ image, mask, layer }, { plane, at, colors }) {
    const size = sizeOf(image.grid, plane);
    const places = (volume) => placesOf(image.grid, plane, at, volume);
    sheets.image.update(size, [image, image.revision, plane, at], (pixels) => {
      if (image.samples > 1) copyColors(pixels, places(image), image);
      else shade(pixels, places(image), image, image.window, image.shades);
    });
    if (layer) {
      sheets.layer.update(size, [image.grid, layer, plane, at], (pixels) =>
        shade(pixels, places(layer), layer, { min: 0, max: layer.max }, HEAT_COLORS));
    }
    if (mask) {
      sheets.mask.update(size, [image.grid, mask, mask.revision, layer, colors, plane, at], (pixels) => {
        tint(pixels, places(mask), mask.indices, colors);
        if (layer) clearUnder(sheets.layer.pixels(), pixels); // colours that mix with labels could not be read on their scale
      });
    }
  }

  return {
    element,
    /**
     * Shows the plane in its tile; does only what changed.
     * @param {{image, mask, layer}} parts mask and layer may be null
     * @param {{plane: number, at: number, colors: Uint32Array, outline: boolean, opacity: number, layerOpacity: number,
     *   frac: number[]}} look `at`: the slice; `frac`: the cursor
     * @param {number} ratio pixels of the screen per CSS pixel
     */
    show(tile, parts, look, ratio) {
      const { cell, image: box } = tile;
      element.hidden = false;
      const boxes = [...Object.values(cell), ...Object.values(box)];
      if (!isSame(boxes, placed)) {
        placed = boxes;
        place(element, cell);
        for (const canvas of canvases) place(canvas, { ...box, left: box.left - cell.left, top: box.top - cell.top });
      }
      color(parts, look);
      sheets.mask.canvas.hidden = !parts.mask || look.outline || !look.opacity;
      sheets.mask.canvas.style.opacity = look.opacity;
      sheets.layer.canvas.hidden = !parts.layer;
      sheets.layer.canvas.style.opacity = look.layerOpacity;
      borders.show(tile, parts, look, ratio);
      cross.show(tile, look.frac);
    },
  };
}
