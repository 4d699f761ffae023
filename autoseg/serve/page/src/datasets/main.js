import { createApi } from "../lib/api.js";
import { el, fill, newId } from "../lib/dom.js";
import { counted, joined } from "../lib/format.js";
import { problemNote, problemOf } from "../lib/problem.js";
import { themeSwitch } from "../lib/theme.js";
import { tokenAsker } from "../lib/token.js";
import { fingerprintView } from "./fingerprint.js";
import { foldGrid, wordOf } from "./folds.js";
import { createReport } from "./report.js";
import { createTraining } from "./training.js";
import { isGoing } from "./words.js";

const LOOK_MS = 10000; // between two looks at all datasets

const list = document.getElementById("datasets");
const content = document.getElementById("content");
const announcer = document.getElementById("announcer");
const announce = (text) => { announcer.textContent = text; };
const api = createApi(tokenAsker());
let shown = null; // the dataset that is open, with its parts

/** What the address names: `#Dataset004_Hippocampus` or `#Dataset004_Hippocampus/budgeted/3d_fullres/0`. */
function named() {
  const [dataset = "", planner = "", configuration = "", fold = ""] = location.hash.slice(1).split("/").map(decodeURIComponent);
  return { dataset, fold: fold ? wordOf({ planner, configuration, fold }) : "" };
}

function card(title, ...children) {
  const id = newId("heading");
  return el("section", { class: "card", "aria-labelledby": id }, el("h2", { id }, title), ...children);
}

function summaryOf(dataset) {
  const folds = dataset.models.flatMap((model) => model.folds);
  const going = folds.filter(isGoing).length;
  const finished = folds.filter((fold) => fold.state === "finished").length;
  if (going) return `${counted(going, "fold")} running`;
  return finished ? `${counted(finished, "fold")} finished` : dataset.models.length ? "planned" : "not planned";
}

function showList(datasets, current) {
  const inside = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  list.replaceChildren(el("h2", {}, "Datasets"), el("ul", {}, datasets.map((dataset) => {
    const link = el("a", { href: `#${encodeURIComponent(dataset.name)}` },
      el("span", { class: "name" }, dataset.name), el("span", { class: "hint" }, summaryOf(dataset)));
    if (dataset.name === current) link.setAttribute("aria-current", "true");
    return el("li", {}, link);
  })));
  if (inside) [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === inside)?.focus();
}

function factsOf(dataset) {
  const facts = [["Cases", dataset.cases], ["Channels", joined(dataset.channels)], ["Labels", joined(dataset.labels)]];
  return el("dl", { class: "facts" }, facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

/** The parts of a dataset's page. What changes is filled in by `showChanges`. */
function openDataset(dataset, canTrain) {
  shown?.training.close();
  const grid = el("div");
  const report = createReport({ api, onChange: look });
  const training = createTraining({ api, canTrain, announce, onChange: look });
  const prints = el("div", {}, el("p", { class: "quiet" }, "Reading …"));
  shown = { name: dataset.name, grid, report, training, fold: "", faults: el("div") };
  fill(content, el("header", { class: "title" }, el("h1", {}, dataset.name), factsOf(dataset)), shown.faults,
    card("Folds", grid), training.element, card("Fingerprint", prints), card("Report", report.element));
  training.element.hidden = true;
  document.title = `${dataset.name} · autoseg`;
  api.get(`v1/datasets/${encodeURIComponent(dataset.name)}`).then(({ fingerprint }) => fill(prints, fingerprintView(fingerprint)),
    (error) => fill(prints, problemNote(problemOf(error))));
}

function choose(key) {
  location.hash = [shown.name, key.planner, key.configuration, key.fold].map(encodeURIComponent).join("/");
}

function showChanges(dataset) {
  const { fold } = named();
  fill(shown.faults, dataset.fault ? problemNote({ what: "not all of this dataset can be read", found: dataset.fault }) : null);
  const before = shown.grid.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label").split(":")[0] : null;
  shown.grid.replaceChildren(foldGrid(dataset.models, fold, choose));
  if (before) [...shown.grid.querySelectorAll("button")].find((button) => button.getAttribute("aria-label").startsWith(`${before}:`))?.focus();
  shown.report.show(dataset);
  if (fold === shown.fold) return;
  shown.fold = fold;
  shown.training.element.hidden = !fold;
  if (!fold) return shown.training.close();
  const [planner, configuration, number] = fold.split("/");
  shown.training.open({ dataset: dataset.name, planner, configuration, fold: number });
  shown.training.element.scrollIntoView({ block: "nearest" });
}

function showAll({ datasets, can_train: canTrain }) {
  if (!datasets.length) {
    fill(list);
    fill(content, el("h1", {}, "No dataset yet"), el("p", { class: "quiet" }, "A folder DatasetNNN_Name in raw/ of the workspace is one."));
    return;
  }
  const running = datasets.find((dataset) => dataset.models.some((model) => model.folds.some(isGoing)));
  const dataset = datasets.find(({ name }) => name === named().dataset) ?? running ?? datasets[0];
  showList(datasets, dataset.name);
  if (shown?.name !== dataset.name) openDataset(dataset, canTrain);
  showChanges(dataset);
}

let looking = null;

/** Looks at all datasets. A look that is under way is enough for all who ask meanwhile. */
function look() {
  looking ??= api.get("v1/datasets").then(showAll, (error) => {
    if (!shown) fill(content, problemNote(problemOf(error)));
    else fill(shown.faults, problemNote(problemOf(error)));
  }).finally(() => { looking = null; });
  return looking;
}

document.getElementById("top-tools").append(themeSwitch());
content.append(el("p", { class: "quiet" }, "Asking the service for its datasets …"));
addEventListener("hashchange", () => { if (location.hash !== "#content") look(); });
setInterval(() => { if (!document.hidden) look(); }, LOOK_MS);
look();
