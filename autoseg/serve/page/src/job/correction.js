import { ask } from "../lib/dialog.js";
import { el, field } from "../lib/dom.js";

/**
 * Says where a correction goes, and sends it when it is confirmed.
 * @returns {Promise<{dataset: string, case: string}|null>} null: it was not sent
 */
export async function sendCorrection(api, job, blob, collects) {
  const input = el("textarea", { rows: 2, maxLength: 1000 });
  const text = await ask({
    title: "Save as a correction?",
    body: [
      el("p", {}, `The image and your corrected label become a training case of the raw dataset ${collects} on the service. `
        + "They stay there when this job is deleted. Your name, as the service knows it, and the time are kept with them."),
      field("Comment", input, "May stay empty."),
    ],
    confirm: "Save the correction",
    read: () => input.value.trim(),
  });
  if (text === null) return null;
  const response = await api.request(`v1/jobs/${job.id}/correction?comment=${encodeURIComponent(text)}`, {
    method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: blob,
  });
  return response.json();
}
