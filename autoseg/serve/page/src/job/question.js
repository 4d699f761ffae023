import { el, newId, section } from "../lib/dom.js";
import { counted } from "../lib/format.js";

const titleOf = (series) => [series.number && `${series.number}.`, series.description || "without a description"]
  .filter(Boolean).join(" ");

/** The question of a job: which series is which channel. `onAnswer` gets channel -> UID. */
export function questionView(question, onAnswer) {
  const groups = Object.entries(question.channels).map(([channel, choices]) => {
    const name = newId("series");
    return el("fieldset", { class: "choices", "data-channel": channel }, el("legend", {}, channel), choices.map((series) =>
      el("label", { class: "choice" },
        el("input", { type: "radio", name, value: series.uid, required: true }),
        el("span", {}, el("strong", {}, titleOf(series)),
          el("span", { class: "hint" }, [series.modality, counted(series.n_slices, "slice")].filter(Boolean).join(", "))))));
  });
  const form = el("form", {
    onsubmit: (event) => {
      event.preventDefault();
      onAnswer(Object.fromEntries(groups.map((group) => [group.dataset.channel, group.querySelector(":checked").value])));
    },
  }, groups, el("button", { type: "submit", class: "primary wide" }, "Continue"));
  return section("One question", el("p", {}, question.text), form);
}
