import { el } from "./dom.js";

const sentence = (text) => {
  const words = text.trim();
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?!:]$/.test(words) ? "" : "."}`;
};

/** Why something failed: what, where, what was found and expected, and what to do. */
export function problemNote(problem) {
  const rows = [["Where", problem.where], ["Found", problem.found], ["Expected", problem.expected]].filter(([, text]) => text);
  return el("div", { class: "note bad problem", role: "alert" },
    el("p", { class: "what" }, sentence(problem.what)),
    rows.length ? el("dl", {}, rows.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])) : null,
    problem.do ? el("p", {}, el("strong", {}, "What to do: "), sentence(problem.do)) : null);
}

/** The problem of a refusal, or of an error that nobody expected. */
export function problemOf(error) {
  return error.problem ?? { what: `the page failed: ${error.message}`, do: "load the page again" };
}
