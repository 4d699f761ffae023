import { Niivue, NVImage, SLICE_TYPE } from "@niivue/niivue";
import { el, field, select } from "../lib/dom.js";

const VIEWS = { 4: "Three planes", 0: "Axial", 1: "Coronal", 2: "Sagittal", 3: "3D" };

/** Colours by the values of a mask: 0 is clear. */
function colormapOf(labels) {
  const entries = labels.flatMap(({ name, values, color }) => values.map((value) => [value, name, color]));
  const channel = (color, start) => parseInt(color.slice(start, start + 2), 16);
  return {
    I: [0, ...entries.map(([value]) => value)],
    R: [0, ...entries.map(([, , color]) => channel(color, 1))],
    G: [0, ...entries.map(([, , color]) => channel(color, 3))],
    B: [0, ...entries.map(([, , color]) => channel(color, 5))],
    A: [0, ...entries.map(() => 255)],
    labels: ["", ...entries.map(([, name]) => name)],
  };
}

const bufferOf = async ({ file, url, headers }) => (file ?? await fetch(url, { headers })).arrayBuffer();

/** The image behind what is read, whatever its format: NiiVue goes by the ending of a name. */
const nameOf = ({ file, name }) => (file ? file.name : `${name}.nii.gz`);

/**
 * Shows images and masks in three planes and in 3D.
 * @param {HTMLElement} container
 * @param {{announce: (text: string) => void}} options
 */
export async function createViewer(container, { announce }) {
  const canvas = el("canvas", { "aria-label": "Image", role: "img", tabIndex: 0 });
  container.replaceChildren(canvas);
  const view = new Niivue({
    backColor: [0.047, 0.059, 0.075, 1], show3Dcrosshair: true, dragAndDropEnabled: false, logLevel: "error",
    crosshairColor: [0.36, 0.76, 0.81, 0.9], crosshairWidth: 0.3, crosshairWidthUnit: "percent", fontSizeScaling: 0.4, fontMinPx: 13,
  });
  await view.attachToCanvas(canvas);
  view.setSliceType(SLICE_TYPE.MULTIPLANAR);

  const opacity = el("input", {
    type: "range", min: 0, max: 1, step: 0.05, value: 0.5,
    oninput: () => view.volumes[1] && view.setOpacity(1, Number(opacity.value)),
  });
  const toolbar = el("div", { class: "viewer-tools" },
    field("View", select(Object.entries(VIEWS), "4", (value) => view.setSliceType(Number(value)))),
    field("Opacity of labels", opacity));

  return {
    toolbar,
    async showImages(images) {
      for (const volume of [...view.volumes]) view.removeVolume(volume);
      view.addVolume(await NVImage.loadFromUrl({ url: await bufferOf(images[0]), name: nameOf(images[0]) }));
      announce(`Image ${images[0].name} is shown`);
    },
    async showResult(slot, { label, labels }) {
      if (slot !== "a") return;
      const mask = await NVImage.loadFromUrl({ url: await label.blob.arrayBuffer(), name: "label.nii.gz", opacity: Number(opacity.value) });
      mask.setColormapLabel(colormapOf(labels));
      view.addVolume(mask);
    },
    clear() {
      for (const volume of [...view.volumes]) view.removeVolume(volume);
    },
    hasUnsavedEdits: () => false,
  };
}
