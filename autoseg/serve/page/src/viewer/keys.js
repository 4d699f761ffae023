// The keys of the viewer. The table of docs/how-to/viewer.md has the same lines.
import { ask } from "../lib/dialog.js";
import { el } from "../lib/dom.js";

/** What is pressed, as shown to people; what it does; the keys as `KeyboardEvent.key`; the action. */
export const KEYS = [
  ["↑ ↓", "Previous or next slice", { ArrowUp: (a) => a.scroll(1), ArrowDown: (a) => a.scroll(-1) }],
  ["Page up, Page down", "Ten slices", { PageUp: (a) => a.scroll(10), PageDown: (a) => a.scroll(-10) }],
  ["Home, End", "First or last slice", { Home: (a) => a.scroll(-1e6), End: (a) => a.scroll(1e6) }],
  [
    "Shift + arrows",
    "Move the cursor within the slice",
    {
      "Shift+ArrowLeft": (a) => a.nudge(-1, 0),
      "Shift+ArrowRight": (a) => a.nudge(1, 0),
      "Shift+ArrowUp": (a) => a.nudge(0, 1),
      "Shift+ArrowDown": (a) => a.nudge(0, -1),
    },
  ],
  ["1 2 3", "Axial, coronal, sagittal plane", { 1: (a) => a.layout("0"), 2: (a) => a.layout("1"), 3: (a) => a.layout("2") }],
  ["4 5", "3D alone; three planes and 3D", { 4: (a) => a.layout("render"), 5: (a) => a.layout("all") }],
  [
    ", .",
    "Previous or next image (channel or phase)",
    { ",": (a, s) => a.channel(s.channel - 1), ".": (a, s) => a.channel(s.channel + 1) },
  ],
  [
    "+ \u2212 0",
    "Zoom in, zoom out, whole image",
    { "+": (a) => a.zoom(1.25), "=": (a) => a.zoom(1.25), "-": (a) => a.zoom(0.8), 0: (a) => a.centre() },
  ],
  ["\u2190 \u2192", "Turn the 3D view", { ArrowLeft: (a) => a.turn(-15, 0), ArrowRight: (a) => a.turn(15, 0) }],
  ["w", "Next window", { w: (a) => a.nextPreset() }],
  ["o", "Labels on or off", { o: (a) => a.visible() }],
  ["f", "Labels filled or as outlines", { f: (a) => a.outline() }],
  ["u", "Next layer of uncertainty", { u: (a) => a.nextLayer() }],
  ["v", "Tool: move the cursor", { v: (a) => a.tool("move"), Escape: (a) => a.tool("move") }],
  ["m", "Tool: measure", { m: (a) => a.tool("measure") }],
  ["b e g", "Tool: brush, erase, fill", { b: (a) => a.tool("brush"), e: (a) => a.tool("erase"), g: (a) => a.tool("fill") }],
  ["Space", "Use the tool at the cursor", { " ": (a) => a.useHere() }],
  [
    "[ ]",
    "Smaller or larger brush",
    { "[": (a, s) => a.brushSize(s.brush.radius - 0.5), "]": (a, s) => a.brushSize(s.brush.radius + 0.5) },
  ],
  ["l", "Next label to paint", { l: (a) => a.nextLabel() }],
  ["Delete", "Remove all distances", { Delete: (a) => a.clearMeasures(), Backspace: (a) => a.clearMeasures() }],
  ["Ctrl + z", "Undo", { "Ctrl+z": (a) => a.undo() }],
  ["Ctrl + y, Ctrl + Shift + z", "Do again", { "Ctrl+y": (a) => a.redo(), "Ctrl+Shift+z": (a) => a.redo() }],
  ["Ctrl + s", "Save as correction", { "Ctrl+s": (a) => a.save() }],
  ["?", "These keys", { "?": (a) => a.help() }],
];

const ACTIONS = new Map(KEYS.flatMap(([, , keys]) => Object.entries(keys)));

/** The name of what is pressed, as in the table. */
export function pressed({ key, ctrlKey, metaKey, shiftKey, altKey }) {
  if (altKey) return null;
  const isNamed = key.length > 1;
  const isCommand = ctrlKey || metaKey;
  const letter = isNamed ? key : key.toLowerCase();
  return `${isCommand ? "Ctrl+" : ""}${shiftKey && (isNamed || isCommand) ? "Shift+" : ""}${letter}`;
}

/** A function that handles keys that go to an image: single letters do nothing elsewhere on the page. */
export function keyHandler(actions, scene) {
  return (event) => {
    const action = scene.current() && ACTIONS.get(pressed(event));
    if (!action) return;
    event.preventDefault();
    action(actions, scene.state);
  };
}

/** Shows the table of keys. */
export function showKeys() {
  const rows = KEYS.map(([keys, what]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", {}, keys)), el("td", {}, what)));
  const mouse = [
    ["Wheel", "Slices; with Ctrl: zoom"],
    ["Drag with the right button, or with Shift", "Brightness (up, down) and contrast (left, right)"],
    ["Drag with the middle button, or with Alt", "Move the image"],
    ["Two fingers", "Zoom and move the image"],
  ].map(([how, what]) => el("tr", {}, el("th", { scope: "row" }, how), el("td", {}, what)));
  return ask({
    title: "Keys and mouse",
    confirm: "Close",
    cancel: "",
    body: [
      el("p", { class: "hint" }, "The keys work while an image has the focus."),
      el(
        "div",
        { class: "nv-keys", tabIndex: 0, role: "region", "aria-label": "Table of keys" },
        el("table", {}, el("tbody", {}, rows, mouse)),
      ),
    ],
  });
}
