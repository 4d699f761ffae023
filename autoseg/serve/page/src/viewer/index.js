/** Placeholder until the viewer is there: it keeps the interface, and shows nothing. */
export async function createViewer(container, { announce, onCorrection }) {
  return {
    toolbar: document.createElement("div"),
    async showImages(images) {},
    async showResult(slot, result) {},
    clear() {},
    hasUnsavedEdits: () => false,
  };
}
