// How states and numbers are said on this page.

/** The sign of a state, which is never alone: its word stands beside it or in its label. */
export const SIGNS = { "not started": "–", starting: "…", running: "▶", stopped: "■", finished: "✓" };

/** `0.891`, or a dash. */
export function dice(value) {
  return value === null || value === undefined ? "–" : value.toFixed(3);
}

/** A number with three digits, without an exponent where people read it easily. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2);
  if (size >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

/** `45 %` of the iterations. */
export function share({ iteration, iterations }) {
  return iterations ? `${Math.floor((100 * iteration) / iterations)} %` : "";
}

/** A name of a fold for people. */
export function foldName(fold) {
  return fold === "all" ? "all cases" : `fold ${fold}`;
}

/** Whether somebody trains a fold now. */
export function isGoing(fold) {
  return fold.state === "starting" || fold.state === "running";
}
