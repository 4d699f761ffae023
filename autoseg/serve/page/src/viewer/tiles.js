// Where the planes lie on a canvas, and which point of the image is under which point of the canvas.
import { centre, spacing } from "./geometry.js";

/**
 * Axis across each plane, and the two axes along its width and height, of an image that is turned to right, front, up. Each is
 * drawn from its high end (left, top) to its low end: the right of the patient is on the left, front and head are on top, and a
 * sagittal plane looks to the left.
 */
export const PLANES = [
  { name: "Axial", key: "axial", across: 2, along: [0, 1] },
  { name: "Coronal", key: "coronal", across: 1, along: [0, 2] },
  { name: "Sagittal", key: "sagittal", across: 0, along: [1, 2] },
];
export const RENDER = 4;

const GRID = [
  [0, 0, 0, 0.5, 0.5],
  [2, 0.5, 0, 0.5, 0.5],
  [1, 0, 0.5, 0.5, 0.5],
  [RENDER, 0.5, 0.5, 0.5, 0.5],
];
const COLUMN = [
  [0, 0, 0, 1, 0.4],
  [2, 0, 0.4, 1, 0.3],
  [1, 0, 0.7, 1, 0.3],
];
const GAP_PX = 2;

/**
 * The cells of a layout: a plane (or RENDER) and its box in CSS pixels.
 * @param {"all"|"plane"|"render"} layout
 * @param {number} plane the plane of the layout "plane"
 * @param {boolean} narrow several canvases beside each other: planes below each other, without 3D
 * @param {number} width of the canvas @param {number} height of the canvas
 */
export function cellsOf(layout, plane, narrow, width, height) {
  const box = { left: 0, top: 0, width, height };
  if (layout === "plane") return [{ plane, ...box }];
  if (layout === "render") return [{ plane: RENDER, ...box }];
  return (narrow ? COLUMN : GRID).map(([shown, left, top, wide, high]) => ({
    plane: shown,
    left: Math.round(left * width) + (left ? GAP_PX / 2 : 0),
    top: Math.round(top * height) + (top ? GAP_PX / 2 : 0),
    width: Math.round(wide * width) - (wide < 1 ? GAP_PX / 2 : 0),
    height: Math.round(high * height) - (high < 1 ? GAP_PX / 2 : 0),
  }));
}

/** Position in mm along each axis of the image of a share (0 to 1) of it. Images of one patient have them in common. */
export function alongAxes({ dims, affine }, frac) {
  const steps = spacing(affine);
  const middle = centre({ dims, affine });
  return [0, 1, 2].map((k) => {
    const origin = middle.reduce((sum, value, row) => sum + (value * affine[row][k]) / steps[k], 0);
    return origin + (frac[k] - 0.5) * dims[k] * steps[k];
  });
}

/**
 * A plane in its cell. `image` is the box of the whole slice, the rest is its visible part: box, and the share of the image along
 * both axes at its left upper (`first`) and right lower corner (`last`).
 * @param {{plane, left, top, width, height}} cell
 * @param {{dims: number[], affine: number[][]}} grid
 * @param {number[]} pan mm along the three axes, and the zoom: 1 fits the slice in its cell
 */
export function tileOf(cell, grid, pan) {
  const { along } = PLANES[cell.plane];
  const steps = spacing(grid.affine);
  const sizes = [cell.width, cell.height];
  const starts = [cell.left, cell.top];
  const lengths = along.map((axis) => grid.dims[axis] * steps[axis]);
  const perMm = Math.min(...lengths.map((length, k) => sizes[k] / length));
  const [low, middle, high] = [0, 0.5, 1].map((share) => alongAxes(grid, [share, share, share]));
  const [across, down] = along.map((axis, k) => {
    const place = (mm) => starts[k] + sizes[k] / 2 - (mm[axis] * pan[3] + pan[axis] - middle[axis]) * perMm;
    const [from, to] = [place(high), place(low)];
    const seen = [Math.max(from, starts[k]), Math.min(to, starts[k] + sizes[k])];
    const [begin, end] = seen[1] - seen[0] >= 1 ? seen : [starts[k], starts[k] + sizes[k]]; // moved out of sight: its cell
    const share = (point) => 1 - (point - from) / (to - from);
    return { from, length: to - from, begin, size: end - begin, first: share(begin), last: share(end) };
  });
  return {
    plane: cell.plane,
    cell,
    image: { left: across.from, top: down.from, width: across.length, height: down.length },
    left: across.begin,
    top: down.begin,
    width: across.size,
    height: down.size,
    first: [across.first, down.first],
    last: [across.last, down.last],
  };
}

/** The tile that holds a point of the canvas, or null. `tiles` have `left`, `top`, `width`, `height`. */
export function tileAt(tiles, x, y) {
  return (
    tiles.find(({ left, top, width, height }) => x >= left && x <= left + width && y >= top && y <= top + height) ?? null
  );
}

/** Share (0 to 1) along the three axes of the image of a point of the canvas in a tile of a plane. */
export function fracOf(tile, cursor, x, y) {
  const { along } = PLANES[tile.plane];
  const frac = cursor.slice();
  frac[along[0]] = tile.first[0] + ((x - tile.left) / tile.width) * (tile.last[0] - tile.first[0]);
  frac[along[1]] = tile.first[1] + ((y - tile.top) / tile.height) * (tile.last[1] - tile.first[1]);
  return frac;
}

/** The point of the canvas of a share along the three axes: the way back of `fracOf`. */
export function pointOf(tile, frac) {
  const { along } = PLANES[tile.plane];
  return [
    tile.left + ((frac[along[0]] - tile.first[0]) / (tile.last[0] - tile.first[0])) * tile.width,
    tile.top + ((frac[along[1]] - tile.first[1]) / (tile.last[1] - tile.first[1])) * tile.height,
  ];
}
