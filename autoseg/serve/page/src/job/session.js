import { headers } from "../lib/api.js";
import { ask } from "../lib/dialog.js";
import { el, fill, section } from "../lib/dom.js";
import { follow } from "../lib/events.js";
import { problemNote, problemOf } from "../lib/problem.js";
import { comparison } from "./compare.js";
import { deliveryNote } from "./delivery.js";
import { progressView } from "./progress.js";
import { questionView } from "./question.js";
import { resultView } from "./result.js";
import { imagesOf, masksOf } from "./show.js";

const ENDS = {
  cancelled: "This job was cancelled.",
  expired: "The files of this job are deleted, because the service keeps them for a limited time only.",
};

/**
 * One job on the page, from its start to its result.
 * @param {{api, models, pacs: boolean, stage, panel: HTMLElement, announce, onNew, onAgain, onBack}} page `onBack(job)`: back to the form, where it
 *   still has what this job was made of; else null
 */
export function createSession({ api, models, pacs, stage, panel, announce, onNew, onAgain, onBack }) {
  let stop = new AbortController();
  let current = null;
  const modelOf = (job) => models.find((model) => model.name === job.request.model);
  const titleOf = (name) => models.find((model) => model.name === name)?.title ?? name;
  const nextSteps = (job) => el("div", { class: "buttons" },
    onBack(job) ? el("button", { type: "button", class: "primary", onclick: onBack(job) }, "Change and try again") : null,
    el("button", { type: "button", onclick: onNew }, "Another scan"));

  function fail(error) {
    if (error.name === "AbortError") return;
    const problem = error.status === 404 ? { what: "there is no such job", do: "choose one of yours, or start another" } : problemOf(error);
    panel.prepend(problemNote(problem));
    announce(`Failed: ${problem.what}`);
  }

  const trying = (work) => async (...parts) => {
    try {
      await work(...parts);
    } catch (error) {
      fail(error);
    }
  };

  async function remove(job) {
    const sure = await ask({
      title: "Delete from the service?", danger: true, confirm: "Delete",
      body: [el("p", {}, "The images, the result and the clinical data of this job are deleted at once. This cannot be undone.")],
    });
    if (!sure) return;
    await api.remove(`v1/jobs/${job.id}`);
    announce("Deleted");
    onNew();
  }

  async function showResult(job, beside) {
    const [first, second] = beside ? [beside, job] : [job, null];
    fill(panel, second ? comparison(first, second, titleOf) : null,
      resultView(api, job, titleOf(job.request.model), {
        onAgain: models.length > 1 && !second ? () => onAgain(job) : null,
        onDelete: trying(() => remove(job)), onNew, onError: fail,
      }));
    announce(job.result.needs_review ? "Done. The result needs review." : "Done");
    const { signal } = stop;
    if (pacs && job.request.kind === "study") {
      const note = await deliveryNote(api, job);
      if (note && !signal.aborted) panel.prepend(note);
    }
    const images = imagesOf(first, modelOf(first), headers());
    if (images.length) await stage.showImages(images);
    const masks = [await masksOf(api, first, titleOf(first.request.model))];
    if (second) masks.push(await masksOf(api, second, titleOf(second.request.model)));
    for (const [index, slot] of ["a", "b"].slice(0, masks.length).entries()) {
      if (!signal.aborted) await stage.showResult(slot, masks[index]);
    }
  }

  const answer = (job) => trying(async (series) => {
    await api.post(`v1/jobs/${job.id}/answer`, { series });
    await open(job.id);
  });

  async function settled(job, beside) {
    if (job.state === "done") return showResult(job, beside);
    if (job.state === "question") {
      fill(panel, questionView(job.question, answer(job)));
      announce("The job asks you something");
      return undefined;
    }
    const problem = job.problem ?? { what: ENDS[job.state] ?? "the job failed" };
    const body = job.state === "failed" ? problemNote(problem) : el("p", {}, ENDS[job.state]);
    fill(panel, section(job.state === "failed" ? "It failed" : "No result", body, nextSteps(job)));
    announce(problem.what);
    return undefined;
  }

  async function run(id, besideId) {
    const { signal } = stop;
    const beside = besideId ? await api.get(`v1/jobs/${besideId}`) : null;
    const view = progressView(trying(async () => settled(await api.post(`v1/jobs/${id}/cancel`), null)), announce);
    let last = null;
    await follow(api, id, (job) => {
      if (signal.aborted) return;
      if (!last) fill(panel, view.element);
      last = job;
      current = job;
      view.show(job);
    }, signal);
    if (last && !signal.aborted) await settled(last, beside?.result ? beside : null);
  }

  /** Shows a job, and follows it while it is not at its end. */
  async function open(id, besideId = "") {
    close();
    stop = new AbortController();
    await trying(run)(id, besideId);
  }

  /** Follows no job any more. */
  function close() {
    stop.abort();
    current = null;
  }

  return { open, close, fail, current: () => current };
}
