// One canvas with one image: NiiVue draws it, a second canvas above holds marks. It reads no pointer and no key.
import { Niivue } from "@niivue/niivue";
import { el } from "../lib/dom.js";
import { apply, inverse } from "./geometry.js";
import { lookup } from "./labels.js";
import { createMarks } from "./marks.js";
import { boxInOther, boxOf, follow } from "./paint.js";
import { layoutOf, PLANES, RENDER } from "./tiles.js";

const OPTIONS = {
  interactive: false, isResizeCanvas: false, dragAndDropEnabled: false, logLevel: "silent", loadingText: "",
  isRadiologicalConvention: true, sagittalNoseLeft: true, show3Dcrosshair: true, isAntiAlias: false, isOrientationTextVisible: false,
  backColor: [0.047, 0.059, 0.075, 1], crosshairColor: [0.36, 0.76, 0.81, 0.8], crosshairWidth: 0, crosshairWidthUnit: "percent",
  fontColor: [0.75, 0.79, 0.84, 1], fontMinPx: 12, fontSizeScaling: 0.1, multiplanarPadPixels: 2,
};
const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;

/** Whether the browser draws without a graphics processor: then as few pixels as possible are drawn. */
function isSoftware(gl) {
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return SOFTWARE.test(String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER)));
}

