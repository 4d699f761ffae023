// What the page shows is in its address, so that reload, back and a bookmark work: `#job=ID` or `#job=ID&with=ID`.

/** The job that the address names, and the one beside it; each empty where there is none. */
export function address() {
  const words = new URLSearchParams(location.hash.slice(1));
  const id = (name) => (/^[0-9a-f]{32}$/.test(words.get(name) ?? "") ? words.get(name) : "");
  return { job: id("job"), beside: id("with") };
}

/** The address of a job. */
export function addressOf(job, beside = "") {
  return `#job=${job}${beside ? `&with=${beside}` : ""}`;
}
