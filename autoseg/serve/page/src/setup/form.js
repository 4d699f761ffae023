import { el, section } from "../lib/dom.js";
import { bytes, counted, joined } from "../lib/format.js";
import { assigned } from "./assign.js";
import { channelFields, missing, modalityField } from "./channels.js";
import { pickers } from "./drop.js";
import { modelField } from "./models.js";
import { restsOn } from "./rests.js";
import { tableFields } from "./table.js";

/**
 * The form of a new job.
 * @param {Object[]} models
 * @param {{onFiles, onClear, onChannels, onStart, onFetch}} actions
 *   `onChannels` gets the images as assigned, to show them; `onFetch` what is asked for with a study of the PACS
 */
export function createForm(models, { onFiles, onClear, onChannels, onStart, onFetch }) {
  const panel = el("div", { class: "form" });
  const state = { model: models[0], input: null, chosen: new Map(), row: {}, modality: "", uncertainty: true };
  const rests = el("p", { class: "rests" });
  const startNote = el("p", { class: "hint", id: "start-note" });
  const start = el("button", { type: "button", class: "primary wide", onclick: submit, "aria-describedby": "start-note" },
    "Segment");

  /** Why it cannot be started, in words; empty where it can. */
  function obstacle() {
    if (!state.input) return "Choose images first.";
    if (state.input.kind === "study") return "";
    const { required } = missing(state.model, state.chosen);
    if (!required.length) return "";
    return `${joined(required)} ${required.length > 1 ? "are missing. This model needs them." : "is missing. This model needs it."}`;
  }

  function refresh() {
    const why = obstacle();
    start.disabled = why !== "";
    startNote.textContent = why;
    const study = state.input?.kind === "study";
    const channels = state.model.channels.map((channel) => channel.name).filter((name) => state.chosen.has(name));
    const without = study ? { optional: [] } : missing(state.model, state.chosen);
    rests.textContent = why ? "" : restsOn(state.model, study ? null : channels, without, state.row);
  }

  function assign() {
    state.chosen = state.input?.kind === "images" ? assigned(state.input.files, state.model.channels) : new Map();
  }

  function tellChannels() {
    if (state.input?.kind !== "images" || state.input.inputsOf) return;
    const images = state.model.channels.filter((channel) => state.chosen.has(channel.name)).map((channel) => ({
      name: channel.name, modality: channel.modality || state.modality, file: state.input.files[state.chosen.get(channel.name)],
    }));
    onChannels(images.length ? images : [{ name: state.input.files[0].name, modality: "", file: state.input.files[0] }]);
  }

  /** Whether files that come now are further channels, not other images. */
  function isOpen() {
    const { input, model, chosen } = state;
    return input?.kind === "images" && !input.inputsOf && chosen.size < model.channels.length;
  }

  function imagesBlock() {
    if (!state.input) return section("Images", el("p", { class: "quiet" }, "No image yet."));
    const { kind, files, strange, inputsOf, fetched } = state.input;
    const size = files.reduce((sum, file) => sum + (file.size ?? 0), 0);
    const what = kind === "study" ? `DICOM, ${counted(files.length, "file")}` : counted(files.length, "image");
    return section("Images",
      el("p", { class: "chosen" },
        el("span", {}, inputsOf ? "The same images as before" : fetched?.words ?? `${what}, ${bytes(size)}`),
        el("button", { type: "button", class: "link", onclick: onClear }, inputsOf ? "Other images" : "Remove")),
      kind === "images" && files.length === 1 && !inputsOf ? el("p", { class: "file" }, files[0].name) : null,
      isOpen() ? pickers(onFiles, "Add files") : null,
      strange.length ? el("p", { class: "note warn" },
        `Left out, because ${strange.length > 1 ? "they are not images" : "it is not an image"}: `
        + `${joined(strange.map((file) => file.name))}.`) : null);
  }

  function blocks() {
    const { model, input } = state;
    const several = input?.kind === "images" && (model.channels.length > 1 || input.files.length > 1);
    return [
      several ? section("Channels", channelFields(model, input.files, state.chosen, () => { tellChannels(); render(); })) : null,
      model.modality_channels.length ? section("Modality", modalityField(model, state.modality, (value) => {
        state.modality = value;
        tellChannels();
      })) : null,
      model.columns.length ? section("Clinical data",
        el("p", { class: "quiet" }, "Every field may stay empty."), tableFields(model.columns, state.row, refresh)) : null,
      model.uncertainty ? el("label", { class: "check" },
        el("input", { type: "checkbox", checked: state.uncertainty, onchange: (event) => { state.uncertainty = event.target.checked; } }),
        "Also show where the model is unsure") : null,
    ];
  }

  function render() {
    const focused = document.activeElement?.id;
    if (!state.model) {
      panel.replaceChildren(section("Model", modelField(models, null, () => {})));
      return;
    }
    const chooser = section("Model", modelField(models, state.model, (model) => {
      state.model = model;
      assign();
      tellChannels();
      render();
    }));
    panel.replaceChildren(imagesBlock(), chooser, ...blocks().filter(Boolean),
      el("div", { class: "start" }, rests, start, startNote));
    refresh();
    if (focused) document.getElementById(focused)?.focus();
  }

  function submit() {
    const { model, input, row } = state;
    const channelOf = new Map([...state.chosen].map(([channel, index]) => [index, channel]));
    const known = Object.fromEntries(model.columns.map((column) => [column.name, row[column.name] ?? null]));
    const uncertainty = model.uncertainty && state.uncertainty;
    if (input.fetched) {
      const { study, store } = input.fetched;
      onFetch({ study, store, model: model.name, row: known, uncertainty });
      return;
    }
    const form = new FormData();
    form.set("model", model.name);
    if (input.inputsOf) form.set("inputs_of", input.inputsOf);
    const sent = input.files.map((file, index) => [file, channelOf.get(index) ?? null])
      .filter(([, channel]) => input.kind === "study" || input.inputsOf || channel);
    if (!input.inputsOf) sent.forEach(([file]) => form.append("files", file, file.name));
    if (input.kind === "images") form.set("channels", JSON.stringify(sent.map(([, channel]) => channel)));
    if (model.columns.length) form.set("row", JSON.stringify(known));
    if (model.modality_channels.length && state.modality) form.set("modality", state.modality);
    form.set("uncertainty", String(uncertainty));
    onStart(form);
  }

  return {
    element: panel,
    render,
    /**
     * The images of the next job; null: none. `inputsOf` is a job whose images are used again, `fetched` a study of the PACS, `row`
     * its clinical data. What was typed for a patient goes with the images of the patient.
     */
    setInput(input, row = null) {
      const same = !state.input || state.input.files.every((file) => input?.files.includes(file));
      if (row || !same) state.row = { ...row };
      if (!same) state.modality = "";
      state.input = input;
      assign();
      tellChannels();
      render();
    },
    /** What the form has already, where files that come now are further channels. */
    files: () => (isOpen() ? state.input.files : []),
    /** Another model than that, where there is one. */
    chooseOtherThan(name) {
      state.model = models.find((model) => model.name !== name) ?? state.model;
    },
  };
}
