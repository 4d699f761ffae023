// Reads and writes label masks as NIfTI-1 and NIfTI-2. What is not painted keeps its bytes: header, extensions and voxels.

const READERS = {
  2: ["getUint8", "setUint8", 1],
  256: ["getInt8", "setInt8", 1],
  4: ["getInt16", "setInt16", 2],
  512: ["getUint16", "setUint16", 2],
  8: ["getInt32", "setInt32", 4],
  768: ["getUint32", "setUint32", 4],
  16: ["getFloat32", "setFloat32", 4],
  64: ["getFloat64", "setFloat64", 8],
  1024: ["getBigInt64", "setBigInt64", 8],
  1280: ["getBigUint64", "setBigUint64", 8],
};
const ARRAYS = {
  2: Uint8Array,
  256: Int8Array,
  4: Int16Array,
  512: Uint16Array,
  8: Int32Array,
  768: Uint32Array,
  16: Float32Array,
  64: Float64Array,
};

/** What `stream` makes of `bytes`. */
async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

/** The bytes of a file without their gzip, if they have one. */
export async function unzipped(bytes) {
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? through(bytes, new DecompressionStream("gzip")) : bytes;
}

/** Bytes as gzip. */
export async function zipped(bytes) {
  return through(bytes, new CompressionStream("gzip"));
}

/** Rotation of a quaternion (NIfTI-1 standard, method 2) times the spacing, with the offset. */
function quaternAffine(quatern, pixdim, offset) {
  const [b, c, d] = quatern;
  const a = Math.sqrt(Math.max(0, 1 - (b * b + c * c + d * d)));
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
    [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
    [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
  ];
  const handed = pixdim[0] === 0 ? 1 : pixdim[0];
  return turn.map((row, k) => [row[0] * pixdim[1], row[1] * pixdim[2], row[2] * pixdim[3] * handed, offset[k]]);
}

const isSound = (affine) =>
  affine.flat().every(Number.isFinite) &&
  affine.every((row) => row.slice(0, 3).some((value) => value !== 0)) &&
  [0, 1, 2].every((k) => affine.some((row) => row[k] !== 0));

/** Where the fields of a header are: NIfTI-1 and NIfTI-2. */
const LAYOUTS = {
  348: { dim: 40, wide: false, type: 70, pixdim: 76, offset: 108, slope: 112, qform: 252, quatern: 256, srow: 280 },
  540: { dim: 16, wide: true, type: 12, pixdim: 104, offset: 168, slope: 176, qform: 344, quatern: 352, srow: 400 },
};

/**
 * The header of an unzipped NIfTI file. The affine follows the same rule as the viewer's images: the sform, unless the qform
 * has the higher code or the sform is unsound.
 * @param {Uint8Array} bytes
 * @returns {{dims: number[], affine: number[][], type: number, little: boolean, start: number, slope: number,
 *   inter: number}}
 */
export function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = [348, 540].includes(view.getInt32(0, true));
  const at = LAYOUTS[view.getInt32(0, little)];
  if (!at) throw new Error("This is not a NIfTI file.");
  const real = (start, k) => (at.wide ? view.getFloat64(start + 8 * k, little) : view.getFloat32(start + 4 * k, little));
  const size = (k) => (at.wide ? Number(view.getBigInt64(at.dim + 8 * k, little)) : view.getInt16(at.dim + 2 * k, little));
  const code = (k) => (at.wide ? view.getInt32(at.qform + 4 * k, little) : view.getInt16(at.qform + 2 * k, little));
  const rank = size(0);
  const dims = [1, 2, 3].map((k) => (k <= rank ? Math.max(1, size(k)) : 1));
  const pixdim = [0, 1, 2, 3].map((k) => real(at.pixdim, k));
  const srow = [0, 1, 2].map((row) => [0, 1, 2, 3].map((k) => real(at.srow, 4 * row + k)));
  const quatern = [0, 1, 2].map((k) => real(at.quatern, k));
  const offset = [3, 4, 5].map((k) => real(at.quatern, k));
  const affine = isSound(srow) && code(0) <= code(1) ? srow : quaternAffine(quatern, pixdim, offset);
  const slope = real(at.slope, 0);
  const inter = real(at.slope, 1);
  const scaled = Number.isFinite(slope) && slope !== 0;
  return {
    dims,
    affine,
    type: view.getInt16(at.type, little),
    little,
    start: at.wide ? Number(view.getBigInt64(at.offset, little)) : view.getFloat32(at.offset, little),
    slope: scaled ? slope : 1,
    inter: scaled && Number.isFinite(inter) ? inter : 0,
  };
}

/**
 * Label values of the first volume of a file.
 * @returns {ArrayLike<number>} one number per voxel, the first axis fastest
 */
export function readValues(bytes, header) {
  const count = header.dims[0] * header.dims[1] * header.dims[2];
  const reader = READERS[header.type];
  if (!reader) throw new Error(`Labels of NIfTI type ${header.type} cannot be shown.`);
  const [get, , width] = reader;
  if (header.start + count * width > bytes.byteLength) throw new Error("The NIfTI file of the labels is cut off.");
  const Typed = ARRAYS[header.type];
  const isPlain = header.slope === 1 && header.inter === 0;
  if (Typed && isPlain && (header.little || width === 1)) {
    const from = bytes.byteOffset + header.start;
    return new Typed(bytes.buffer.slice(from, from + count * width));
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float64Array(count);
  for (let k = 0; k < count; k += 1)
    values[k] = Number(view[get](header.start + k * width, header.little)) * header.slope + header.inter;
  return values;
}

/**
 * A copy of a file with other values at some voxels.
 * @param {Uint8Array} bytes the unzipped file
 * @param {Object} header as `readHeader` gives it
 * @param {Iterable<[number, number]>} changes pairs of flat index and label value
 */
export function withValues(bytes, header, changes) {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
  const [, set, width] = READERS[header.type];
  const isBig = set.includes("Big");
  const isReal = header.type === 16 || header.type === 64;
  for (const [index, value] of changes) {
    const raw = (value - header.inter) / header.slope;
    const stored = isReal ? raw : Math.round(raw);
    view[set](header.start + index * width, isBig ? BigInt(stored) : stored, header.little);
  }
  return copy;
}
