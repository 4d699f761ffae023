import assert from "node:assert/strict";
import { test } from "node:test";
import { apply, distance, inverse, nearestAxis, spacing } from "../src/viewer/geometry.js";
import { changesOf, correctedFile, entriesOf, indicesOf, lookup, middleOf, readMask } from "../src/viewer/labels.js";
import { readHeader, readValues, unzipped, withValues } from "../src/viewer/nifti.js";
import { brushVoxels, follow, patch } from "../src/viewer/paint.js";
import { sidesOf } from "../src/viewer/picture.js";
import { bordersOf, clearUnder, greys, placesOf, shade, tint } from "../src/viewer/slices.js";
import { alongAxes, cellsOf, fracOf, pointOf, tileOf } from "../src/viewer/tiles.js";
import { createHistory } from "../src/viewer/undo.js";
import { dragged, kindOf, presets, sample, widened } from "../src/viewer/windows.js";

const UNIT = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 1, 0],
];
const LABELS = [
  { name: "whole", values: [1, 2], color: "#00ff00" },
  { name: "core", values: [2], color: "#ff0000" },
];

/** A NIfTI-1 file of int16 or float32 with an sform. */
function file(dims, affine, values, { type = 4, little = true, slope = 0, qform = 0 } = {}) {
  const width = type === 4 ? 2 : 4;
  const bytes = new Uint8Array(352 + values.length * width);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, 348, little);
  [dims.length, ...dims].forEach((n, k) => view.setInt16(40 + 2 * k, n, little));
  view.setInt16(70, type, little);
  [1, 1, 1, 1].forEach((n, k) => view.setFloat32(76 + 4 * k, n, little));
  view.setFloat32(108, 352, little);
  view.setFloat32(112, slope, little);
  view.setInt16(252, qform, little);
  view.setInt16(254, 1, little);
  affine.flat().forEach((n, k) => view.setFloat32(280 + 4 * k, n, little));
  values.forEach((value, k) =>
    type === 4 ? view.setInt16(352 + 2 * k, value, little) : view.setFloat32(352 + 4 * k, value, little),
  );
  return bytes;
}

test("an affine and its inverse give the voxel back", () => {
  const oblique = [
    [0.9, -0.4, 0.1, 5],
    [0.4, 0.8, -0.2, -7],
    [0, 0.3, 2.5, 9],
  ];
  apply(inverse(oblique), apply(oblique, [3, 4, 5])).forEach((value, k) => assert.ok(Math.abs(value - [3, 4, 5][k]) < 1e-9));
  assert.throws(
    () =>
      inverse([
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
      ]),
    /cannot be inverted/,
  );
});

test("a distance of three and four millimetres across is five", () => {
  assert.equal(distance([0, 0, 0], [3, 4, 0]), 5);
  assert.deepEqual(
    spacing([
      [0, 2, 0, 0],
      [-3, 0, 0, 0],
      [0, 0, 4, 0],
    ]),
    [3, 2, 4],
  );
  assert.equal(
    nearestAxis(
      [
        [0, 2, 0, 0],
        [-3, 0, 0, 0],
        [0, 0, 4, 0],
      ],
      UNIT,
      0,
    ),
    1,
  );
});

test("the innermost region owns a value, and a value without a label has a name of its own", () => {
  const entries = entriesOf(LABELS, [2, 9]);
  assert.deepEqual(
    entries.map(({ value, name }) => [value, name]),
    [
      [1, "whole"],
      [2, "core"],
      [9, "Value 9"],
    ],
  );
  assert.deepEqual([...indicesOf([0, 2, NaN, 9], entries)], [0, 2, 0, 3]);
  assert.deepEqual([...lookup(entries, new Set(["whole"])).slice(4, 12)], [0, 0, 0, 0, 255, 0, 0, 255]);
});

