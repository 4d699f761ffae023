// What is drawn above the planes: distances and the ring of the brush.
import { apply, distance, inverse, spacing } from "./geometry.js";
import { PLANES, pointOf, RENDER } from "./tiles.js";

const LINE = "#ffd75e";
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

function write(pen, text, place, color) {
  pen.font = "600 13px system-ui, sans-serif";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = HALO;
  pen.fillStyle = color;
  pen.strokeText(text, ...place);
  pen.fillText(text, ...place);
}

/** @param {HTMLCanvasElement} above */
export function createMarks(above) {
  const pen = above.getContext("2d");
  let drawn = ""; // what is on the canvas: it is not drawn again when nothing changed

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

  /** The canvas in the size of its pane. */
  function resize(ratio) {
    const [width, height] = [above.clientWidth, above.clientHeight].map((size) => Math.max(1, Math.round(size * ratio)));
    if (above.width !== width || above.height !== height) Object.assign(above, { width, height });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, above.width, above.height);
  }

  function clear() {
    drawn = "";
    above.hidden = true;
  }

  return {
    clear,
    /** @param {{measures, cursor, ring}} overlay @param {number} ratio pixels of the screen per CSS pixel */
    draw(pane, { measures, cursor, ring }, ratio) {
      const planes = pane.tiles.filter(({ plane }) => plane !== RENDER);
      const shownRing = ring?.pane === pane ? ring : null;
      const distances = planes.map((tile) =>
        measures.filter((measure) => isInSlice(measure, tile.plane, pane.image.grid, cursor)));
      if (!shownRing && !distances.flat().length) {
        clear(); // a canvas that is hidden costs nothing
        return;
      }
      const key = JSON.stringify([distances, shownRing && [shownRing.x, shownRing.y, shownRing.radius, shownRing.color], planes, ratio]);
      if (key === drawn) return;
      drawn = key;
      above.hidden = false;
      resize(ratio);
      planes.forEach((tile, k) => {
        pen.save();
        pen.beginPath();
        pen.rect(tile.left, tile.top, tile.width, tile.height);
        pen.clip();
        for (const { from, to } of distances[k]) {
          const ends = [from, to].map((mm) => pointOf(tile, pane.fracOfMm(mm)));
          drawDistance(pen, ...ends, millimetres(distance(from, to)));
        }
        if (shownRing?.tile.plane === tile.plane) drawRing(pane, { ...shownRing, tile });
        pen.restore();
      });
    },
  };
}
