// Grids of voxels and where they are. An affine is three rows of four numbers: voxel index (centre of a voxel) to mm.

/** A point through an affine. `p` and the answer have three numbers. */
export function apply(affine, p) {
  return affine.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + row[3]);
}

/** The affine that goes back. Throws where the affine is flat. */
export function inverse(affine) {
  const [[a, b, c, x], [d, e, f, y], [g, h, i, z]] = affine;
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  if (!Number.isFinite(det) || det === 0) throw new Error("The image has no volume: its affine cannot be inverted.");
  const rows = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / det));
  return rows.map((row) => [...row, -(row[0] * x + row[1] * y + row[2] * z)]);
}

/** First `b`, then `a`. */
export function after(a, b) {
  return a.map((row) =>
    [0, 1, 2, 3].map((k) => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k] + (k === 3 ? row[3] : 0)),
  );
}

/** Length in mm of one step along each axis. */
export function spacing(affine) {
  return [0, 1, 2].map((k) => Math.hypot(affine[0][k], affine[1][k], affine[2][k]));
}

/** Distance in mm of two points in mm. */
export function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

/** Axis (0, 1, 2) of `grid` that lies nearest to axis `axis` of `other`. */
export function nearestAxis(affine, otherAffine, axis) {
  const steps = spacing(affine);
  const wanted = [0, 1, 2].map((row) => otherAffine[row][axis]);
  const along = [0, 1, 2].map(
    (k) => Math.abs(wanted.reduce((sum, value, row) => sum + value * affine[row][k], 0)) / steps[k],
  );
  return along.indexOf(Math.max(...along));
}

/** Whether the voxel `p` (three whole numbers) lies in a grid of `dims`. */
export function isInside(dims, p) {
  return p.every((value, k) => value >= 0 && value < dims[k]);
}

/** Flat index of a voxel: the first axis runs fastest, as in NIfTI. */
export function flatIndex(dims, p) {
  return p[0] + dims[0] * (p[1] + dims[1] * p[2]);
}

/** The centre of a grid in mm. */
export function centre({ dims, affine }) {
  return apply(
    affine,
    dims.map((n) => (n - 1) / 2),
  );
}
