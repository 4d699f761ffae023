import { el, fill } from "../lib/dom.js";
import { moment } from "../lib/format.js";
import { problemNote, problemOf } from "../lib/problem.js";

/** The report of a dataset: made on demand, and shown in a frame that can run nothing. */
export function createReport({ api, onChange }) {
  const words = el("p", { class: "quiet" });
  const buttons = el("div", { class: "buttons" });
  const faults = el("div");
  const frame = el("div");
  const element = el("div", {}, el("div", { class: "card-head" }, words, buttons), faults, frame);
  let dataset = null;

  const path = () => `v1/datasets/${encodeURIComponent(dataset.name)}/report`;

  async function tried(action) {
    try {
      fill(faults);
      await action();
    } catch (error) {
      fill(faults, problemNote(problemOf(error)));
    }
  }

  const make = () => tried(async () => {
    show((await api.post(path())));
    onChange();
  });

  const open = () => tried(async () => {
    const link = await api.post(`${path()}/link`);
    // The address works once. The sandbox without words forbids scripts, forms and access to this page.
    const shown = el("iframe", { class: "report", title: `Report of ${dataset.name}`, src: link.path, referrerPolicy: "no-referrer" });
    shown.setAttribute("sandbox", "");
    fill(frame, shown);
  });

  function show(now) {
    if (dataset?.name !== now.name) fill(frame);
    dataset = now;
    const made = now.report_made ? `Made ${moment(now.report_made)}.` : "";
    const said = {
      none: "Not made yet: one HTML file with scores, curves, worst cases and where all results came from.", made,
      "being made": `It is being made. ${made}`, failed: `It could not be made: the file report_log.txt beside it says why. ${made}`,
    };
    words.textContent = said[now.report];
    fill(buttons,
      el("button", { type: "button", onclick: make, disabled: now.report === "being made" }, now.report_made ? "Make it anew" : "Make the report"),
      now.report_made ? el("button", { type: "button", class: "primary", onclick: open }, "Show") : null);
  }

  return { element, show };
}
