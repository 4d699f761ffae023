import { el } from "../lib/dom.js";
import { dropped, tidy } from "./collect.js";

/** Two hidden pickers, of files and of a folder, and the buttons that open them; with words of its own, only that of files. */
export function pickers(onFiles, words = "") {
  const picker = (more) => el("input", {
    type: "file", multiple: true, hidden: true, ...more,
    onchange: (event) => {
      const files = tidy([...event.target.files]);
      event.target.value = "";
      if (files.length) onFiles(files);
    },
  });
  const files = picker({});
  if (words) return el("div", { class: "pickers" }, files, el("button", { type: "button", onclick: () => files.click() }, words));
  const folder = picker({ webkitdirectory: true });
  return el("div", { class: "pickers" }, files, folder,
    el("button", { type: "button", class: "primary", onclick: () => files.click() }, "Choose files"),
    el("button", { type: "button", onclick: () => folder.click() }, "Choose a folder"));
}

/** Lets files and folders be dropped anywhere on the page. */
export function dropAnywhere(onFiles) {
  const root = document.documentElement;
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    root.classList.toggle("dragging", depth > 0);
  };
  addEventListener("dragenter", (event) => holdsFiles(event) && mark(1));
  addEventListener("dragleave", (event) => holdsFiles(event) && mark(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark(0);
    const files = await dropped(event.dataTransfer);
    if (files.length) onFiles(files);
  });
}

/** What the stage says before there is an image. `onPacs`: asks for a study of the PACS; null where the service knows none. */
export function dropInvitation(onFiles, onPacs) {
  return el("div", { class: "invitation" },
    el("h1", {}, "Drop a scan here"),
    el("p", {}, "NIfTI, NRRD or MHA, one file per channel. Or a DICOM folder, or a zip of it."),
    pickers(onFiles),
    onPacs ? el("div", { class: "pickers" }, el("button", { type: "button", onclick: onPacs }, "From the PACS")) : null,
    el("p", { class: "quiet" }, "Files stay on this computer until you start."));
}
