// The labels of a result: which value has which name and colour, and the voxels as small indices, to show and to paint.
import { apply } from "./geometry.js";
import { readHeader, readValues, unzipped, withValues, zipped } from "./nifti.js";

const SPARE = ["#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#fabebe"];

/** Red, green and blue (0 to 255) of "#rrggbb". */
export function rgb(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

/**
 * One entry per value. A value that several labels hold (a region inside another) belongs to the one with the fewest values.
 * @param {{name: string, values: number[], color: string}[]} labels
 * @param {Iterable<number>} present values in the mask; those that no label holds get an entry of their own
 * @returns {{index: number, value: number, name: string, color: string}[]} index 1 to 255; background (0) has none
 */
export function entriesOf(labels, present = []) {
  const owners = new Map();
  for (const label of [...labels].sort((a, b) => b.values.length - a.values.length)) {
    for (const value of label.values) owners.set(value, label);
  }
  for (const value of present) {
    if (!owners.has(value)) owners.set(value, { name: `Value ${value}`, color: SPARE[owners.size % SPARE.length] });
  }
  owners.delete(0);
  return [...owners]
    .sort(([a], [b]) => a - b)
    .slice(0, 255)
    .map(([value, { name, color }], k) => ({ index: k + 1, value, name, color }));
}

/** The value that painting `name` writes: the first that the label owns. */
export function entryToPaint(entries, name) {
  return entries.find((entry) => entry.name === name);
}

/** Values as indices of entries; a value beyond the entries is shown as the last. NaN and background are 0. */
export function indicesOf(values, entries) {
  const index = new Map(entries.map((entry) => [entry.value, entry.index]));
  const indices = new Uint8Array(values.length);
  for (let k = 0; k < values.length; k += 1) {
    const value = values[k];
    if (value && value === value) indices[k] = index.get(value) ?? 255;
  }
  return indices;
}

/** Values that occur, at most 300 of them. */
export function valuesIn(values) {
  const seen = new Set();
  let last = 0;
  for (let k = 0; k < values.length && seen.size < 300; k += 1) {
    const value = values[k];
    if (value !== last && value === value) seen.add(value);
    last = value;
  }
  seen.delete(0);
  return seen;
}

/** Colours of the indices 0 to 255: four bytes each (red, green, blue, opacity). What is hidden is clear. */
export function lookup(entries, hidden = new Set()) {
  const table = new Uint8ClampedArray(256 * 4);
  for (const { index, name, color } of entries) {
    if (!hidden.has(name)) table.set([...rgb(color), 255], index * 4);
  }
  return table;
}

/**
 * The mask of a result, ready to show, paint and save.
 * @param {Blob} blob NIfTI, zipped or not
 * @param {{name: string, values: number[], color: string}[]} labels
 */
export async function readMask(blob, labels) {
  const file = await unzipped(new Uint8Array(await blob.arrayBuffer()));
  const header = readHeader(file);
  const values = readValues(file, header);
  const entries = entriesOf(labels, valuesIn(values));
  const indices = indicesOf(values, entries);
  const { dims, affine } = header;
  const step = [1, dims[0], dims[0] * dims[1]];
  return { file, header, entries, indices, original: indices.slice(), revision: 0, grid: { dims, affine }, start: 0, step };
}

/** Pairs of flat index and value of all voxels that differ from the file. */
export function* changesOf({ indices, original, entries }) {
  const values = [0, ...entries.map((entry) => entry.value)];
  for (let k = 0; k < indices.length; k += 1) {
    if (indices[k] !== original[k]) yield [k, values[indices[k]]];
  }
}

/** The painted mask as a file: the grid, the type and every voxel that was not painted are those of the result. */
export async function correctedFile(mask) {
  const bytes = await zipped(withValues(mask.file, mask.header, changesOf(mask)));
  return new Blob([bytes], { type: "application/gzip" });
}

/** The middle of what is labelled, in mm: the labelled voxel nearest to the centre of mass. Null for an empty mask. */
export function middleOf({ indices, grid }) {
  const { dims, affine } = grid;
  const sums = [0, 0, 0];
  let count = 0;
  const visit = (work) => {
    let flat = 0;
    for (let z = 0; z < dims[2]; z += 1)
      for (let y = 0; y < dims[1]; y += 1) for (let x = 0; x < dims[0]; x += 1, flat += 1) if (indices[flat]) work(x, y, z);
  };
  visit((x, y, z) => {
    sums[0] += x;
    sums[1] += y;
    sums[2] += z;
    count += 1;
  });
  if (!count) return null;
  const mean = sums.map((sum) => sum / count);
  let best = null;
  let least = Infinity;
  visit((...voxel) => {
    const away = voxel.reduce((sum, value, k) => sum + (value - mean[k]) ** 2, 0);
    if (away < least) [best, least] = [voxel, away];
  });
  return apply(affine, best);
}
