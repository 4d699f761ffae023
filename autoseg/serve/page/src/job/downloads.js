import { el, select } from "../lib/dom.js";

// form -> its name for people, and the ending of its file
const FORMS = {
  nifti: ["NIfTI", ".nii.gz"], seg: ["DICOM SEG", ".dcm"], rtstruct: ["RT structure set", ".dcm"], stl: ["Mesh, STL", ".zip"],
  obj: ["Mesh, OBJ", ".obj"], entropy: ["Entropy, NIfTI", ".nii.gz"], disagreement: ["Disagreement, NIfTI", ".nii.gz"],
  json: ["Numbers, JSON", ".json"],
};

/** Saves a blob under a name. A link cannot do it: it sends no token. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The name that the service gives a file, or ours. */
function nameOf(response, form) {
  const given = response.headers.get("Content-Disposition")?.match(/filename="?([^";]+)"?/)?.[1];
  return given ?? `segmentation_${form}${FORMS[form]?.[1] ?? ""}`;
}

/** A choice of a form, and a button that fetches the result in it. */
export function downloads(api, job, onError) {
  const forms = [...new Set([...job.result.files, "json"])];
  let form = forms[0];
  const button = el("button", {
    type: "button",
    onclick: async () => {
      button.disabled = true;
      try {
        const response = await api.request(`v1/jobs/${job.id}/result/${form}`);
        save(await response.blob(), nameOf(response, form));
      } catch (error) {
        onError(error);
      } finally {
        button.disabled = false;
      }
    },
  }, "Download");
  const choice = select(forms.map((name) => [name, FORMS[name]?.[0] ?? name]), form, (value) => { form = value; });
  choice.setAttribute("aria-label", "Form of the download");
  return el("div", { class: "download" }, choice, button);
}
