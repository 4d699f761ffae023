// Reads images for NiiVue, and what is needed to choose their windows.
import { NVImage } from "@niivue/niivue";
import { presets, sample } from "./windows.js";

const KNOWN = /\.(nii|nii\.gz|nrrd|mha|mhd|mgh|mgz|npy|npz)$/i;

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

/** Shows values from `min` to `max` as black to white (or white to black). */
export function setWindow(image, { min, max, inverted }) {
  image.volume.cal_min = min;
  image.volume.cal_max = max;
  image.volume.colormapInvert = inverted;
  image.window = { min, max, inverted };
  image.revision += 1;
}

/**
 * An image with its grid in display order (right, front, up), its windows and its statistics.
 * @param {{name: string, modality: string, url?: string, file?: Blob, headers?: Object}} source
 */
export async function readImage(source) {
  const volume = await NVImage.loadFromUrl({ url: await bytesOf(source), name: nameOf(source), colormap: "gray" });
  const matrix = volume.matRAS;
  const affine = [0, 1, 2].map((row) => Array.from(matrix.slice(4 * row, 4 * row + 4)));
  const sorted = sample(volume.img, volume.hdr.scl_slope, volume.hdr.scl_inter);
  const image = {
    name: source.name,
    modality: source.modality ?? "",
    volume,
    revision: 0,
    grid: { dims: Array.from(volume.dimsRAS).slice(1, 4), affine },
    presets: presets(source.modality, sorted),
    frames: volume.nFrame4D || 1,
  };
  image.preset = image.presets[0].key;
  setWindow(image, image.presets[0]);
  return image;
}

/** A layer of uncertainty (0 is clear), with the value of its strongest colour. */
export async function readLayer({ blob }) {
  const volume = await NVImage.loadFromUrl({ url: await blob.arrayBuffer(), name: "layer.nii.gz", colormap: "inferno" });
  const sorted = sample(volume.img, volume.hdr.scl_slope, volume.hdr.scl_inter);
  const most = sorted.length ? sorted[sorted.length - 1] : 0;
  volume.cal_min = most > 0 ? most * 0.02 : 0;
  volume.cal_max = most > 0 ? most : 1;
  volume.colormapType = 1; // zero to the highest; what is below cal_min is clear
  return { volume, max: volume.cal_max };
}
