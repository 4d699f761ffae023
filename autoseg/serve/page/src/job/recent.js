import { el, section } from "../lib/dom.js";
import { counted, joined, moment } from "../lib/format.js";
import { stateWord } from "./words.js";

const SHOWN = 8;

function inputWords({ kind, files }) {
  if (kind === "study") return `DICOM, ${counted(files.length, "file")}`;
  return joined(files.slice(0, 2).map((file) => file.shown || file.channel)) + (files.length > 2 ? " …" : "");
}

/** The own jobs, newest first; each is a link that opens it. */
export function recentJobs(jobs, titleOf) {
  if (!jobs.length) return null;
  const rows = (some) => el("ul", { class: "recent" }, some.map((job) => el("li", {}, el("a", { href: `#job=${job.id}` },
    el("span", { class: "recent-name" }, inputWords(job.request)),
    el("span", { class: "hint" }, `${titleOf(job.request.model)}, ${moment(job.created)}`),
    el("span", { class: `state ${job.state}` }, stateWord(job))))));
  const older = jobs.slice(SHOWN);
  return section("Your jobs", rows(jobs.slice(0, SHOWN)),
    older.length ? el("details", {}, el("summary", {}, counted(older.length, "older job")), rows(older)) : null);
}
