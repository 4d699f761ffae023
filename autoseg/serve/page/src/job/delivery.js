import { el } from "../lib/dom.js";

const WORDS = {
  waiting: "The result is not stored in the PACS yet.",
  stored: "The result is stored in the PACS.",
  failed: "The result is not stored in the PACS.",
};

/** Whether the result of a job is stored in the PACS; null where it goes nowhere. */
export async function deliveryNote(api, job) {
  try {
    const { state, problem } = await api.get(`v1/jobs/${job.id}/delivery`);
    return el("p", { class: state === "stored" ? "note good" : "note warn" }, [WORDS[state], problem].filter(Boolean).join(" "));
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}
