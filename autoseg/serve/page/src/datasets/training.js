import { ask } from "../lib/dialog.js";
import { el, field, fill } from "../lib/dom.js";
import { duration, moment } from "../lib/format.js";
import { problemNote, problemOf } from "../lib/problem.js";
import { createChart } from "./chart.js";
import { followTraining, pathOf } from "./follow.js";
import { dice, foldName, isGoing, share, SIGNS } from "./words.js";

const UNITS = { minutes: 60, hours: 3600 };

function facts(training) {
  const list = [
    ["State", `${SIGNS[training.state]} ${training.state}${training.is_asked_to_finish && isGoing(training) ? ", asked to finish" : ""}`],
    ["Iterations", training.iterations ? `${training.iteration.toLocaleString("en")} of ${training.iterations.toLocaleString("en")} (${share(training)})` : ""],
    ["Time left", training.seconds_left === null ? "" : `${duration(training.seconds_left)}, until about ${moment(Date.now() / 1000 + training.seconds_left)}`],
    ["Time used", training.seconds ? duration(training.seconds) : ""],
    ["Budget", training.budget_seconds ? duration(training.budget_seconds) : ""],
    [training.state === "finished" ? "Validation Dice" : "Dice of patches", training.dice === null ? "" : dice(training.dice)],
    ["Device", training.device || (training.state === "running" ? "not known: started elsewhere" : "")],
    ["Machine", training.machine],
    ["Last epoch", training.changed && training.iteration ? moment(training.changed) : ""],
  ];
  return list.filter(([, text]) => text).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]);
}

async function askForBudget(training) {
  const number = el("input", { type: "number", min: "1", step: "any", placeholder: "as planned", inputMode: "decimal" });
  const unit = el("select", {}, Object.keys(UNITS).map((name) => el("option", { value: name }, name)));
  const goesOn = training.state === "stopped";
  return ask({
    title: `${goesOn ? "Go on with" : "Train"} ${training.configuration}, ${foldName(training.fold)}?`,
    body: [
      el("p", {}, "It runs as a process of its own on the service's machine, also when this page is closed or the service stops."),
      el("div", { class: "time" }, field("Time for this fold, with validation", number, "Empty: as the plan says. Another time makes a new plan."),
        field("Unit", unit)),
    ],
    confirm: goesOn ? "Go on" : "Start",
    read: () => ({ budget_seconds: number.value ? Number(number.value) * UNITS[unit.value] : null }),
  });
}

/**
 * One fold: its curves as they grow, its numbers, its log, and the buttons that start and stop it.
 * @param {{api: Object, canTrain: boolean, announce: (text: string) => void, onChange: () => void}} parts
 */
export function createTraining({ api, canTrain, announce, onChange }) {
  const chart = createChart();
  const numbers = el("dl", { class: "facts" });
  const buttons = el("div", { class: "buttons" });
  const heading = el("h2", { id: "fold-heading", tabIndex: -1 });
  const faults = el("div");
  const progress = el("progress", { max: 1, "aria-label": "Share of the iterations" });
  const lines = el("pre", { class: "log", tabIndex: 0, "aria-label": "Log of the training" });
  const log = el("details", { ontoggle: () => log.open && readLog() }, el("summary", {}, "Log, last 100 lines"), lines);
  const element = el("section", { class: "card", "aria-labelledby": "fold-heading" },
    el("div", { class: "card-head" }, heading, buttons), faults, progress, numbers, chart.element, log);
  let key = null;
  let state = "";
  let broken = new AbortController();

  const fail = (error) => fill(faults, problemNote(problemOf(error)));

  async function readLog() {
    try {
      const { lines: read } = await api.get(`${pathOf(key)}/log`);
      lines.textContent = read.length ? read.join("\n") : "Nothing was written to a log. A training that a terminal started prints there.";
      lines.scrollTop = lines.scrollHeight;
    } catch (error) {
      fail(error);
    }
  }

  async function change(words, confirmed, send) {
    if (!confirmed) return;
    try {
      fill(faults);
      show(await send());
      announce(words);
      listen();
      onChange();
    } catch (error) {
      fail(error);
    }
  }

  async function start(training) {
    const answer = await askForBudget(training);
    const { dataset, planner, configuration, fold } = key;
    await change("Started", answer, () => api.post("v1/trainings", { dataset, planner, configuration, fold, ...answer }));
  }

  async function stop() {
    const sure = await ask({
      title: "Stop this training?", confirm: "Stop", danger: true,
      body: [el("p", {}, "It saves itself after its iteration. Starting it again goes on from there.")],
    });
    await change("Asked to stop", sure, () => api.post(`${pathOf(key)}/stop`));
  }

  async function finish() {
    const sure = await ask({
      title: "Finish this training now?", confirm: "Finish", danger: true,
      body: [el("p", {}, "It ends with the weights that it has, and its validation cases are predicted. It cannot go on to its planned end then.")],
    });
    await change("Asked to finish", sure, () => api.post(`${pathOf(key)}/finish`));
  }

  function showButtons(training) {
    const now = `${training.state} ${training.is_asked_to_finish} ${training.fold}`;
    if (now === state) return;
    state = now;
    if (!canTrain) {
      fill(buttons, training.state === "finished" ? null : el("p", { class: "hint" }, "Started and stopped where the service runs with --training."));
    } else if (isGoing(training)) {
      fill(buttons,
        el("button", { type: "button", class: "danger", onclick: stop }, "Stop"),
        el("button", { type: "button", onclick: finish, disabled: training.is_asked_to_finish || training.state === "starting" }, "Finish now"));
    } else {
      fill(buttons, training.state === "finished" ? null
        : el("button", { type: "button", class: "primary", onclick: () => start(training) }, training.state === "stopped" ? "Go on" : "Start"));
    }
  }

  function show(training) {
    heading.textContent = `${training.configuration}, ${foldName(training.fold)}`;
    numbers.replaceChildren(...facts(training));
    progress.hidden = !isGoing(training);
    if (training.iterations) progress.value = training.iteration / training.iterations;
    else progress.removeAttribute("value");
    if (training.fault) fill(faults, problemNote({ what: training.fault, do: "see its log below" }));
    chart.show(training.curve, training.iterations);
    showButtons(training);
    if (log.open) readLog();
  }

  function listen() {
    broken.abort();
    broken = new AbortController();
    const { signal } = broken;
    let before = "";
    followTraining(api, key, (training) => {
      if (signal.aborted) return;
      if (before && before !== training.state) {
        announce(`${foldName(training.fold)} is ${training.state}`);
        onChange();
      }
      before = training.state;
      show(training);
    }, signal).catch((error) => signal.aborted || fail(error));
  }

  return {
    element,
    /** Shows a fold and follows it. */
    open(chosen) {
      key = chosen;
      state = "";
      fill(faults);
      log.open = false;
      listen();
    },
    close: () => broken.abort(),
    focus: () => heading.focus({ preventScroll: true }),
  };
}