/** @param {HTMLElement} parent */
export async function createPane(parent) {
  const canvas = el("canvas", { role: "img", "aria-label": "Image" });
  const above = el("canvas", { class: "nv-marks", "aria-hidden": "true" });
  const title = el("span", { class: "nv-title" });
  const element = el("div", {
    class: "nv-pane", tabIndex: 0, role: "application", "aria-roledescription": "image viewer", "aria-label": "Image viewer. Press ? for the keys.",
  }, canvas, above, title);
  parent.append(element);
  const nv = new Niivue(OPTIONS);
  await nv.attachToCanvas(canvas);
  const drawAll = nv.drawScene.bind(nv);
  const drawRender = nv.draw3D.bind(nv);
  nv.drawScene = () => ""; // it is drawn when the viewer says so
  const software = isSoftware(nv.gl);
  const marks = createMarks(above, canvas);
  const pane = { element, canvas, nv, image: null, mask: null, shown: null, tiles: [], software, opacity: 0.5, outline: false };
  let revision = -1;
  let layer = null;
  let colored = []; // the entries and the hidden names whose colours are on the GPU
  // 3D is drawn with so few pixels that it takes about this long, copied, and shown in the size of its tile.
  const render = { box: null, share: software ? 0.2 : 1, target: software ? 400 : 60 };

  /** Notes where 3D belongs; `drawRenderNow` draws it. */
  nv.draw3D = (box) => {
    render.box = box[2] ? box.slice() : [0, 0, canvas.width, canvas.height];
    nv.screenSlices.push({ leftTopWidthHeight: render.box, axCorSag: RENDER, sliceFrac: 0, AxyzMxy: [], leftTopMM: [], fovMM: [1, 0] });
  };

  function drawRenderNow() {
    const [left, top, width, height] = render.box;
    // Whole pixels, below the rows that the plane above may still touch: they would be enlarged to a bar.
    const size = [width, height - 2].map((length) => Math.max(32, Math.floor(length * render.share)));
    const small = [Math.ceil(left), Math.ceil(top) + 2, ...size];
    const started = performance.now();
    const before = { opacity: nv.drawOpacity, slices: nv.screenSlices };
    nv.opts.crosshairWidth = 2; // percent of the volume; in the planes the lines are drawn by the marks
    nv.drawOpacity = pane.visible ? 1 : 0; // surfaces are solid; how clear they are in the planes is another matter
    nv.screenSlices = [];
    drawRender(small);
    marks.keepRender(small);
    nv.drawOpacity = before.opacity;
    nv.screenSlices = before.slices;
    nv.opts.crosshairWidth = 0;
    const factor = Math.sqrt(render.target / Math.max(1, performance.now() - started));
    render.share = Math.min(1, Math.max(0.1, render.share * Math.min(2, Math.max(0.4, factor))));
    clearBox(render.box);
  }

  /** What NiiVue left in the tile of 3D is hidden by the copy above; its edges must not show. */
  function clearBox([left, top, width, height]) {
    const { gl } = nv;
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, canvas.height - top - height, width, height);
    gl.clearColor(...OPTIONS.backColor);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.disable(gl.SCISSOR_TEST);
  }

  /** Puts a box of the shown mask on the GPU. */
  function upload({ low, high }) {
    const { gl } = nv;
    const [nx, ny] = pane.image.grid.dims;
    gl.activeTexture(gl.TEXTURE7);
    gl.bindTexture(gl.TEXTURE_3D, nv.drawTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, nx);
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, ny);
    const size = low.map((value, k) => high[k] - value + 1);
    const start = low[0] + nx * (low[1] + ny * low[2]);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, ...low, ...size, gl.RED, gl.UNSIGNED_BYTE, pane.shown, start);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, 0);
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, 0);
  }

  function showMask(mask) {
    pane.mask = mask;
    const { dims } = pane.image.grid;
    pane.shown = mask ? new Uint8Array(dims[0] * dims[1] * dims[2]) : null;
    nv.drawBitmap = pane.shown;
    nv.drawTexture = nv.r8Tex(nv.drawTexture, nv.gl.TEXTURE7, mask ? [3, ...dims] : [3, 2, 2, 2], true);
    if (!mask) return;
    const all = { low: [0, 0, 0], high: dims.map((n) => n - 1) };
    follow(mask, pane.image.grid, pane.shown, all);
    upload(all);
  }

  /** Which point of the image is under which point of the canvas (CSS pixels), after a drawing. */
  function readTiles() {
    const { width, height } = canvas;
    pane.tiles = nv.screenSlices.map((slice, k) => {
      const [left, top, w, h] = slice.leftTopWidthHeight;
      const size = [w || width, h || height];
      const ratio = nv.uiData.dpr;
      const box = { plane: slice.axCorSag, left: left / ratio, top: top / ratio, width: size[0] / ratio, height: size[1] / ratio };
      if (slice.axCorSag > 2) return box;
      const at = (share) => nv.screenXY2TextureFrac(left + share * size[0], top + share * size[1], k, false);
      const [near, far] = [at(0.25), at(0.75)];
      const on = (share) => PLANES[box.plane].along.map((axis) => near[axis] + (far[axis] - near[axis]) * (share - 0.25) * 2);
      return { ...box, first: on(0), last: on(1) };
    });
  }

  return Object.assign(pane, {
    /** Shows an image with a mask and a layer of uncertainty; does only what changed. */
    show(image, mask, newLayer, layerOpacity) {
      const isOther = pane.image !== image;
      if (newLayer && newLayer.volume.opacity !== layerOpacity) {
        newLayer.volume.opacity = layerOpacity;
        revision = -1;
      }
      if (isOther || revision !== image.revision || layer !== newLayer) {
        nv.volumes = newLayer ? [image.volume, newLayer.volume] : [image.volume];
        nv.back = image.volume;
        nv.overlays = nv.volumes.slice(1);
        nv.updateGLVolume();
        pane.image = image;
        layer = newLayer;
        revision = image.revision;
      }
      if (isOther || pane.mask !== mask) showMask(mask);
    },
    title(text) {
      title.textContent = text;
      title.hidden = !text;
    },
    /** Colours, opacity and outline of the mask. `opacity` 0 to 1. */
    style({ entries, hidden, visible, opacity, outline }) {
      pane.visible = visible;
      pane.outline = visible && outline;
      // The clear inside of an outline must not be 0: NiiVue then draws no rim either.
      nv.drawOpacity = visible ? (outline ? 0.004 : opacity) : 0;
      nv.drawRimOpacity = pane.outline ? 1 : -1;
      if (!pane.image || (colored[0] === entries && colored[1] === hidden)) return;
      colored = [entries, hidden];
      nv.drawLut = { lut: lookup(entries, hidden), labels: [] };
      nv.refreshColormaps();
    },
    /** Takes over voxels of the mask that were painted. */
    refresh(voxels) {
      if (!pane.mask) return;
      const box = boxOf(voxels, pane.mask.grid.dims);
      if (!box) return;
      const inShown = boxInOther(box, pane.mask.grid, pane.image.grid);
      if (inShown.low.some((value, k) => value > inShown.high[k])) return;
      follow(pane.mask, pane.image.grid, pane.shown, inShown);
      upload(inShown);
    },
    /** Fits the canvases to the page. A `share` below 1 draws fewer pixels: for movement without a graphics processor. */
    resize(share = 1) {
      const full = Math.min(window.devicePixelRatio || 1, software ? 1 : 2);
      const sized = (one, ratio) => {
        const [width, height] = [element.clientWidth, element.clientHeight].map((size) => Math.max(1, Math.round(size * ratio)));
        if (one.width === width && one.height === height) return false;
        Object.assign(one, { width, height });
        return true;
      };
      if (sized(above, full)) marks.resized(full);
      if (!sized(canvas, full * share)) return;
      nv.uiData.dpr = full * share;
      nv.textSizePoints();
    },
    /** @param {{layout, plane, narrow, cursor, pan, azimuth, elevation, zoom3D}} view @param {boolean} fast leaves 3D as it was */
    draw(view, fast, overlay) {
      if (!pane.image) return;
      nv.customLayout = layoutOf(view.layout, view.plane, view.narrow);
      nv.scene.crosshairPos = pane.fracOfMm(view.cursor);
      nv.scene.pan2Dxyzmm = view.pan;
      nv.scene.renderAzimuth = view.azimuth;
      nv.scene.renderElevation = view.elevation;
      nv.scene.volScaleMultiplier = view.zoom3D;
      render.box = null;
      drawAll();
      readTiles();
      if (render.box && !fast) drawRenderNow();
      marks.draw(pane, overlay, pane.tiles.find((tile) => tile.plane === RENDER));
    },
    fracOfMm(mm) {
      return apply(inverse(pane.image.grid.affine), mm).map((value, k) => (value + 0.5) / pane.image.grid.dims[k]);
    },
    mmOfFrac(frac) {
      return apply(pane.image.grid.affine, frac.map((value, k) => value * pane.image.grid.dims[k] - 0.5));
    },
    /** The middle of a share in NiiVue's own mm: what its pan is measured in. */
    panMmOfFrac: (frac) => Array.from(nv.frac2mm(frac)).slice(0, 3),
    /** The value of the image at a voxel of its grid. */
    valueAt: (voxel) => nv.volumes[0].getValue(...voxel, nv.volumes[0].frame4D),
    clear() {
      nv.volumes = [];
      nv.back = null;
      nv.overlays = [];
      Object.assign(pane, { image: null, mask: null, shown: null, tiles: [] });
      layer = null;
      revision = -1;
      marks.forget();
    },
  });
}
