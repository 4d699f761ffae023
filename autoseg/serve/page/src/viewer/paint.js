// Which voxels a brush touches, and the painted mask on the grid of an image.
import { after, apply, flatIndex, inverse, isInside, spacing } from "./geometry.js";

/**
 * Flat indices of the voxels whose centre lies within `radius` mm of `point`; at least the voxel that holds the point.
 * @param {{dims: number[], affine: number[][]}} grid
 * @param {number[]} point in mm
 * @param {number} radius in mm
 * @param {number|null} axis the voxel axis across the disc; null for a ball
 */
export function brushVoxels({ dims, affine }, point, radius, axis) {
  const middle = apply(inverse(affine), point);
  const nearest = middle.map(Math.round);
  const reach = bounds(affine, radius);
  const low = nearest.map((value, k) => (k === axis ? value : Math.max(0, Math.floor(middle[k] - reach[k]))));
  const high = nearest.map((value, k) => (k === axis ? value : Math.min(dims[k] - 1, Math.ceil(middle[k] + reach[k]))));
  const touched = new Set();
  if (isInside(dims, nearest)) touched.add(flatIndex(dims, nearest));
  if (axis !== null && (nearest[axis] < 0 || nearest[axis] >= dims[axis])) return touched;
  const level = axis === null ? null : nearest[axis] - middle[axis];
  for (let z = low[2]; z <= high[2]; z += 1) {
    for (let y = low[1]; y <= high[1]; y += 1) {
      for (let x = low[0]; x <= high[0]; x += 1) {
        const step = [x - middle[0], y - middle[1], z - middle[2]];
        if (axis !== null) step[axis] -= level; // a disc is measured inside its own slice
        const away = affine.map((row) => row[0] * step[0] + row[1] * step[1] + row[2] * step[2]);
        if (Math.hypot(...away) <= radius) touched.add(x + dims[0] * (y + dims[1] * z));
      }
    }
  }
  return touched;
}

/** Half the size in voxels, along each axis, of the box around a ball of `radius` mm. */
function bounds(affine, radius) {
  return inverse(affine).map((row) => radius * Math.hypot(row[0], row[1], row[2]));
}

/** Points from `a` to `b` (mm) so close that a stroke has no gaps. */
export function between(a, b, radius, affine) {
  const step = Math.max(radius / 2, Math.min(...spacing(affine)) / 2);
  const count = Math.max(1, Math.ceil(Math.hypot(b[0] - a[0], b[1] - a[1], b[2] - a[2]) / step));
  return Array.from({ length: count }, (_, k) => a.map((value, axis) => value + ((b[axis] - value) * (k + 1)) / count));
}

/**
 * Flat indices of the patch of one index around a voxel, in its slice across `axis`; voxels that share a side are joined.
 * @param {Uint8Array} indices
 * @param {number[]} dims
 * @param {number[]} start voxel
 */
export function patch(indices, dims, start, axis) {
  const touched = new Set();
  if (!isInside(dims, start)) return touched;
  const wanted = indices[flatIndex(dims, start)];
  const waiting = [start];
  touched.add(flatIndex(dims, start));
  while (waiting.length) {
    const voxel = waiting.pop();
    for (let k = 0; k < 3; k += 1) {
      if (k === axis) continue;
      for (const step of [-1, 1]) {
        const next = voxel.slice();
        next[k] += step;
        const flat = flatIndex(dims, next);
        if (!isInside(dims, next) || touched.has(flat) || indices[flat] !== wanted) continue;
        touched.add(flat);
        waiting.push(next);
      }
    }
  }
  return touched;
}

/**
 * The mask on another grid: for each of its voxels the index of the nearest voxel of the mask, 0 outside of it.
 * @param {{indices: Uint8Array, grid: {dims, affine}}} mask
 * @param {{dims: number[], affine: number[][]}} shown
 */
export function follow(mask, shown) {
  const { dims } = mask.grid;
  const to = after(inverse(mask.grid.affine), shown.affine);
  const step = [to[0][0], to[1][0], to[2][0]];
  const target = new Uint8Array(shown.dims[0] * shown.dims[1] * shown.dims[2]);
  let out = 0;
  for (let z = 0; z < shown.dims[2]; z += 1) {
    for (let y = 0; y < shown.dims[1]; y += 1) {
      // A half is added once, so that cutting off the fraction rounds; the little extra keeps exact grids exact.
      let [px, py, pz] = apply(to, [0, y, z]).map((value) => value + 0.5 + 1e-6);
      for (let x = 0; x < shown.dims[0]; x += 1, out += 1) {
        const inside = px >= 0 && py >= 0 && pz >= 0 && px < dims[0] && py < dims[1] && pz < dims[2];
        target[out] = inside ? mask.indices[(px | 0) + dims[0] * ((py | 0) + dims[1] * (pz | 0))] : 0;
        px += step[0];
        py += step[1];
        pz += step[2];
      }
    }
  }
  return target;
}
