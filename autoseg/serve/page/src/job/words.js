import { duration } from "../lib/format.js";

const STAGES = {
  waiting: "Waiting", loading: "Loading the model", reading: "Reading the images", predicting: "Segmenting",
  writing: "Writing the result", finished: "Finished",
};
const STATES = {
  queued: "waiting", running: "running", question: "asks you", done: "done", failed: "failed", cancelled: "cancelled",
  expired: "expired",
};

/** A state in a word. */
export const stateWord = (job) => STATES[job.state] ?? job.state;

/** How far a job is, in a sentence. */
export function progressWords(job) {
  if (job.state === "queued") {
    if (!job.position) return "Waiting for a free worker";
    return job.position === 1 ? "One job comes first" : `${job.position} jobs come first`;
  }
  return STAGES[job.progress.stage] ?? job.progress.stage;
}

/** The time that is left, in words; empty where it is not known. */
export function etaWords(job) {
  const seconds = job.progress.eta_seconds;
  return seconds === null || job.state !== "running" ? "" : `about ${duration(seconds)} left`;
}
