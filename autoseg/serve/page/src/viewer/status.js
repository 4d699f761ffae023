// Below the images: the slice, the position, and what is there, in text.
import { el } from "../lib/dom.js";
import { apply, distance, flatIndex, inverse, isInside } from "./geometry.js";
import { valueAt } from "./load.js";
import { millimetres } from "./marks.js";
import { PLANES } from "./tiles.js";
import { figure, unitOf } from "./windows.js";

/** The name of the label at a point in mm; null outside the mask. */
export function labelAt(mask, mm) {
  const voxel = apply(inverse(mask.grid.affine), mm).map((value) => Math.round(value));
  if (!isInside(mask.grid.dims, voxel)) return null;
  const index = mask.indices[flatIndex(mask.grid.dims, voxel)];
  return index === 0 ? "background" : (mask.entries.find((entry) => entry.index === index)?.name ?? "unknown label");
}

/** Position in mm as left or right, front or back, up or down of the scanner's origin. */
export function positionText(mm) {
  const sides = [
    ["L", "R"],
    ["P", "A"],
    ["I", "S"],
  ]; // world axes of NIfTI point to right, front and up
  return mm.map((value, k) => `${sides[k][value < 0 ? 0 : 1]} ${Math.abs(value).toFixed(1)}`).join("  ");
}

/** @returns what is under the cursor in a pane, as pieces of text */
export function whatIsThere(scene, pane) {
  const { state } = scene;
  const voxel = apply(inverse(pane.image.grid.affine), state.cursor).map(Math.round);
  const isIn = isInside(pane.image.grid.dims, voxel);
  const value = isIn ? `${figure(valueAt(pane.image, voxel))} ${unitOf(pane.image.modality)}`.trim() : "outside the image";
  const label = pane.mask ? labelAt(pane.mask, state.cursor) : null;
  return { value, label, position: `${positionText(state.cursor)} mm` };
}

/** @param {Object} scene @param {Object} actions */
export function createStatus(scene, actions) {
  const slider = el("input", {
    type: "range",
    "aria-label": "Slice",
    min: 0,
    step: 1,
    oninput: () => actions.slice(Number(slider.value)),
  });
  const number = el("output", { class: "nv-number" });
  const plane = el(
    "select",
    {
      "aria-label": "Plane of the slider",
      onchange: () => {
        scene.state.plane = Number(plane.value);
        scene.request();
      },
    },
    PLANES.map(({ name }, k) => el("option", { value: String(k) }, name)),
  );
  const text = el("p", { class: "nv-text" });
  const frames = el("input", {
    type: "number",
    min: 1,
    step: 1,
    "aria-label": "Time point",
    onchange: () => actions.frame(Number(frames.value) - 1),
  });
  const element = el("div", { class: "nv-status" }, el("div", { class: "nv-slice" }, plane, slider, number, frames), text);

  function update() {
    const image = scene.current();
    const { state } = scene;
    const active = scene.activePlane();
    const { across, name } = PLANES[active];
    const count = image.grid.dims[across];
    const at = scene.voxel()[across];
    slider.max = String(count - 1);
    slider.value = String(at);
    slider.setAttribute("aria-label", `${name} slice`);
    slider.setAttribute("aria-valuetext", `${at + 1} of ${count}`);
    plane.value = String(active);
    number.textContent = `${at + 1} of ${count}`;
    frames.hidden = image.frames < 2;
    frames.max = String(image.frames);
    frames.value = String(image.offset / image.frameLength + 1);
    const parts = scene.plan().map(({ title }, k) => {
      const pane = scene.panes[k];
      if (!pane?.image) return "";
      const extra = title && title !== pane.image.name ? `, ${title}` : "";
      const { value, label, position } = whatIsThere(scene, pane);
      const words = [value, label].filter(Boolean).join(", ");
      pane.view.setAttribute(
        "aria-label",
        `${pane.image.name}${extra}: ${name} slice ${at + 1} of ${count}, ${position}, ${words}`,
      );
      return title ? `${title}: ${words}` : words;
    });
    const last = state.measures.at(-1);
    const measured = last ? `Distance ${millimetres(distance(last.from, last.to))}` : "";
    text.textContent = [`${positionText(state.cursor)} mm`, ...parts, measured].filter(Boolean).join("  ·  ");
  }

  return { element, update };
}
