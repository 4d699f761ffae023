// The pixels of a slice: where each lies in a volume, and its colour. Colours are 32 bits, red in the lowest byte, as in ImageData.
import { after, inverse } from "./geometry.js";
import { PLANES } from "./tiles.js";

const IDENTITY = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 1, 0],
];

/** Width and height of the slices of a plane, in voxels. */
export function sizeOf(grid, plane) {
  return PLANES[plane].along.map((axis) => grid.dims[axis]);
}

/**
 * For each pixel of a slice the place in a volume's values; -1 outside of it. The nearest voxel counts.
 * @param {{dims: number[], affine: number[][]}} grid whose slice it is
 * @param {number} plane of PLANES
 * @param {number} at number of the slice
 * @param {{grid: {dims, affine}, start: number, step: number[]}} volume its own grid, and where its voxel 0, 0, 0 and the next
 *   voxel along each axis lie in its values
 * @returns {Int32Array} row by row, from the high ends of both axes
 */
export function placesOf(grid, plane, at, volume) {
  const { across, along } = PLANES[plane];
  const [width, height] = sizeOf(grid, plane);
  const to = volume.grid === grid ? IDENTITY : after(inverse(volume.grid.affine), grid.affine);
  const { dims } = volume.grid;
  const [sx, sy, sz] = volume.step;
  const [right, down] = along.map((axis) => to.map((row) => -row[axis]));
  // A half is added once, so that cutting off the fraction rounds; the little extra keeps exact grids exact.
  const corner = to.map(
    (row) => row[across] * at + row[along[0]] * (width - 1) + row[along[1]] * (height - 1) + row[3] + 0.5 + 1e-6,
  );
  const places = new Int32Array(width * height);
  let pixel = 0;
  for (let row = 0; row < height; row += 1) {
    let [x, y, z] = corner.map((value, k) => value + row * down[k]);
    for (let column = 0; column < width; column += 1, pixel += 1) {
      const isIn = x >= 0 && y >= 0 && z >= 0 && x < dims[0] && y < dims[1] && z < dims[2];
      places[pixel] = isIn ? volume.start + (x | 0) * sx + (y | 0) * sy + (z | 0) * sz : -1;
      x += right[0];
      y += right[1];
      z += right[2];
    }
  }
  return places;
}

/** The 256 shades from black to white, or from white to black. */
export function greys(inverted) {
  return Uint32Array.from({ length: 256 }, (_, k) => {
    const grey = inverted ? 255 - k : k;
    return (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  });
}

/**
 * Values as colours: `min` gets the first of 256 colours, `max` the last; no number gets the first.
 * @param {Uint32Array} pixels is written
 * @param {Int32Array} places as `placesOf` gives them
 * @param {{values: ArrayLike<number>, slope: number, inter: number, offset: number}} volume `offset`: where its time point begins
 * @param {{min: number, max: number}} range in the unit of the image
 * @param {Uint32Array} colors
 */
export function shade(pixels, places, { values, slope, inter, offset }, { min, max }, colors) {
  const factor = (slope * 256) / (max - min);
  const start = ((inter - min) * 256) / (max - min);
  for (let pixel = 0; pixel < places.length; pixel += 1) {
    const place = places[pixel];
    const level = place < 0 ? 0 : values[offset + place] * factor + start;
    pixels[pixel] = place < 0 ? 0 : colors[level >= 255 ? 255 : level > 0 ? level | 0 : 0];
  }
}

/** Colours that the voxels have themselves, of three or four bytes (red, green, blue). */
export function copyColors(pixels, places, { values, samples }) {
  for (let pixel = 0; pixel < places.length; pixel += 1) {
    const from = places[pixel] * samples;
    pixels[pixel] = from < 0 ? 0 : 0xff000000 | (values[from + 2] << 16) | (values[from + 1] << 8) | values[from];
  }
}

/** Labels as colours; what is outside of the mask is clear. `colors`: one for each index. */
export function tint(pixels, places, indices, colors) {
  for (let pixel = 0; pixel < places.length; pixel += 1) pixels[pixel] = places[pixel] < 0 ? 0 : colors[indices[places[pixel]]];
}

/** Makes clear what lies under pixels that are not clear. */
export function clearUnder(above, pixels) {
  for (let pixel = 0; pixel < pixels.length; pixel += 1) if (above[pixel]) pixels[pixel] = 0;
}

/**
 * The borders of the labels in a slice, as straight pieces between pixels: `index` of the label, the corner `x`, `y` where a
 * piece begins, its `length` to the right or (`isUpright`) downwards, and `inward`: the side (1: right or below, -1) of its label.
 * @param {Int32Array} places @param {Uint8Array} indices
 */
export function bordersOf(places, indices, width, height) {
  const labels = Uint8Array.from(places, (place) => (place < 0 ? 0 : indices[place]));
  const pieces = [];
  /** Follows lines of pixels; `next` is the step to the neighbour across the line. */
  const follow = (lines, count, along, across, isUpright) => {
    for (let line = 0; line < lines; line += 1) {
      for (const inward of [1, -1]) {
        const isEdge = inward === 1 ? line === 0 : line === lines - 1;
        let piece = null;
        for (let k = 0; k < count; k += 1) {
          const pixel = line * across + k * along;
          const index = labels[pixel];
          const isBorder = index !== 0 && (isEdge || labels[pixel - inward * across] !== index);
          if (isBorder && piece?.index === index) piece.length += 1;
          else if (isBorder) {
            const level = inward === 1 ? line : line + 1;
            piece = { index, x: isUpright ? level : k, y: isUpright ? k : level, length: 1, isUpright, inward };
            pieces.push(piece);
          } else piece = null;
        }
      }
    }
  };
  follow(height, width, 1, width, false);
  follow(width, height, width, 1, true);
  return pieces;
}
