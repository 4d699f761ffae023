// The picture in 3D. NiiVue draws it with WebGL on a canvas that is not on the page; what is shown is a copy.
import { Niivue, SLICE_TYPE } from "@niivue/niivue";
import { el } from "../lib/dom.js";
import { lookup } from "./labels.js";
import { follow } from "./paint.js";
import { isSame } from "./picture.js";

const OPTIONS = {
  interactive: false, isResizeCanvas: false, dragAndDropEnabled: false, logLevel: "silent", loadingText: "",
  show3Dcrosshair: true, isAntiAlias: false, isOrientationTextVisible: false, backColor: [0.047, 0.059, 0.075, 1],
  crosshairColor: [0.36, 0.76, 0.81, 0.8], crosshairWidth: 2, crosshairWidthUnit: "percent",
  forceDevicePixelRatio: -1, // the size of the canvas is set here
};
const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;
const LEAST_PX = 32;

/** Whether the browser draws without a graphics processor: then as few pixels as possible are drawn. */
function isSoftware(gl) {
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return SOFTWARE.test(String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER)));
}

/** WebGL is made ready by `start`; until then this costs nothing. */
export function createRender() {
  const canvas = document.createElement("canvas");
  document.createElement("div").append(canvas); // NiiVue asks for the parent
  const picture = el("canvas", { class: "nv-sheet" });
  const copy = picture.getContext("2d", { willReadFrequently: true });
  const nv = new Niivue(OPTIONS); // from here on NiiVue's reader of files is silent, too
  const drawAll = nv.drawScene.bind(nv);
  nv.drawScene = () => ""; // it is drawn when the viewer says so
  let target = 60; // ms
  let share = 1; // of the pixels along each side: so few that a picture takes about `target`
  let took = Infinity;
  let volumes = [];
  let masks = [];
  let colored = [];
  let drawn = [];

  function showVolumes({ image, layer }, layerOpacity) {
    const key = [image, image.revision, layer, layer && layerOpacity];
    if (isSame(key, volumes)) return;
    volumes = key;
    const { volume, window } = image;
    Object.assign(volume, {
      cal_min: window.min, cal_max: window.max, colormapInvert: window.inverted, frame4D: image.offset / image.frameLength,
    });
    if (layer) layer.volume.opacity = layerOpacity;
    nv.volumes = layer ? [volume, layer.volume] : [volume];
    nv.back = volume;
    nv.overlays = nv.volumes.slice(1);
    nv.updateGLVolume();
  }

  function showMask({ image, mask }, entries, hidden) {
    if (mask && !isSame([entries, hidden], colored)) {
      colored = [entries, hidden];
      nv.drawLut = { lut: lookup(entries, hidden), labels: [] };
      nv.refreshColormaps();
    }
    const key = [image.grid, mask, mask?.revision];
    if (isSame(key, masks)) return;
    masks = key;
    const { gl } = nv;
    const { dims } = image.grid;
    nv.drawTexture = nv.r8Tex(nv.drawTexture, gl.TEXTURE7, mask ? [3, ...dims] : [3, 2, 2, 2], true);
    nv.drawBitmap = mask ? follow(mask, image.grid) : null;
    if (!mask) return;
    gl.activeTexture(gl.TEXTURE7);
    gl.bindTexture(gl.TEXTURE_3D, nv.drawTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, ...dims, gl.RED, gl.UNSIGNED_BYTE, nv.drawBitmap);
  }

  return {
    /** Makes WebGL ready, which takes a second or more without a graphics processor. */
    async start() {
      await nv.attachToCanvas(canvas);
      nv.setSliceType(SLICE_TYPE.RENDER);
      if (isSoftware(nv.gl)) [target, share] = [400, 0.2];
    },
    /** The last picture; it may be smaller than its tile. */
    picture,
    /** How long the last picture took, in ms. */
    took: () => took,
    /**
     * Draws for a tile of `width` by `height` CSS pixels.
     * @param {{image, mask, layer}} parts mask and layer may be null
     * @param {{frac: number[], azimuth, elevation, zoom, layerOpacity, visible, entries, hidden}} look `frac`: where the cursor is
     */
    draw(width, height, parts, look) {
      const { image, mask, layer } = parts;
      const { frac, ...rest } = look;
      const key = [image, image.revision, mask, mask?.revision, layer, ...frac, ...Object.values(rest), width, height];
      if (isSame(key, drawn)) return;
      drawn = key;
      const [wide, high] = [width, height].map((length) => Math.max(LEAST_PX, Math.floor(length * share)));
      Object.assign(canvas, { width: wide, height: high });
      showVolumes(parts, look.layerOpacity);
      showMask(parts, look.entries, look.hidden);
      nv.scene.crosshairPos = frac;
      nv.scene.renderAzimuth = look.azimuth;
      nv.scene.renderElevation = look.elevation;
      nv.scene.volScaleMultiplier = look.zoom;
      nv.drawOpacity = look.visible ? 1 : 0; // surfaces are solid; how clear they are in the planes is another matter
      const started = performance.now();
      drawAll();
      Object.assign(picture, { width: wide, height: high });
      copy.drawImage(canvas, 0, 0);
      copy.getImageData(0, 0, 1, 1); // waits for the picture, so that its time can be measured
      took = performance.now() - started;
      const factor = Math.sqrt(target / Math.max(1, took));
      share = Math.min(1, Math.max(0.1, share * Math.min(2, Math.max(0.4, factor))));
    },
    /** Lets go of the images. */
    clear() {
      Object.assign(nv, { volumes: [], back: null, overlays: [], drawBitmap: null });
      volumes = [];
      masks = [];
      drawn = [];
    },
  };
}
