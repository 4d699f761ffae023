/**
 * An element. Properties that start with `on` are listeners, `class`, `for`, `aria-*`, `data-*` and `role` are attributes, and
 * all else is set on the object. Children are elements or text: text is never read as HTML.
 * @param {string} tag
 * @param {Object} [properties]
 * @param {...(Node|string|null|false|Array)} children
 * @returns {HTMLElement}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "for" || name === "role" || /^(aria|data)-/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let numbers = 0;

/** An id that no other element has. */
export function newId(stem) {
  numbers += 1;
  return `${stem}-${numbers}`;
}

/** A part of the panel with a heading. */
export function section(title, ...children) {
  const id = newId("heading");
  return el("section", { class: "block", "aria-labelledby": id }, el("h2", { id }, title), ...children);
}

/** A label, a control, and a hint that belongs to the control. */
export function field(label, control, hint = "") {
  control.id ||= newId("field");
  const note = hint ? el("span", { class: "hint", id: newId("hint") }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, note);
}

/** A list for one choice. `choices` are pairs of value and text. */
export function select(choices, chosen, onchange) {
  return el("select", { onchange: (event) => onchange(event.target.value) },
    choices.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

/** Replaces what is in the panel. Who was in it with the keyboard stays in it. */
export function fill(panel, ...children) {
  const inside = panel.contains(document.activeElement);
  panel.replaceChildren(...children.filter(Boolean));
  if (inside) panel.focus({ preventScroll: true });
}
