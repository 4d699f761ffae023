import { el, section } from "../lib/dom.js";
import { counted, joined, millilitres } from "../lib/format.js";
import { downloads } from "./downloads.js";

function swatch(color) {
  const mark = el("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.setProperty("--color", color); // a style attribute would be refused by the content security policy
  return mark;
}

function labelTable(labels) {
  const row = (label) => el("tr", { class: label.voxels ? null : "absent" },
    el("th", { scope: "row" }, swatch(label.color), label.name),
    el("td", {}, millilitres(label.volume_ml)),
    el("td", {}, label.voxels.toLocaleString("en")));
  return el("table", { class: "labels" },
    el("caption", { class: "unseen" }, "What was found"),
    el("thead", {}, el("tr", {}, ["Label", "mL", "Voxels"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, labels.map(row)));
}

/** What quality control says, and that it is an estimate. */
function quality({ predicted_dice: dice, needs_review: review }) {
  if (dice === null && review === null) return el("p", { class: "note" }, "This model has no quality control. Look at every result.");
  const estimate = dice === null ? "" : ` Estimated Dice ${dice.toFixed(2)}.`;
  return review
    ? el("p", { class: "note warn" }, el("strong", {}, "Needs review."), estimate,
      " The estimate comes from how unsure the model is, not from a reference.")
    : el("p", { class: "note good" }, el("strong", {}, "Quality control found nothing unusual."), estimate);
}

function rests({ present, absent }) {
  if (!present.length && !absent.length) return null;
  const first = present.length ? `It rests on ${joined(present)}.` : "";
  const second = absent.length ? ` It does without ${joined(absent)}.` : "";
  return el("p", { class: "hint" }, first + second);
}

/**
 * What came of a job.
 * @param {{onAgain?, onDelete, onNew, onError}} actions `onAgain` is left out where there is no second model
 */
export function resultView(api, job, title, { onAgain, onDelete, onNew, onError }) {
  const { result } = job;
  const size = `${result.shape.join(" × ")} voxels of ${result.spacing_mm.map((side) => side.toFixed(2)).join(" × ")} mm`;
  return el("div", {},
    section(title,
      quality(result),
      labelTable(result.labels),
      rests(result),
      result.warnings.length ? el("ul", { class: "note warn" }, result.warnings.map((text) => el("li", {}, text))) : null,
      el("p", { class: "hint" }, `${size}. Took ${counted(Math.max(1, Math.round(result.seconds)), "second")}.`)),
    section("Keep it", downloads(api, job, onError)),
    section("Go on",
      el("div", { class: "buttons" },
        onAgain ? el("button", { type: "button", onclick: onAgain }, "Compare with another model") : null,
        el("button", { type: "button", onclick: onNew }, "Another scan"),
        el("button", { type: "button", class: "danger", onclick: onDelete }, "Delete from the service"))));
}
