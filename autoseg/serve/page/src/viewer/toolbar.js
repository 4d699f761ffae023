// The bar above the images.
import { el, field, select } from "../lib/dom.js";
import { LAYOUTS, TOOLS } from "./actions.js";
import { menu, share, tick } from "./menu.js";
import { figure } from "./windows.js";

/** Replaces the choices of a list. */
function refill(list, choices, chosen) {
  const key = JSON.stringify(choices);
  if (list.dataset.choices !== key) {
    list.replaceChildren(...choices.map(([value, text]) => el("option", { value }, text)));
    list.dataset.choices = key;
  }
  list.value = chosen;
}

function windowMenu(scene, actions) {
  const list = select([], "", (key) => key !== "free" && actions.preset(key));
  const set = () => {
    if (low.value !== "" && high.value !== "") actions.window({ min: Number(low.value), max: Number(high.value) });
  };
  const low = el("input", { type: "number", step: "any", onchange: set });
  const high = el("input", { type: "number", step: "any", onchange: set });
  const inverted = tick("Inverted", false, (on) => actions.window({ ...scene.current().window, inverted: on }));
  const element = menu(
    "Window",
    field("Preset", list),
    el("div", { class: "nv-pair" }, field("Black at", low), field("White at", high)),
    inverted.element,
  );
  return {
    element,
    update() {
      const { presets, preset, window } = scene.current();
      refill(list, [...presets.map(({ key, name }) => [key, name]), ["free", "Free"]], preset);
      if (document.activeElement !== low) low.value = String(Number(window.min.toPrecision(5)));
      if (document.activeElement !== high) high.value = String(Number(window.max.toPrecision(5)));
      inverted.input.checked = window.inverted;
    },
  };
}

function labelsMenu(scene, actions) {
  const { state } = scene;
  const visible = tick("Show labels", true, (on) => actions.visible(on));
  const outline = tick("Outlines only", false, (on) => actions.outline(on));
  const opacity = share("Opacity", state.overlay.opacity, (value) => actions.opacity(value));
  const list = el("div", { class: "nv-labels", role: "group", "aria-label": "Labels" });
  const element = menu("Labels", visible.element, outline.element, opacity.element, list);
  let shown = "";
  return {
    element,
    update() {
      const entries = Object.values(state.slots).flatMap((slot) => slot?.mask.entries ?? []);
      const names = new Map(entries.map(({ name, color }) => [name, color]));
      element.hidden = names.size === 0;
      visible.input.checked = state.overlay.visible;
      outline.input.checked = state.overlay.outline;
      opacity.set(state.overlay.opacity);
      const key = JSON.stringify([...names, ...state.overlay.hidden]);
      if (key === shown) return;
      shown = key;
      const inside = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
      list.replaceChildren(
        ...[...names].map(([name, color]) => {
          const box = tick(name, !state.overlay.hidden.has(name), (on) => actions.labelVisible(name, on));
          box.input.dataset.name = name;
          const swatch = el("span", { class: "nv-swatch" });
          swatch.style.background = color;
          box.input.after(swatch);
          return box.element;
        }),
      );
      if (inside) [...list.querySelectorAll("input")].find((input) => input.dataset.name === inside)?.focus();
    },
  };
}

const LAYER_NAMES = { none: "None", entropy: "Entropy", disagreement: "Disagreement of the networks" };

function uncertaintyMenu(scene, actions) {
  const { state } = scene;
  const list = select([], "none", (kind) => actions.layer(kind));
  const opacity = share("Opacity", state.layer.opacity, (value) => actions.layerOpacity(value));
  const most = el("span");
  const bar = el(
    "div",
    { class: "nv-colorbar" },
    el("span", {}, "0"),
    el("span", { class: "nv-gradient", role: "img", "aria-label": "Dark: certain. Bright: uncertain." }),
    most,
  );
  const element = menu("Uncertainty", field("Layer", list), opacity.element, bar);
  return {
    element,
    update() {
      const layers = Object.values(state.slots).flatMap((slot) => (slot ? [slot.layers] : []));
      const kinds = ["entropy", "disagreement"].filter((kind) => layers.some((layer) => layer[kind]));
      element.hidden = kinds.length === 0;
      refill(
        list,
        ["none", ...kinds].map((kind) => [kind, LAYER_NAMES[kind]]),
        state.layer.kind,
      );
      bar.hidden = state.layer.kind === "none";
      const max = Math.max(0, ...layers.map((layer) => layer[state.layer.kind]?.max ?? 0));
      most.textContent = `${figure(max)}${state.layer.kind === "entropy" ? " nats" : ""}`;
    },
  };
}

function toolButtons(scene, actions) {
  const buttons = TOOLS.map(([key, text, title]) =>
    el("button", { type: "button", title, "data-tool": key, onclick: () => actions.tool(key) }, text),
  );
  const element = el("div", { class: "nv-tools", role: "group", "aria-label": "Tools" }, buttons);
  return {
    element,
    update() {
      const hasMask = Object.values(scene.state.slots).some(Boolean);
      for (const button of buttons) {
        button.setAttribute("aria-pressed", String(button.dataset.tool === scene.state.tool));
        button.hidden = !hasMask && ["brush", "erase", "fill"].includes(button.dataset.tool);
      }
    },
  };
}

function choices(scene, actions) {
  const { state } = scene;
  const layout = select(LAYOUTS, "all", (name) => actions.layout(name));
  layout.setAttribute("aria-label", "Layout");
  const channel = select([], "", (number) => actions.channel(Number(number)));
  channel.setAttribute("aria-label", "Image");
  const compare = select([], "one", (mode) => actions.compare(mode));
  compare.setAttribute("aria-label", "Side by side");
  return {
    element: [layout, channel, compare],
    update() {
      layout.value = state.layout === "plane" ? String(state.plane) : state.layout;
      channel.hidden = state.images.length < 2 || state.compare === "channels";
      refill(
        channel,
        state.images.map(({ name }, k) => [String(k), name]),
        String(state.channel),
      );
      const modes = [["one", "One image"]];
      if (state.slots.a && state.slots.b) modes.push(["results", "Two results side by side"]);
      if (state.images.length > 1) modes.push(["channels", "Images side by side"]);
      compare.hidden = modes.length < 2;
      refill(compare, modes, state.compare);
    },
  };
}

/** @param {Object} scene @param {Object} actions @param {{element: HTMLElement, update: () => void}} editBar */
export function createToolbar(scene, actions, editBar) {
  const parts = [choices, windowMenu, labelsMenu, uncertaintyMenu, toolButtons].map((build) => build(scene, actions));
  const help = el(
    "button",
    { type: "button", "aria-label": "Keys and mouse", title: "Keys and mouse (?)", onclick: () => actions.help() },
    "?",
  );
  const element = el(
    "div",
    { class: "nv-bar" },
    el(
      "div",
      { class: "nv-row", role: "toolbar", "aria-label": "Viewer" },
      parts.flatMap((part) => part.element),
      help,
    ),
    editBar.element,
  );
  return {
    element,
    update() {
      for (const part of parts) part.update();
      editBar.update();
    },
  };
}
