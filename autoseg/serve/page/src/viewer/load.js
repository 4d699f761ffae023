// Reads images with NiiVue's reader of files, and finds what is needed to draw their slices and to choose their windows.
import { NVImage } from "@niivue/niivue";
import { greys } from "./slices.js";
import { presets, sample } from "./windows.js";

const KNOWN = /\.(nii|nii\.gz|nrrd|mha|mhd|mgh|mgz|npy|npz)$/i;
const SAMPLES = { 128: 3, 2304: 4 }; // bytes of a voxel that is a colour, by NIfTI type

/** The bytes of an image that was dropped or that the service has. */
async function bytesOf({ file, url, headers }) {
  if (file) return file.arrayBuffer();
  const answer = await fetch(url, { headers });
  if (!answer.ok) throw new Error(`The image cannot be fetched: the service answered ${answer.status}.`);
  return answer.arrayBuffer();
}

/** A name whose ending says the format: NiiVue goes by it. What the service sends is NIfTI. */
function nameOf({ file, name }) {
  const known = [file?.name, name].find((candidate) => KNOWN.test(candidate ?? ""));
  return known ?? `${name || "image"}.nii.gz`;
}

/**
 * A volume with its grid in display order (right, front, up): its values in the order of the file, and where the voxel 0, 0, 0 of
 * the grid and the next voxel along each axis lie in them. A voxel is `value * slope + inter`.
 */
async function readVolume(bytes, name, colormap) {
  const volume = await NVImage.loadFromUrl({ url: bytes, name, colormap });
  const matrix = volume.matRAS;
  return {
    volume,
    grid: {
      dims: Array.from(volume.dimsRAS).slice(1, 4),
      affine: [0, 1, 2].map((row) => Array.from(matrix.slice(4 * row, 4 * row + 4))),
    },
    values: volume.img,
    samples: SAMPLES[volume.hdr.datatypeCode] ?? 1,
    slope: volume.hdr.scl_slope,
    inter: volume.hdr.scl_inter,
    start: volume.img2RASstart[0] + volume.img2RASstart[1] + volume.img2RASstart[2],
    step: Array.from(volume.img2RASstep),
    offset: 0,
  };
}

/** Shows values from `min` to `max` as black to white (or white to black). */
export function setWindow(image, { min, max, inverted }) {
  image.window = { min, max, inverted };
  image.shades = greys(inverted);
  image.revision += 1;
}

/** Shows another time point. */
export function setFrame(image, number) {
  image.offset = number * image.frameLength;
  image.revision += 1;
}

/** The value of an image at a voxel of its grid; of a colour its brightness. */
export function valueAt({ values, samples, slope, inter, start, step, offset }, voxel) {
  const place = start + voxel.reduce((sum, value, k) => sum + value * step[k], 0);
  if (samples === 1) return values[offset + place] * slope + inter;
  const [red, green, blue] = [0, 1, 2].map((part) => values[place * samples + part]);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue; // ITU-R BT.709
}

/**
 * An image with its windows and its statistics.
 * @param {{name: string, modality: string, url?: string, file?: Blob, headers?: Object}} source
 */
export async function readImage(source) {
  const read = await readVolume(await bytesOf(source), nameOf(source), "gray");
  const image = {
    ...read,
    name: source.name,
    modality: source.modality ?? "",
    revision: 0,
    presets: presets(source.modality, sample(read.values, read.slope, read.inter)),
    frames: read.volume.nFrame4D || 1,
    frameLength: read.grid.dims.reduce((product, n) => product * n, 1),
  };
  image.preset = image.presets[0].key;
  setWindow(image, image.presets[0]);
  return image;
}

/** A layer of uncertainty (0 is clear), with the value of its strongest colour. */
export async function readLayer({ blob }) {
  const layer = await readVolume(await blob.arrayBuffer(), "layer.nii.gz", "inferno");
  const sorted = sample(layer.values, layer.slope, layer.inter);
  const most = sorted.length ? sorted[sorted.length - 1] : 0;
  const max = most > 0 ? most : 1;
  // For 3D: zero to the highest; what is below cal_min is clear.
  Object.assign(layer.volume, { cal_min: most > 0 ? most * 0.02 : 0, cal_max: max, colormapType: 1 });
  return { ...layer, max };
}
