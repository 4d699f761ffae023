import { el, section } from "../lib/dom.js";
import { etaWords, progressWords } from "./words.js";

/** A bar with a sentence. `show(text, eta, fraction)`; a fraction of null: it is not known. */
function bar(label) {
  const words = el("span", { class: "stage-words" });
  const eta = el("span", { class: "eta" });
  const meter = el("progress", { max: 1, "aria-label": label });
  return {
    element: el("div", { class: "progress" }, el("p", {}, words, eta), meter),
    show(text, left, fraction) {
      words.textContent = text;
      eta.textContent = left;
      if (fraction === null) meter.removeAttribute("value");
      else meter.value = fraction;
    },
  };
}

/** The upload of a job, with a button that stops it. */
export function uploadView(onStop) {
  const line = bar("Upload");
  line.show("Sending the images", "", null);
  return {
    element: section("Sending", line.element, el("button", { type: "button", onclick: onStop }, "Stop")),
    show(fraction) {
      line.show(fraction < 1 ? "Sending the images" : "The service checks the images", "", fraction < 1 ? fraction : null);
    },
  };
}

/** A job that waits or runs. `announce` gets each new stage, not each step. */
export function progressView(onCancel, announce) {
  const line = bar("Segmentation");
  let last = "";
  return {
    element: section("In progress", line.element,
      el("button", { type: "button", onclick: onCancel }, "Cancel"),
      el("p", { class: "hint" }, "You may close this page. The job goes on, and is in the list of your jobs.")),
    show(job) {
      const words = progressWords(job);
      line.show(words, etaWords(job), job.state === "queued" ? null : job.progress.fraction);
      if (words !== last) announce(words);
      last = words;
    },
  };
}
