import { ask } from "../lib/dialog.js";
import { el, field, newId, section, select } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { problemNote, problemOf } from "../lib/problem.js";

const MODALITIES = [["", "Any"], ["CT", "CT"], ["MR", "MR"], ["PT", "PET"], ["US", "Ultrasound"]];
const MOST = 100; // studies that the service lists

/** `20260131` as `2026-01-31`; what is no date of DICOM stays as it is. */
const dateWords = (date) => date.replace(/^(\d{4})(\d{2})(\d{2})$/, "$1-$2-$3");

const titleOf = (study) => [study.patient_id || "without a patient's number", dateWords(study.date)].filter(Boolean).join(", ");

const aboutOf = (study) => [study.modalities.join(", "), study.description,
  study.n_instances === null ? "" : counted(study.n_instances, "image")].filter(Boolean).join(", ");

/** The fields of a search. `query()` is that of the address, `onSearch` is also called by Enter in a field. */
function searchFields(onSearch) {
  const onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // Enter would confirm the dialog
    onSearch();
  };
  const patient = el("input", { type: "text", maxLength: 64, autocomplete: "off", spellcheck: false, onkeydown });
  const date = el("input", { type: "date", onkeydown });
  const modality = select(MODALITIES, "", () => {});
  return {
    element: el("div", { class: "fields" }, field("Patient ID", patient), field("Study date", date), field("Modality", modality)),
    query() {
      const given = { PatientID: patient.value.trim(), StudyDate: date.value.replaceAll("-", ""), Modality: modality.value };
      return new URLSearchParams(Object.entries(given).filter(([, value]) => value)).toString();
    },
  };
}

const foundWords = ({ length }) => ["No study fits", "1 study"][length] ?? `${length} studies`;

/** The studies that were found, one of which is chosen. */
function studyList(studies, onChoice) {
  const name = newId("study");
  const rows = studies.map((study) => el("label", { class: "choice" },
    el("input", { type: "radio", name, onchange: () => onChoice(study) }),
    el("span", {}, el("strong", {}, titleOf(study)), el("span", { class: "hint" }, aboutOf(study)))));
  const more = studies.length < MOST ? null
    : el("p", { class: "hint" }, `The first ${MOST}. There may be more: say which patient or date.`);
  return [el("fieldset", { class: "choices" }, el("legend", {}, foundWords(studies)), rows), more];
}

/**
 * Asks which study of the PACS is segmented, and whether the result is stored there.
 * @returns {Promise<{study: Object, store: boolean, words: string}|null>} null: the dialog was closed
 */
export function choosePacsStudy(api) {
  let chosen = null;
  let asked = 0; // counts the searches: an answer that comes late is not shown
  let confirm = null;
  const found = el("div", { class: "found" });
  const said = el("p", { class: "unseen", role: "status" }); // not all that was found is read out
  const choose = (study) => {
    chosen = study;
    confirm.disabled = study === null;
  };
  async function search() {
    const mine = (asked += 1);
    choose(null);
    found.replaceChildren(el("p", { class: "quiet" }, "Asking the PACS …"));
    said.textContent = "";
    let shown;
    let words = "";
    try {
      const { studies } = await api.get(`v1/dicomweb/studies?${fields.query()}`);
      words = foundWords(studies);
      shown = studyList(studies, choose).filter(Boolean);
    } catch (error) {
      shown = [problemNote(problemOf(error))];
    }
    if (mine !== asked) return;
    found.replaceChildren(...shown);
    said.textContent = words;
  }
  const fields = searchFields(search);
  const store = el("input", { type: "checkbox" });
  return ask({
    title: "A study from the PACS", confirm: "Take this study",
    body: [fields.element, el("button", { type: "button", onclick: search }, "Search"), found, said,
      el("label", { class: "choice" }, store, el("span", {}, "Store the result in the PACS",
        el("span", { class: "hint" }, "As a DICOM SEG in the same study. Say there that a model made it.")))],
    onOpen(button) {
      confirm = button;
      choose(null);
    },
    read: () => ({ study: chosen.study, store: store.checked, words: [titleOf(chosen), aboutOf(chosen)].filter(Boolean).join(", ") }),
  });
}

/** While the service fetches a study. */
export function fetchView() {
  return section("Fetching",
    el("div", { class: "progress" }, el("p", {}, "The service fetches the study from the PACS"),
      el("progress", { "aria-label": "Fetching" })),
    el("p", { class: "hint" }, "You may close this page. The job is then in the list of your jobs."));
}