for (const options of [{}, { little: false }, { type: 16 }, { slope: 2 }]) {
  test(`only what is painted changes in the file ${JSON.stringify(options)}`, () => {
    const bytes = file([2, 2, 1], UNIT, [0, 1, 0, 1], options);
    const header = readHeader(bytes);
    const scale = options.slope || 1;
    assert.deepEqual(Array.from(readValues(bytes, header)), [0, scale, 0, scale]);
    assert.deepEqual(withValues(bytes, header, []), bytes);
    const painted = withValues(bytes, header, [[2, 4]]);
    assert.deepEqual(Array.from(readValues(painted, header)), [0, scale, 4, scale]);
    assert.deepEqual(painted.slice(0, 352), bytes.slice(0, 352));
  });
}

test("a mask that is painted and saved has the same grid and the painted voxel", async () => {
  const bytes = file([2, 2, 1], UNIT, [0, 1, 0, 2]);
  const mask = await readMask(new Blob([bytes]), LABELS);
  assert.deepEqual(await unzipped(new Uint8Array(await (await correctedFile(mask)).arrayBuffer())), bytes);
  mask.indices[0] = 2;
  assert.deepEqual([...changesOf(mask)], [[0, 2]]);
  const saved = await unzipped(new Uint8Array(await (await correctedFile(mask)).arrayBuffer()));
  assert.deepEqual(Array.from(readValues(saved, readHeader(saved))), [2, 1, 0, 2]);
});

test("a file that is no NIfTI or that is cut off is refused", () => {
  assert.throws(() => readHeader(new Uint8Array(400)), /not a NIfTI/);
  const bytes = file([2, 2, 1], UNIT, [0, 1, 0, 1]).slice(0, 355);
  assert.throws(() => readValues(bytes, readHeader(bytes)), /cut off/);
});

test("the middle of a mask lies in the mask", () => {
  const indices = Uint8Array.of(1, 0, 0, 0, 1);
  assert.deepEqual(middleOf({ indices, grid: { dims: [5, 1, 1], affine: UNIT } }), [0, 0, 0]);
  assert.equal(middleOf({ indices: new Uint8Array(5), grid: { dims: [5, 1, 1], affine: UNIT } }), null);
});

test("a disc of 1 mm in voxels of 1 mm is a cross of five, and a ball has seven", () => {
  const grid = { dims: [5, 5, 5], affine: UNIT };
  assert.equal(brushVoxels(grid, [2, 2, 2], 1, 2).size, 5);
  assert.equal(brushVoxels(grid, [2, 2, 2], 1, null).size, 7);
  assert.equal(brushVoxels(grid, [0, 0, 0], 1, 2).size, 3);
  assert.equal(brushVoxels(grid, [2, 2, 9], 1, 2).size, 0);
});

test("a disc follows the spacing: in voxels of 1 by 2 mm it is half as many voxels high", () => {
  const grid = {
    dims: [9, 9, 1],
    affine: [
      [1, 0, 0, 0],
      [0, 2, 0, 0],
      [0, 0, 1, 0],
    ],
  };
  const touched = [...brushVoxels(grid, [4, 8, 0], 2, 2)];
  assert.equal(new Set(touched.map((flat) => flat % 9)).size, 5);
  assert.equal(new Set(touched.map((flat) => Math.floor(flat / 9))).size, 3);
});

test("a patch ends at other labels and at its slice", () => {
  const indices = Uint8Array.of(0, 0, 1, 0, 0, 0, 1, 0, /* second slice */ 0, 0, 0, 0, 0, 0, 0, 0);
  assert.deepEqual(
    [...patch(indices, [4, 2, 2], [0, 0, 0], 2)].sort((a, b) => a - b),
    [0, 1, 4, 5],
  );
});

test("what is shown of a flipped mask is the same voxel of the world", () => {
  const mask = {
    indices: Uint8Array.of(1, 2, 3, 0),
    grid: {
      dims: [4, 1, 1],
      affine: [
        [-1, 0, 0, 3],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
      ],
    },
  };
  const shown = { dims: [4, 1, 1], affine: UNIT };
  assert.deepEqual([...follow(mask, shown)], [0, 3, 2, 1]);
});

