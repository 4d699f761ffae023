export const FINAL = ["done", "failed", "cancelled", "expired"];
const POLL_MS = 2000;

/** What a stream of server-sent events sends, as data. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r\n", "\n");
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const data = text.slice(0, end).split("\n").filter((line) => line.startsWith("data:"));
      text = text.slice(end + 2);
      if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
    }
  }
}

/** A pause that ends early when `signal` says so. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/**
 * Calls `onJob` with each state of a job until it is final or asks a question. The stream is fetched, because EventSource sends
 * no token; where it breaks, the job is asked for every two seconds.
 */
export async function follow(api, id, onJob, signal) {
  const settled = (job) => FINAL.includes(job.state) || job.state === "question";
  try {
    const response = await api.request(`v1/jobs/${id}/events`, { signal });
    for await (const job of eventsOf(response)) {
      onJob(job);
      if (settled(job)) return;
    }
  } catch (error) {
    if (error.name === "AbortError" || error.status === 404) throw error;
  }
  while (!signal.aborted) {
    const job = await api.get(`v1/jobs/${id}`);
    if (signal.aborted) return;
    onJob(job);
    if (settled(job)) return;
    await pause(POLL_MS, signal);
  }
}
