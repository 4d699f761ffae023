import { el } from "./lib/dom.js";
import { dropInvitation } from "./setup/drop.js";

/**
 * The place of the image. The viewer is fetched when there is something to show.
 * @param {{onFiles, onPacs, announce, onCorrection, onError}} actions
 */
export function createStage({ onFiles, onPacs, announce, onCorrection, onError }) {
  const stage = document.getElementById("stage");
  const container = document.getElementById("viewer");
  const toolbar = document.getElementById("viewer-toolbar");
  const cover = document.getElementById("drop");
  let viewer = null;
  let shown = 0; // counts what was asked for: an answer that comes late is not shown

  function coverWith(...children) {
    container.hidden = children.length > 0;
    toolbar.hidden = children.length > 0;
    cover.hidden = children.length === 0;
    cover.replaceChildren(...children);
    stage.classList.toggle("empty", children.length > 0);
  }

  async function ready() {
    if (!viewer) {
      const { createViewer } = await import("./viewer/index.js");
      container.hidden = false;
      viewer = createViewer(container, { announce, onCorrection });
      toolbar.replaceChildren(viewer.toolbar);
    }
    return viewer;
  }

  async function show(work) {
    const mine = (shown += 1);
    try {
      const there = await ready();
      if (mine !== shown) return;
      coverWith();
      await work(there);
    } catch (error) {
      if (mine !== shown) return;
      coverWith(el("p", { class: "message" }, "The image cannot be shown in this browser. The result can be downloaded."));
      onError(error);
    }
  }

  return {
    invite() {
      shown += 1;
      viewer?.clear();
      coverWith(dropInvitation(onFiles, onPacs));
    },
    say(text) {
      shown += 1;
      viewer?.clear();
      coverWith(el("p", { class: "message" }, text));
    },
    showImages: (images) => show((there) => there.showImages(images)),
    showResult: (slot, masks) => show((there) => there.showResult(slot, masks)),
    hasUnsavedEdits: () => viewer?.hasUnsavedEdits() ?? false,
  };
}