test("at least twenty strokes are undone and done again, each whole", () => {
  const indices = new Uint8Array(100);
  const history = createHistory(indices);
  for (let k = 0; k < 25; k += 1) {
    history.paint([2 * k], 1);
    history.paint([2 * k + 1, 2 * k], 1);
    assert.equal(history.end(), 2);
  }
  for (let k = 0; k < 25; k += 1) history.undo();
  assert.ok(indices.every((value) => value === 0) && !history.canUndo());
  for (let k = 0; k < 25; k += 1) history.redo();
  assert.equal(
    indices.reduce((sum, value) => sum + value, 0),
    50,
  );
  assert.deepEqual([...history.redo()], []);
});

test("a new stroke forgets what was undone, and a stroke that changes nothing is no step", () => {
  const history = createHistory(new Uint8Array(4));
  history.paint([1], 1);
  history.end();
  history.undo();
  history.paint([2], 1);
  history.end();
  assert.ok(!history.canRedo());
  history.paint([2], 1);
  assert.equal(history.end(), 0);
});

test("CT begins with soft tissue, PET with inverted SUV, others with percentiles", () => {
  const sorted = sample(Float32Array.from({ length: 101 }, (_, k) => k));
  const [soft] = presets("CT", sorted);
  assert.deepEqual([soft.min, soft.max], [-160, 240]);
  assert.deepEqual([presets("PET", sorted)[0].max, presets("PT", sorted)[0].inverted], [10, true]);
  assert.deepEqual([presets("MR", sorted)[0].min, presets("MR", sorted)[0].max], [1, 99]);
  assert.equal(kindOf("T1"), "other");
});

test("a constant image and one of NaN have a window that is not empty", () => {
  for (const values of [
    [7, 7],
    [NaN, NaN],
  ]) {
    for (const { min, max } of presets("MR", sample(values))) assert.ok(max > min);
  }
  assert.deepEqual(widened(0, 0), { min: -0.5, max: 0.5 });
});

test("a window that is dragged to the right is wider, and one dragged upwards shows the image brighter", () => {
  const wide = dragged({ min: 0, max: 100 }, 0.5, 0);
  assert.deepEqual([wide.min, wide.max], [-50, 150]);
  assert.ok(dragged({ min: 0, max: 100 }, 0, 0.1).max < 100);
});

test("a point of the canvas goes to the image and back, mirrored or not", () => {
  const tile = { plane: 0, left: 10, top: 20, width: 100, height: 50, first: [1, 1], last: [0, 0] };
  const frac = fracOf(tile, [0.5, 0.5, 0.3], 35, 45);
  assert.deepEqual(frac, [0.75, 0.5, 0.3]);
  assert.deepEqual(pointOf(tile, frac), [35, 45]);
});

test("the sides of a plane follow the direction in which it is drawn", () => {
  assert.deepEqual(sidesOf({ plane: 0, first: [1, 1], last: [0, 0] }), ["R", "A"]);
  assert.deepEqual(sidesOf({ plane: 2, first: [0, 1], last: [1, 0] }), ["P", "S"]);
});

/** Values 0 to 23 on a grid of 4 by 3 by 2 voxels, in the order of the grid. */
const COUNTED = {
  grid: { dims: [4, 3, 2], affine: UNIT },
  values: Array.from({ length: 24 }, (_, k) => k),
  start: 0,
  step: [1, 4, 12],
  slope: 1,
  inter: 0,
  offset: 0,
};

test("an axial slice begins with the right of the patient and with the front", () => {
  const places = [...placesOf(COUNTED.grid, 0, 1, COUNTED)];
  assert.deepEqual(places, [23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12]);
});

test("a coronal and a sagittal slice begin with the head", () => {
  assert.deepEqual([...placesOf(COUNTED.grid, 1, 0, COUNTED)], [15, 14, 13, 12, 3, 2, 1, 0]);
  assert.deepEqual([...placesOf(COUNTED.grid, 2, 3, COUNTED)], [23, 19, 15, 11, 7, 3]);
});

