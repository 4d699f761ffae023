import { el, newId } from "../lib/dom.js";

/**
 * A button that opens a small panel. Escape or a click elsewhere closes it.
 * @param {string} text
 * @param {...Node} children
 */
export function menu(text, ...children) {
  const panel = el(
    "div",
    { class: "nv-menu", popover: "auto", id: newId("menu"), role: "group", "aria-label": text },
    children,
  );
  const button = el("button", { type: "button", class: "nv-open", "aria-expanded": "false" }, text);
  button.popoverTargetElement = panel;
  panel.addEventListener("toggle", (event) => {
    const isOpen = event.newState === "open";
    button.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) return;
    const box = button.getBoundingClientRect();
    const left = Math.max(8, Math.min(box.left, window.innerWidth - panel.offsetWidth - 8));
    Object.assign(panel.style, {
      left: `${left}px`,
      top: `${Math.min(box.bottom + 4, Math.max(8, window.innerHeight - panel.offsetHeight - 8))}px`,
    });
  });
  return el("span", { class: "nv-menu-place" }, button, panel);
}

/** A slider from 0 to 1 with its value in percent. */
export function share(label, value, oninput) {
  const output = el("output", {}, `${Math.round(value * 100)} %`);
  const input = el("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    value,
    id: newId("share"),
    oninput: () => {
      output.textContent = `${Math.round(input.value * 100)} %`;
      oninput(Number(input.value));
    },
  });
  const element = el("div", { class: "nv-share" }, el("label", { for: input.id }, label), input, output);
  return {
    element,
    set(now) {
      input.value = String(now);
      output.textContent = `${Math.round(now * 100)} %`;
    },
  };
}

/** A box to tick. */
export function tick(label, checked, onchange) {
  const input = el("input", { type: "checkbox", checked, onchange: () => onchange(input.checked) });
  return { element: el("label", { class: "nv-tick" }, input, label), input };
}
