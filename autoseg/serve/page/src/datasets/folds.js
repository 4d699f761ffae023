import { el, newId } from "../lib/dom.js";
import { duration } from "../lib/format.js";
import { dice, foldName, isGoing, share, SIGNS } from "./words.js";

function wordsOf(fold) {
  if (fold.state === "finished") return `Dice ${dice(fold.dice)}`;
  if (fold.state === "not started" || fold.state === "starting") return fold.state;
  return share(fold) || fold.state;
}

/** The key of a fold as its cell and the address name it. */
export const wordOf = ({ planner, configuration, fold }) => `${planner}/${configuration}/${fold}`;

function cell(model, fold, chosen, onChoose) {
  const key = { planner: model.planner, configuration: model.configuration, fold: fold.fold };
  return el("button", {
    type: "button", class: `fold ${fold.state.replaceAll(" ", "-")}`, "aria-pressed": String(wordOf(key) === chosen),
    "aria-label": `${model.configuration}, ${foldName(fold.fold)}: ${fold.state}, ${wordsOf(fold)}`, onclick: () => onChoose(key),
  },
  el("span", { class: "fold-name" }, el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[fold.state]), foldName(fold.fold)),
  el("span", { class: "fold-words" }, wordsOf(fold)));
}

function modelRow(model, chosen, onChoose) {
  const id = newId("model");
  const going = model.folds.filter(isGoing).length;
  const facts = [
    model.mean_dice === null ? "" : `mean Dice ${dice(model.mean_dice)}`,
    model.budget_seconds ? `${duration(model.budget_seconds)} per fold` : "",
    going ? `${going} running` : "",
    model.is_planned ? "" : "no plan: folds cannot be started",
  ].filter(Boolean).join(" · ");
  return el("section", { class: "model", "aria-labelledby": id },
    el("div", { class: "model-head" },
      el("h3", { id }, model.configuration), el("span", { class: "quiet" }, model.planner),
      model.is_advised ? el("span", { class: "tag" }, "advised") : null,
      el("span", { class: "hint" }, facts)),
    el("div", { class: "fold-cells" }, model.folds.map((fold) => cell(model, fold, chosen, onChoose))));
}

/** The folds of all models of a dataset as a grid: each says its state and shows more when it is chosen. */
export function foldGrid(models, chosen, onChoose) {
  if (!models.length) {
    return el("p", { class: "quiet" }, "Not planned yet. ", el("code", {}, "autoseg_plan_and_preprocess"), " makes a plan.");
  }
  return el("div", { class: "models" }, models.map((model) => modelRow(model, chosen, onChoose)));
}
