// Painting on the mask of a result, with undo, saving and discarding.
import { ask } from "../lib/dialog.js";
import { el } from "../lib/dom.js";
import { apply, inverse, nearestAxis } from "./geometry.js";
import { correctedFile, entryToPaint } from "./labels.js";
import { between, brushVoxels, patch } from "./paint.js";
import { PLANES } from "./tiles.js";
import { createHistory } from "./undo.js";

const differ = (a, b) => a.some((value, k) => value !== b[k]);

/** Gives a result what painting needs. */
export function editable(result) {
  return { ...result, history: createHistory(result.mask.indices), saved: result.mask.original, unsaved: false };
}

/**
 * @param {Object} scene
 * @param {{announce: (text: string) => void, onCorrection: ((blob: Blob) => any)|null}} options
 */
export function createEditor(scene, { announce, onCorrection }) {
  const { state } = scene;
  let last = null;
  const result = (slot = state.active) => state.slots[slot];

  /** After voxels of the mask changed. */
  function refresh(slot) {
    slot.mask.revision += 1;
    scene.request();
  }

  /** The index that the tool writes, or null when there is no label to paint. */
  function indexToWrite(slot) {
    if (state.tool === "erase") return 0;
    return entryToPaint(slot.mask.entries, state.brush.label)?.index ?? null;
  }

  function settle(slot) {
    slot.unsaved = differ(slot.mask.indices, slot.saved);
    scene.request();
  }

  function step(which, word) {
    const slot = result();
    const voxels = slot ? [...slot.history[which]()] : [];
    if (!voxels.length) {
      announce(`Nothing to ${word}`);
      return;
    }
    refresh(slot);
    settle(slot);
    announce(`${which === "undo" ? "Undone" : "Done again"}: ${voxels.length} voxels`);
  }

  return {
    /** Paints at `mm` in a plane of a pane; a stroke goes on from the point before. */
    dab(pane, plane, mm) {
      const slot = result(pane.slot);
      if (!slot) return;
      if (pane.slot !== state.active) {
        announce("Only the first result can be painted");
        return;
      }
      const index = indexToWrite(slot);
      if (index === null) return;
      const { grid, indices } = slot.mask;
      const axis = nearestAxis(grid.affine, pane.image.grid.affine, PLANES[plane].across);
      const touched = new Set();
      if (state.tool === "fill") {
        if (last) return;
        for (const voxel of patch(indices, grid.dims, apply(inverse(grid.affine), mm).map(Math.round), axis))
          touched.add(voxel);
      } else {
        const { radius, ball } = state.brush;
        for (const point of between(last ?? mm, mm, radius, grid.affine)) {
          for (const voxel of brushVoxels(grid, point, radius, ball ? null : axis)) touched.add(voxel);
        }
      }
      last = mm.slice();
      slot.history.paint(touched, index);
      refresh(slot);
    },
    /** Ends a stroke: it is one step to undo. */
    end() {
      last = null;
      const slot = result();
      const count = slot?.history.end() ?? 0;
      if (!count) return;
      settle(slot);
      announce(`${count} voxels changed`);
    },
    /** Ends a stroke that was none, such as the first finger of two, and takes it back. */
    cancel() {
      last = null;
      const slot = result();
      if (!slot?.history.end()) return;
      slot.history.undo();
      refresh(slot);
      settle(slot);
    },
    undo: () => step("undo", "undo"),
    redo: () => step("redo", "do again"),
    takesCorrections: onCorrection !== null,
    canUndo: () => result()?.history.canUndo() ?? false,
    canRedo: () => result()?.history.canRedo() ?? false,
    isUnsaved: (slot = state.active) => result(slot)?.unsaved ?? false,
    hasUnsavedEdits: () => Object.values(state.slots).some((slot) => slot?.unsaved),
    async save() {
      const slot = result();
      if (!slot?.unsaved) return;
      if (!onCorrection) {
        announce("This service takes no corrections");
        return;
      }
      const blob = await correctedFile(slot.mask);
      const sent = slot.mask.indices.slice();
      try {
        if ((await onCorrection(blob)) === false) return;
      } catch (error) {
        announce(`The correction is not saved: ${error.message}`);
        throw error;
      }
      slot.saved = sent;
      settle(slot);
      announce("The correction is saved");
    },
    async discard() {
      const slot = result();
      if (!slot?.unsaved) return;
      const sure = await ask({
        title: "Discard what is painted?",
        body: [el("p", {}, "The mask becomes the model's result again. This cannot be undone.")],
        confirm: "Discard",
        cancel: "Keep",
        danger: true,
      });
      if (!sure) return;
      slot.mask.indices.set(slot.mask.original);
      slot.history = createHistory(slot.mask.indices);
      slot.saved = slot.mask.original;
      refresh(slot);
      settle(slot);
      announce("Discarded");
    },
  };
}
