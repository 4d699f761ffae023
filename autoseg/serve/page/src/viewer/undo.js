/**
 * What was painted, to take back and to do again. A stroke is one step, however many dabs it has.
 * @param {Uint8Array} indices the mask; painting goes through `paint`
 * @param {number} [limit] how many steps are kept
 */
export function createHistory(indices, limit = 50) {
  const past = [];
  const future = [];
  let stroke = null;

  /** Writes the old or new values of a step. Gives the voxels. */
  function write(step, which) {
    for (const [voxel, change] of step) indices[voxel] = change[which];
    return step.keys();
  }

  return {
    /** Paints voxels with an index. Gives those that changed. */
    paint(voxels, index) {
      stroke ??= new Map();
      const changed = [];
      for (const voxel of voxels) {
        if (indices[voxel] === index) continue;
        const before = stroke.get(voxel)?.before ?? indices[voxel];
        stroke.set(voxel, { before, now: index });
        indices[voxel] = index;
        changed.push(voxel);
      }
      return changed;
    },
    /** Ends a stroke. Gives how many voxels it changed. */
    end() {
      const size = stroke?.size ?? 0;
      if (size) {
        past.push(stroke);
        if (past.length > limit) past.shift();
        future.length = 0;
      }
      stroke = null;
      return size;
    },
    /** Takes the last step back. Gives the voxels that changed. */
    undo() {
      const step = past.pop();
      if (!step) return [];
      future.push(step);
      return write(step, "before");
    },
    /** Does what was taken back again. Gives the voxels that changed. */
    redo() {
      const step = future.pop();
      if (!step) return [];
      past.push(step);
      return write(step, "now");
    },
    canUndo: () => past.length > 0,
    canRedo: () => future.length > 0,
  };
}
