// The viewer of images and masks. What it does is in docs/how-to/viewer.md.
import { createActions } from "./actions.js";
import { createEditBar } from "./editbar.js";
import { createEditor, editable } from "./edit.js";
import { centre } from "./geometry.js";
import { keyHandler, showKeys } from "./keys.js";
import { entryToPaint, middleOf, readMask } from "./labels.js";
import { readImage, readLayer } from "./load.js";
import { listen } from "./pointer.js";
import { createScene } from "./scene.js";
import { createStatus } from "./status.js";
import { createToolbar } from "./toolbar.js";

const PHONE_PX = 640;

/**
 * @typedef {Object} Viewer
 * @property {(images: Object[]) => Promise<void>} showImages `{name, modality, url | file, headers?}`; the first is shown
 * @property {(slot: "a"|"b", result: Object) => Promise<void>} showResult `{label: {blob}, labels: [{name, values, color}],
 *   entropy?: {blob}, disagreement?: {blob}, title}`; "b" is shown beside "a"
 * @property {() => void} clear
 * @property {HTMLElement} toolbar
 * @property {() => boolean} hasUnsavedEdits
 * @property {{setVisible: (name: string, on: boolean) => void, setOpacity: (share: number) => void}} labels
 */

/**
 * @param {HTMLElement} container
 * @param {{announce: (text: string) => void, onCorrection: ((blob: Blob) => any)|null}} options
 *   `onCorrection` gets the painted mask (gzipped NIfTI); when it gives false or throws, the edits count as not saved. Null:
 *   masks can be painted, and are not saved
 * @returns {Viewer}
 */
export function createViewer(container, { announce, onCorrection }) {
  container.replaceChildren();
  container.classList.add("nv-viewer");
  const scene = createScene(container);
  const { state } = scene;
  const editor = createEditor(scene, { announce, onCorrection });
  const actions = createActions(scene, editor, announce, showKeys);
  const toolbar = createToolbar(scene, actions, createEditBar(scene, actions, editor));
  const status = createStatus(scene, actions);
  container.append(status.element);
  const onKey = keyHandler(actions, scene);
  scene.onPane((pane) => {
    listen(pane, scene, actions, editor);
    pane.element.addEventListener("keydown", onKey);
  });
  scene.onDraw(() => {
    status.update();
    toolbar.update();
  });
  scene.arrange();
  let asked = 0; // an answer that comes after `clear` is not shown

  const viewer = {
    toolbar: toolbar.element,
    async showImages(sources) {
      viewer.clear();
      const mine = asked;
      const first = await readImage(sources[0]);
      if (mine !== asked) return;
      state.images = [first];
      state.cursor = centre(first.grid);
      if (container.clientWidth < PHONE_PX) state.layout = "plane";
      scene.arrange();
      announce(`${first.name}: ${first.grid.dims.join(" × ")} voxels`);
      for (const source of sources.slice(1)) {
        const image = await readImage(source);
        if (mine !== asked) return;
        state.images.push(image);
        scene.arrange();
      }
    },
    async showResult(slot, { label, labels, entropy, disagreement, title = "" }) {
      const mine = asked;
      const [mask, ...layers] = await Promise.all([
        readMask(label.blob, labels),
        ...[entropy, disagreement].map((layer) => (layer ? readLayer(layer) : null)),
      ]);
      if (mine !== asked) return;
      state.slots[slot] = editable({ mask, layers: { entropy: layers[0], disagreement: layers[1] }, title });
      if (!entryToPaint(mask.entries, state.brush.label)) state.brush.label = mask.entries[0]?.name ?? null;
      if (slot === "b" && state.slots.a) state.compare = "results";
      if (!state.touched && slot === "a") state.cursor = middleOf(mask) ?? state.cursor;
      scene.arrange();
    },
    clear() {
      asked += 1;
      scene.reset();
      for (const pane of scene.panes) pane.clear();
    },
    hasUnsavedEdits: editor.hasUnsavedEdits,
    labels: { setVisible: actions.labelVisible, setOpacity: actions.opacity },
  };
  return viewer;
}
