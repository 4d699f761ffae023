import { el, section } from "../lib/dom.js";
import { millilitres } from "../lib/format.js";

/** The volumes of two results side by side, by the names of their labels. */
export function comparison(first, second, titleOf) {
  const volumes = [first, second].map((job) => new Map(job.result.labels.map((label) => [label.name, label.volume_ml])));
  const names = [...new Set(volumes.flatMap((known) => [...known.keys()]))];
  const cell = (known, name) => el("td", {}, known.has(name) ? millilitres(known.get(name)) : "not a label");
  const titles = ["A", "B"];
  return section("Side by side, in mL",
    el("p", { class: "hint" }, `A: ${titleOf(first.request.model)}. B: ${titleOf(second.request.model)}.`),
    el("table", { class: "labels" },
      el("thead", {}, el("tr", {}, ["Label", ...titles].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, names.map((name) => el("tr", {}, el("th", { scope: "row" }, name),
        volumes.map((known) => cell(known, name)))))));
}
