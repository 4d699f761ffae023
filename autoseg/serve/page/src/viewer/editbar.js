// The second row of the bar: what is painted, and undo, save, discard.
import { el, newId, select } from "../lib/dom.js";
import { entryToPaint } from "./labels.js";
import { tick } from "./menu.js";

/** @param {Object} scene @param {Object} actions @param {Object} editor */
export function createEditBar(scene, actions, editor) {
  const { state } = scene;
  const label = select([], "", (name) => actions.brushLabel(name));
  label.setAttribute("aria-label", "Label to paint");
  const swatch = el("span", { class: "nv-swatch" });
  const size = el("input", {
    type: "range",
    min: 0.5,
    max: 30,
    step: 0.5,
    id: newId("size"),
    oninput: () => actions.brushSize(Number(size.value)),
  });
  const radius = el("output", { class: "nv-number" });
  const ball = tick("Ball (3D)", false, (on) => actions.ball(on));
  const button = (text, action, extra = {}) => el("button", { type: "button", onclick: action, ...extra }, text);
  const undo = button("Undo", () => actions.undo(), { title: "Undo (Ctrl+Z)" });
  const redo = button("Redo", () => actions.redo(), { title: "Do again (Ctrl+Y)" });
  const save = button("Save as correction…", () => actions.save(), { class: "primary" });
  const discard = button("Discard", () => actions.discard());
  const mark = el("span", { class: "nv-unsaved" }, "Not saved");
  const brush = el("span", { class: "nv-brush" }, el("label", { for: size.id }, "Radius"), size, radius, ball.element);
  const paint = el("span", { class: "nv-paint" }, swatch, label);
  const element = el(
    "div",
    { class: "nv-row nv-edit", role: "toolbar", "aria-label": "Painting" },
    paint,
    brush,
    undo,
    redo,
    save,
    discard,
    mark,
  );

  return {
    element,
    update() {
      const isPainting = ["brush", "erase", "fill"].includes(state.tool);
      const slot = state.slots[state.active];
      element.hidden = !slot || !(isPainting || editor.hasUnsavedEdits() || editor.canUndo() || editor.canRedo());
      if (!slot) return;
      const entry = entryToPaint(slot.mask.entries, state.brush.label);
      const names = [...new Set(slot.mask.entries.map(({ name }) => name))];
      const key = JSON.stringify(names);
      if (label.dataset.choices !== key) {
        label.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
        label.dataset.choices = key;
      }
      label.value = state.brush.label ?? "";
      swatch.style.background = entry?.color ?? "transparent";
      paint.hidden = !["brush", "fill"].includes(state.tool);
      brush.hidden = !["brush", "erase"].includes(state.tool);
      size.value = String(state.brush.radius);
      radius.textContent = `${state.brush.radius} mm`;
      ball.input.checked = state.brush.ball;
      undo.disabled = !editor.canUndo();
      redo.disabled = !editor.canRedo();
      save.hidden = !editor.takesCorrections;
      save.disabled = !editor.isUnsaved();
      discard.disabled = !editor.isUnsaved();
      mark.hidden = !editor.hasUnsavedEdits();
    },
  };
}
