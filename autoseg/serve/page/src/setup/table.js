import { el, field } from "../lib/dom.js";

const rangeOf = ({ low, high }) => {
  if (low !== null && high !== null) return `${low} to ${high}`;
  if (low !== null) return `${low} or more`;
  return high !== null ? `${high} or less` : "";
};

function control(column, known, onValue) {
  if (column.kind !== "number" && column.categories.length) {
    return el("select", { onchange: (event) => onValue(event.target.value || null) },
      el("option", { value: "" }, "Not known"),
      column.categories.map((value) => el("option", { value, selected: value === known }, value)));
  }
  const numeric = column.kind === "number";
  return el("input", {
    type: numeric ? "number" : "text", step: "any", placeholder: "Not known", value: known ?? "",
    min: numeric && column.low !== null ? column.low : null,
    max: numeric && column.high !== null ? column.high : null,
    oninput: (event) => {
      const { value, valueAsNumber } = event.target;
      if (numeric) onValue(Number.isFinite(valueAsNumber) ? valueAsNumber : null);
      else onValue(value.trim() || null);
    },
  });
}

/**
 * The fields of the clinical table. Each may stay empty.
 * @param {Object[]} columns of the model
 * @param {Object} row column -> value or null; it is changed in place
 * @param {() => void} onChange
 */
export function tableFields(columns, row, onChange) {
  return el("div", { class: "fields" }, columns.map((column) => field(
    column.unit ? `${column.name} (${column.unit})` : column.name,
    control(column, row[column.name], (value) => {
      row[column.name] = value;
      onChange();
    }),
    column.kind === "number" ? rangeOf(column) : "")));
}