test("a file with flipped and exchanged axes gives the same slice", () => {
  // The same voxels, stored with the last axis first and the first axis from right to left.
  const stored = [];
  const step = [-6, 2, 1];
  const start = 18;
  for (const value of COUNTED.values) {
    stored[start + (value % 4) * step[0] + (Math.floor(value / 4) % 3) * step[1] + Math.floor(value / 12) * step[2]] = value;
  }
  const turned = { ...COUNTED, values: stored, start, step };
  const seen = (volume) => [...placesOf(COUNTED.grid, 0, 1, volume)].map((place) => volume.values[place]);
  assert.deepEqual(seen(turned), seen(COUNTED));
});

test("a mask on another grid is read where it is in the world", () => {
  const shifted = {
    indices: Uint8Array.of(1, 2),
    grid: { dims: [2, 1, 1], affine: [[-1, 0, 0, 2], [0, 1, 0, 1], [0, 0, 1, 1]] }, // from x = 2 to x = 1
    start: 0,
    step: [1, 2, 2],
  };
  const places = [...placesOf(COUNTED.grid, 0, 1, shifted)];
  assert.deepEqual(places, [-1, -1, -1, -1, -1, 0, 1, -1, -1, -1, -1, -1]);
});

test("a pixel has the grey of its value in the window", () => {
  const pixels = new Uint32Array(5);
  const volume = { values: [0, 10, 15, 20, NaN], slope: 2, inter: 1, offset: 0 }; // 1, 21, 31, 41 HU
  shade(pixels, Int32Array.of(0, 1, 2, 3, 4), volume, { min: 11, max: 41 }, greys(false));
  assert.deepEqual([...pixels].map((color) => color & 255), [0, 85, 170, 255, 0]);
  assert.deepEqual([...pixels].map((color) => color >>> 24), [255, 255, 255, 255, 255]);
  shade(pixels, Int32Array.of(0, 1, -1, 3, 4), volume, { min: 11, max: 41 }, greys(true));
  assert.deepEqual([...pixels].map((color) => color & 255), [255, 170, 0, 0, 255]);
  assert.equal(pixels[2], 0); // outside of the volume: clear
});

test("a label has its colour, and is clear where it is hidden, outside, or under uncertainty", () => {
  const entries = entriesOf(LABELS);
  const pixels = new Uint32Array(4);
  const colors = new Uint32Array(lookup(entries, new Set(["whole"])).buffer);
  tint(pixels, Int32Array.of(0, 1, 2, -1), Uint8Array.of(0, 1, 2), colors);
  assert.deepEqual([...pixels], [0, 0, 0xff0000ff, 0]);
  clearUnder(Uint32Array.of(0, 0, 1, 0), pixels);
  assert.deepEqual([...pixels], [0, 0, 0, 0]);
});

test("the border of a label of two pixels is six pieces' length around it", () => {
  // . . . .
  // . A A .
  // . . . .
  const indices = Uint8Array.of(0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0);
  const places = Int32Array.from(indices, (_, k) => k);
  const pieces = bordersOf(places, indices, 4, 3);
  assert.deepEqual(
    pieces.map(({ x, y, length, isUpright, inward }) => [x, y, length, isUpright, inward]),
    [
      [1, 1, 2, false, 1],
      [1, 2, 2, false, -1],
      [1, 1, 1, true, 1],
      [3, 1, 1, true, -1],
    ],
  );
});

test("a slice fits its cell in the right proportion, and the zoom keeps the point that it is about", () => {
  const grid = { dims: [10, 20, 5], affine: [[2, 0, 0, 7], [0, 1, 0, 0], [0, 0, 3, 0]] }; // 20 by 20 by 15 mm
  const [cell] = cellsOf("plane", 0, false, 300, 100);
  const whole = tileOf(cell, grid, [0, 0, 0, 1]);
  assert.deepEqual([whole.left, whole.width, whole.top, whole.height], [100, 100, 0, 100]);
  const frac = [0.7, 0.4, 0.5];
  const place = pointOf(whole, frac);
  const zoomed = tileOf(cell, grid, [...alongAxes(grid, frac).map((mm) => -mm), 2]); // from zoom 1 to zoom 2
  pointOf(zoomed, frac).forEach((value, k) => assert.ok(Math.abs(value - place[k]) < 1e-9));
  assert.ok(zoomed.width > whole.width && zoomed.height === 100);
});
