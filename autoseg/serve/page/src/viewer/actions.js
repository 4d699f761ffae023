// What buttons and keys do.
import { apply, distance, inverse } from "./geometry.js";
import { setFrame, setWindow } from "./load.js";
import { millimetres } from "./marks.js";
import { PLANES } from "./tiles.js";
import { widened } from "./windows.js";

export const TOOLS = [
  ["move", "Move", "Move the cursor"],
  ["window", "Contrast", "Drag to change brightness and contrast"],
  ["measure", "Measure", "Drag to measure a distance"],
  ["brush", "Brush", "Paint the chosen label"],
  ["erase", "Erase", "Paint background"],
  ["fill", "Fill", "Fill a patch with the chosen label"],
];
export const LAYOUTS = [
  ["all", "Three planes and 3D"],
  ["0", "Axial"],
  ["1", "Coronal"],
  ["2", "Sagittal"],
  ["render", "3D"],
];
const LAYERS = ["none", "entropy", "disagreement"];
const RADII = { least: 0.5, most: 60 };

/** The views of the same scene: what moves, what is shown and how. */
function views(scene, announce) {
  const { state } = scene;
  return {
    scroll(steps, plane = scene.activePlane()) {
      const voxel = scene.voxel();
      const { across } = PLANES[plane];
      voxel[across] = Math.min(scene.current().grid.dims[across] - 1, Math.max(0, voxel[across] + steps));
      scene.moveToVoxel(voxel);
    },
    slice(number) {
      const voxel = scene.voxel();
      voxel[PLANES[scene.activePlane()].across] = number;
      scene.moveToVoxel(voxel);
    },
    /** One voxel within the plane: to the right and upwards on the screen. */
    nudge(right, up) {
      const { along } = PLANES[scene.activePlane()];
      const tile = scene.panes[0].tiles.find(({ plane }) => plane === scene.activePlane());
      if (!tile) return;
      const voxel = scene.voxel();
      const { dims } = scene.current().grid;
      [right, -up].forEach((step, k) => {
        const axis = along[k];
        voxel[axis] = Math.min(dims[axis] - 1, Math.max(0, voxel[axis] + step * Math.sign(tile.last[k] - tile.first[k])));
      });
      scene.moveToVoxel(voxel);
    },
    layout(name) {
      state.layout = ["all", "render"].includes(name) ? name : "plane";
      if (state.layout === "plane") state.plane = Number(name);
      announce(`Layout: ${LAYOUTS.find(([key]) => key === String(name))[1]}`);
      scene.request();
    },
    channel(number) {
      state.channel = (number + state.images.length) % state.images.length;
      announce(`Image ${scene.current().name}`);
      scene.request();
    },
    frame(number) {
      setFrame(scene.current(), number);
      scene.request();
    },
    compare(mode) {
      state.compare = mode;
      scene.arrange();
    },
    zoom(factor, frac = null, pane = scene.panes[0]) {
      const middle = pane.panMmOfFrac(frac ?? pane.fracOfMm(state.cursor));
      const [x, y, z, before] = state.pan;
      const now = Math.min(20, Math.max(0.5, before * factor));
      state.pan = [...[x, y, z].map((value, k) => value + middle[k] * (before - now)), now];
      scene.request();
    },
    turn(right, up) {
      state.azimuth += right;
      state.elevation = Math.min(90, Math.max(-90, state.elevation + up));
      scene.request();
    },
    zoom3D(factor) {
      state.zoom3D = Math.min(5, Math.max(0.4, state.zoom3D * factor));
      scene.request();
    },
    centre: () => scene.recentre(),
  };
}

