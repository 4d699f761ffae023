import { el, field, select } from "../lib/dom.js";
import { joined } from "../lib/format.js";

/** The channels without a file: those that must be there, and those that may be missing. */
export function missing(model, chosen) {
  const without = model.channels.filter((channel) => !chosen.has(channel.name));
  return {
    required: without.filter((channel) => channel.required).map((channel) => channel.name),
    optional: without.filter((channel) => !channel.required).map((channel) => channel.name),
  };
}

/** A field for each channel that says which file it is. A file is one channel only. */
export function channelFields(model, files, chosen, onChange) {
  const choose = (channel, index) => {
    for (const [other, taken] of chosen) if (taken === index) chosen.delete(other);
    if (index >= 0) chosen.set(channel.name, index);
    else chosen.delete(channel.name);
    onChange();
  };
  const fields = model.channels.map((channel) => field(
    channel.unit ? `${channel.name} (${channel.unit})` : channel.name,
    select([["-1", channel.required ? "No file yet" : "Missing"], ...files.map((file, index) => [String(index), file.name])],
      String(chosen.get(channel.name) ?? -1), (value) => choose(channel, Number(value))),
    channel.required ? "" : "may be missing"));
  const unused = files.filter((file, index) => ![...chosen.values()].includes(index)).map((file) => file.name);
  return el("div", { class: "fields" }, fields,
    unused.length ? el("p", { class: "note warn" }, `Not used: ${joined(unused)}.`) : null);
}

/** A field for the modality of channels that take several. */
export function modalityField(model, chosen, onChoice) {
  const channels = joined(model.modality_channels);
  return field(`Modality of ${channels}`,
    select([["", "As the files say"], ["CT", "CT"], ["MR", "MR"], ["PET", "PET"], ["other", "Another"]], chosen, onChoice),
    "A DICOM study says it by itself.");
}
