import { el } from "./dom.js";

const KEY = "autoseg.theme";
const NAMES = { system: "Auto", light: "Light", dark: "Dark" };

function apply(choice) {
  const dark = choice === "dark" || (choice === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

/** A list that chooses between light and dark. The choice is kept on this machine. */
export function themeSwitch() {
  let choice = localStorage.getItem(KEY);
  if (!(choice in NAMES)) choice = "system";
  apply(choice);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(choice));
  return el("select", {
    class: "theme", "aria-label": "Colours",
    onchange: (event) => {
      choice = event.target.value;
      localStorage.setItem(KEY, choice);
      apply(choice);
    },
  }, Object.entries(NAMES).map(([value, text]) => el("option", { value, selected: value === choice }, text)));
}