/** Windows, labels and uncertainty. */
function looks(scene, announce) {
  const { state } = scene;
  const loud = (text) => {
    announce(text);
    scene.request();
  };
  return {
    preset(key) {
      const image = scene.current();
      const preset = image.presets.find((choice) => choice.key === key);
      image.preset = key;
      setWindow(image, preset);
      loud(`Window: ${preset.name}`);
    },
    nextPreset() {
      const { presets, preset } = scene.current();
      const at = presets.findIndex(({ key }) => key === preset);
      this.preset(presets[(at + 1) % presets.length].key);
    },
    window(range) {
      const image = scene.current();
      const { min, max } = widened(range.min, range.max);
      image.preset = "free";
      setWindow(image, { min, max, inverted: range.inverted ?? image.window.inverted });
      scene.request();
    },
    visible(on = !state.overlay.visible) {
      state.overlay.visible = on;
      loud(on ? "Labels shown" : "Labels hidden");
    },
    outline(on = !state.overlay.outline) {
      state.overlay.outline = on;
      loud(on ? "Labels as outlines" : "Labels filled");
    },
    opacity(value) {
      state.overlay.opacity = Math.min(1, Math.max(0, value));
      scene.request();
    },
    labelVisible(name, on) {
      state.overlay.hidden = new Set(state.overlay.hidden);
      state.overlay.hidden[on ? "delete" : "add"](name);
      loud(`${name} ${on ? "shown" : "hidden"}`);
    },
    layer(kind) {
      state.layer.kind = kind;
      loud(kind === "none" ? "Uncertainty hidden" : `Uncertainty: ${kind}`);
    },
    nextLayer() {
      const kinds = LAYERS.filter(
        (kind) => kind === "none" || Object.values(state.slots).some((slot) => slot?.layers[kind]),
      );
      this.layer(kinds[(kinds.indexOf(state.layer.kind) + 1) % kinds.length]);
    },
    layerOpacity(value) {
      state.layer.opacity = value;
      scene.request();
    },
  };
}

/** Tools: measuring, and the choice of brush. */
function tools(scene, announce) {
  const { state } = scene;
  return {
    tool(name) {
      state.tool = name;
      state.ring = null;
      state.pending = null;
      announce(`Tool: ${TOOLS.find(([key]) => key === name)[1]}`);
      scene.request();
    },
    brushSize(radius) {
      state.brush.radius = Math.min(RADII.most, Math.max(RADII.least, Math.round(radius * 2) / 2));
      scene.request();
    },
    brushLabel(name) {
      state.brush.label = name;
      announce(`Paint: ${name}`);
      scene.request();
    },
    nextLabel() {
      const names = [...new Set(state.slots[state.active]?.mask.entries.map((entry) => entry.name))];
      if (names.length) this.brushLabel(names[(names.indexOf(state.brush.label) + 1) % names.length]);
    },
    ball(on) {
      state.brush.ball = on;
      scene.request();
    },
    /** Adds a distance in a plane. Ends in mm. */
    measure(from, to, plane) {
      if (distance(from, to) === 0) return;
      state.measures.push({ from, to, plane });
      const voxels = [from, to].map((mm) =>
        apply(inverse(scene.current().grid.affine), mm).map((value) => Math.round(value)),
      );
      announce(
        `Distance ${millimetres(distance(from, to))}, from voxel ${voxels[0].join(", ")} to voxel ${voxels[1].join(", ")}`,
      );
      scene.request();
    },
    /** For the keyboard: the first call sets one end, the second the other. */
    measureHere() {
      if (!state.pending) {
        state.pending = state.cursor.slice();
        announce("First end of the distance is set");
        return;
      }
      this.measure(state.pending, state.cursor.slice(), scene.activePlane());
      state.pending = null;
    },
    clearMeasures() {
      state.measures.length = 0;
      announce("Distances removed");
      scene.request();
    },
  };
}

/** @returns all actions by name */
export function createActions(scene, editor, announce, help) {
  const actions = { ...views(scene, announce), ...looks(scene, announce), ...tools(scene, announce), help };
  return Object.assign(actions, {
    undo: () => editor.undo(),
    redo: () => editor.redo(),
    save: () => editor.save(),
    discard: () => editor.discard(),
    /** Uses the tool at the cursor, for the keyboard. */
    useHere() {
      if (scene.state.tool === "measure") actions.measureHere();
      else if (["brush", "erase", "fill"].includes(scene.state.tool)) {
        editor.dab(
          scene.panes.find(({ slot }) => slot === scene.state.active) ?? scene.panes[0],
          scene.activePlane(),
          scene.state.cursor,
        );
        editor.end();
      }
    },
  });
}
