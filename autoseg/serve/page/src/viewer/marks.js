// What lies above an image: lines through the cursor, the sides, distances, the ring of the brush, and the last 3D picture while
// the planes move.
import { apply, distance, inverse, spacing } from "./geometry.js";
import { PLANES, pointOf } from "./tiles.js";

const LINE = "#ffd75e";
const CROSS = "rgb(92 194 207 / 80%)";
const LETTER = "#e6ebf2";
const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]]; // of each axis: where it begins, where it ends
const HALO = "rgb(8 11 15 / 85%)";

/** A length for people. */
export function millimetres(value) {
  return `${value.toFixed(value < 10 ? 2 : 1)} mm`;
}

/** Whether a distance lies in the slice of a plane that is shown. */
export function isInSlice(measure, plane, grid, cursor) {
  if (measure.plane !== plane) return false;
  const { across } = PLANES[plane];
  const [a, b] = [measure.from, cursor].map((mm) => apply(inverse(grid.affine), mm)[across]);
  return Math.round(a) === Math.round(b);
}

function drawDistance(pen, from, to, text) {
  pen.lineCap = "round";
  for (const [color, width] of [
    [HALO, 4],
    [LINE, 2],
  ]) {
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    for (const end of [from, to]) {
      pen.beginPath();
      pen.arc(...end, 3.5, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
  write(pen, text, [to[0] + 8, to[1] - 8], LINE);
}

/** The sides of a plane that its left and its top show, of an image that is turned to right, front, up. */
export function sidesOf(tile) {
  return PLANES[tile.plane].along.map((axis, k) => SIDES[axis][tile.first[k] > tile.last[k] ? 1 : 0]);
}

function write(pen, text, place, color) {
  pen.font = "600 13px system-ui, sans-serif";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = HALO;
  pen.fillStyle = color;
  pen.strokeText(text, ...place);
  pen.fillText(text, ...place);
}

/** Two thin lines through the cursor, and the names of the left and the upper side. */
function drawPlane(pen, tile, frac) {
  const [x, y] = pointOf(tile, frac);
  pen.strokeStyle = CROSS;
  pen.lineWidth = 1.25;
  pen.beginPath();
  pen.moveTo(x, tile.top);
  pen.lineTo(x, tile.top + tile.height);
  pen.moveTo(tile.left, y);
  pen.lineTo(tile.left + tile.width, y);
  pen.stroke();
  const [left, top] = sidesOf(tile);
  write(pen, left, [tile.left + 6, tile.top + tile.height / 2], LETTER);
  write(pen, top, [tile.left + tile.width / 2, tile.top + 16], LETTER);
}

/**
 * @param {HTMLCanvasElement} above
 * @param {HTMLCanvasElement} below the canvas that NiiVue draws on
 */
export function createMarks(above, below) {
  const pen = above.getContext("2d");
  const kept = document.createElement("canvas");
  let hasKept = false;
  let drawn = ""; // what is on the canvas: it is not drawn again when nothing changed
  let pictures = 0;

  function drawRing(pane, { tile, x, y, radius, color }) {
    const steps = spacing(pane.image.grid.affine);
    const perMm = PLANES[tile.plane].along.map((axis, k) => {
      const size = k === 0 ? tile.width : tile.height;
      return size / (Math.abs(tile.last[k] - tile.first[k]) * pane.image.grid.dims[axis] * steps[axis]);
    });
    for (const [stroke, width] of [
      [HALO, 3],
      [color, 1.5],
    ]) {
      pen.strokeStyle = stroke;
      pen.lineWidth = width;
      pen.beginPath();
      pen.ellipse(x, y, Math.max(2, radius * perMm[0]), Math.max(2, radius * perMm[1]), 0, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  return {
    /** After the canvas got another size. @param {number} ratio its pixels per CSS pixel, in which all is drawn */
    resized(ratio) {
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      drawn = "";
    },
    /** Keeps the 3D picture that was just drawn in a box of the canvas below. It may be smaller than its tile. */
    keepRender([left, top, width, height]) {
      kept.width = Math.max(1, Math.round(width));
      kept.height = Math.max(1, Math.round(height));
      const copy = kept.getContext("2d", { willReadFrequently: true });
      copy.drawImage(below, left, top, width, height, 0, 0, kept.width, kept.height);
      copy.getImageData(0, 0, 1, 1); // waits for the picture, so that its time can be measured
      hasKept = true;
      pictures += 1;
    },
    forget() {
      hasKept = false;
      drawn = "";
      pen.clearRect(0, 0, above.width, above.height);
    },
    /** @param {{measures, cursor, ring}} overlay @param {Object} [render] the tile of the 3D picture */
    draw(pane, { measures, cursor, ring }, render) {
      const shownRing = ring?.pane === pane ? [ring.x, ring.y, ring.radius, ring.color] : null;
      const key = JSON.stringify([measures, cursor, shownRing, pane.tiles, pictures]);
      if (key === drawn) return;
      drawn = key;
      pen.clearRect(0, 0, above.width, above.height);
      if (render && hasKept) pen.drawImage(kept, render.left, render.top, render.width, render.height);
      for (const tile of pane.tiles.filter(({ plane }) => plane < 3)) {
        pen.save();
        pen.beginPath();
        pen.rect(tile.left, tile.top, tile.width, tile.height);
        pen.clip();
        drawPlane(pen, tile, pane.fracOfMm(cursor));
        for (const measure of measures.filter((one) => isInSlice(one, tile.plane, pane.image.grid, cursor))) {
          const [from, to] = [measure.from, measure.to].map((mm) => pointOf(tile, pane.fracOfMm(mm)));
          drawDistance(pen, from, to, millimetres(distance(measure.from, measure.to)));
        }
        if (ring?.pane === pane && ring.tile.plane === tile.plane) drawRing(pane, { ...ring, tile });
        pen.restore();
      }
    },
  };
}
