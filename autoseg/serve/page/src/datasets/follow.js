import { eventsOf } from "../lib/events.js";
import { isGoing } from "./words.js";

const POLL_MS = 3000;

/** The address of a fold in the service's interface. */
export function pathOf({ dataset, planner, configuration, fold }) {
  return `v1/trainings/${[dataset, planner, configuration, fold].map(encodeURIComponent).join("/")}`;
}

/** A pause that ends early when `signal` says so. */
function pause(signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, POLL_MS);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/** Calls `onTraining` with each state of a training until nobody trains the fold. Where the stream breaks, it is asked again. */
export async function followTraining(api, key, onTraining, signal) {
  let last = null;
  const show = (training) => { last = training; onTraining(training); };
  while (!signal.aborted) {
    try {
      const response = await api.request(`${pathOf(key)}/events`, { signal });
      for await (const training of eventsOf(response)) show(training);
      if (last && !isGoing(last)) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404 || error.status === 403 || !last) throw error;
    }
    await pause(signal);
  }
}
