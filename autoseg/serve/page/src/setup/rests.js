import { joined } from "../lib/format.js";

/**
 * One sentence, or two, that say what the model rests on.
 * @param {string[]} channels that are there; null for a study, of which the service sees it
 * @param {{optional: string[]}} without channels that are missing
 */
export function restsOn(model, channels, without, row) {
  const known = model.columns.map((column) => column.name).filter((name) => row[name] !== null && row[name] !== undefined);
  const unknown = model.columns.map((column) => column.name).filter((name) => !known.includes(name));
  const images = channels === null ? ["the channels that the study has"] : channels;
  const first = `The model rests on ${joined([...images, ...known])}.`;
  const gaps = [...without.optional, ...unknown];
  return gaps.length ? `${first} It does without ${joined(gaps)}: it was trained for that.` : first;
}
