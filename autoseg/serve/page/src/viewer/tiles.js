// Where the planes lie on a canvas, and which point of the image is under which point of the canvas.

/** Axis across each plane, and the two axes along its width and height, of an image that is turned to right, front, up. */
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

/**
 * The tiles of a layout as shares of the canvas: NiiVue's custom layout.
 * @param {"all"|"plane"|"render"} layout
 * @param {number} plane the plane of the layout "plane"
 * @param {boolean} narrow several canvases beside each other: planes below each other, without 3D
 */
export function layoutOf(layout, plane, narrow) {
  const tile = ([sliceType, left, top, width, height]) => ({ sliceType, position: [left, top, width, height] });
  if (layout === "plane") return [tile([plane, 0, 0, 1, 1])];
  if (layout === "render") return [tile([RENDER, 0, 0, 1, 1])];
  return (narrow ? COLUMN : GRID).map(tile);
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
