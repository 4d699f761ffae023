import { el, field, select } from "../lib/dom.js";
import { counted, joined } from "../lib/format.js";

/** The mean Dice of all labels in cross-validation, in words; empty where it is not known. */
function scoreOf(model) {
  const scores = Object.values(model.scores ?? {});
  if (!scores.length) return "";
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return `${mean.toFixed(2)} mean Dice in cross-validation`;
}

/** What a model segments, from what, and how well it did. */
function about(model) {
  const channels = model.channels.map((channel) => (channel.required ? channel.name : `${channel.name} (may be missing)`));
  const rows = [
    ["Segments", joined(model.labels.map((label) => label.name))],
    ["From", joined(channels)],
    ["Table", joined(model.columns.map((column) => column.name))],
    ["Networks", `${model.models}, ${model.dimensions}D`],
    ["Score", scoreOf(model)],
  ].filter(([, text]) => text);
  return el("dl", { class: "facts" }, rows.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
}

/** The choice of a model. */
export function modelField(models, chosen, onChoice) {
  if (!models.length) {
    return el("p", { class: "note warn" }, "The service has no model yet. Train one, or start the service with a model's file.");
  }
  const choices = models.map((model) => [model.name, model.title]);
  return el("div", { class: "model" },
    field(models.length > 1 ? `One of ${counted(models.length, "model")}` : "The only model",
      select(choices, chosen.name, (name) => onChoice(models.find((model) => model.name === name)))),
    about(chosen));
}
