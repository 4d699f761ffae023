import { createForm } from "./setup/form.js";
import { recognised } from "./setup/collect.js";
import { dropAnywhere } from "./setup/drop.js";
import { choosePacsStudy, fetchView } from "./setup/pacs.js";
import { address, addressOf } from "./lib/address.js";
import { createApi } from "./lib/api.js";
import { el, fill } from "./lib/dom.js";
import { counted } from "./lib/format.js";
import { problemNote, problemOf } from "./lib/problem.js";
import { themeSwitch } from "./lib/theme.js";
import { tokenAsker } from "./lib/token.js";
import { sendCorrection } from "./job/correction.js";
import { uploadView } from "./job/progress.js";
import { recentJobs } from "./job/recent.js";
import { createSession } from "./job/session.js";
import { createStage } from "./stage.js";

const panel = document.getElementById("panel");
const announcer = document.getElementById("announcer");
const announce = (text) => { announcer.textContent = text; };
const api = createApi(tokenAsker());
let onDrop = () => {}; // a drop before the page is ready is ignored, and the browser does not open the file
dropAnywhere((files) => onDrop(files));

/**
 * The page, once the models of the service are known. `collects`: the dataset that takes corrections, empty where none are
 * taken. `pacs`: whether the service knows a PACS.
 */
function start(models, collects, pacs) {
  const stage = createStage({ onFiles: take, onPacs: pacs ? takeFromPacs : null, announce,
    onCorrection: collects ? correct : null, onError: (error) => console.warn(error) });
  const form = createForm(models, { onFiles: take, onClear: fresh, onStart: send, onFetch: fetchStudy,
    onChannels: (images) => stage.showImages(images) });
  const session = createSession({ api, models, pacs, stage, panel, announce, onNew: leave, onAgain: again, onBack: back });
  const titleOf = (name) => models.find((model) => model.name === name)?.title ?? name;
  let besides = ""; // the job whose images are used again
  let sent = ""; // the job whose images are on the stage already

  async function listJobs() {
    const { jobs } = await api.get("v1/jobs");
    const list = recentJobs(jobs, titleOf);
    if (list && panel.contains(form.element)) panel.append(list);
  }

  /** The form without images. */
  function fresh() {
    besides = "";
    sent = "";
    session.close();
    form.setInput(null);
    stage.invite();
    fill(panel, form.element);
    listJobs().catch(session.fail);
  }

  const mayLeave = () => !stage.hasUnsavedEdits() || confirm("Your edits of the label are not saved. Leave them?");

  function leave() {
    if (!mayLeave()) return;
    if (location.hash) location.hash = "";
    else fresh();
  }

  async function take(files) {
    if (!mayLeave()) return;
    const earlier = panel.contains(form.element) ? form.files() : [];
    const found = await recognised(files);
    const input = found.kind === "images" && found.files.length ? { ...found, files: [...earlier, ...found.files] } : found;
    if (location.hash) history.replaceState(null, "", location.pathname);
    besides = "";
    session.close();
    fill(panel, form.element);
    if (!input.files.length) {
      fresh();
      panel.prepend(problemNote({
        what: "none of these files is an image", found: input.strange.map((file) => file.name).join(", "),
        expected: "NIfTI, NRRD, MHA, DICOM, or a zip of a DICOM study",
      }));
      return;
    }
    form.setInput(input);
    if (input.kind === "study") {
      stage.say(`A DICOM study, ${counted(files.length, "file")}. Its images are shown when the service has read them.`);
    }
    announce(`${counted(input.files.length, "file")} chosen`);
  }

  async function takeFromPacs() {
    const fetched = await choosePacsStudy(api);
    if (!fetched) return;
    form.setInput({ kind: "study", strange: [], fetched, files: [{ name: fetched.words }] });
    stage.say("Its images are shown when the service has fetched and read them.");
    announce("A study of the PACS is chosen");
    panel.focus({ preventScroll: true });
  }

  /** The form for another model on the images of a job, which stay on the stage. */
  function again(job) {
    besides = job.id;
    form.chooseOtherThan(job.request.model);
    form.setInput({
      kind: job.request.kind, strange: [], inputsOf: job.id,
      files: job.request.files.map((file) => ({ name: file.shown || file.channel, size: file.n_bytes })),
    }, job.request.row);
    fill(panel, form.element);
  }

  /** A function that shows the form as it was sent, where it was for this job; else null. */
  function back(job) {
    return job.id !== sent ? null : () => {
      history.replaceState(null, "", location.pathname);
      session.close();
      fill(panel, form.element);
    };
  }

  function send(data) {
    const broken = new AbortController();
    const view = uploadView(() => broken.abort());
    return begin(view.element, "Sending", () => api.upload("v1/jobs", data, view.show, broken.signal));
  }

  function fetchStudy(asked) {
    return begin(fetchView(), "Fetching", () => api.post("v1/dicomweb/jobs", asked));
  }

  /** Shows that a job is asked for, and then the job; where it is refused, the form as it was. */
  async function begin(view, words, asking) {
    fill(panel, view);
    announce(words);
    try {
      const job = await asking();
      sent = job.id;
      location.hash = addressOf(job.id, besides);
    } catch (error) {
      fill(panel, form.element);
      if (error.name !== "AbortError") session.fail(error);
    }
  }

  /** Sends a painted mask, once the user has confirmed it; false: it was not sent. */
  async function correct(blob) {
    try {
      const stored = await sendCorrection(api, session.current(), blob, collects);
      if (stored) announce(`Saved as ${stored.case} of ${stored.dataset}`);
      return stored !== null;
    } catch (error) {
      session.fail(error);
      return false;
    }
  }

  function route() {
    const { job, beside } = address();
    if (!job) fresh();
    else {
      if (!beside && job !== sent) stage.say("The image is shown with the result.");
      session.open(job, beside);
    }
  }

  onDrop = take;
  addEventListener("hashchange", route);
  addEventListener("beforeunload", (event) => stage.hasUnsavedEdits() && event.preventDefault());
  route();
}

document.getElementById("top-tools").append(themeSwitch());
panel.append(el("p", { class: "quiet" }, "Asking the service for its models …"));
try {
  const { models, collects, pacs } = await api.get("v1/models");
  start(models, collects, pacs);
} catch (error) {
  fill(panel, problemNote(problemOf(error)));
}
