// Windows: which values are black and which are white.

const CT = [
  ["soft", "Soft tissue", 40, 400],
  ["lung", "Lung", -600, 1500],
  ["bone", "Bone", 400, 1800],
  ["brain", "Brain", 40, 80],
  ["liver", "Liver", 60, 160],
  ["mediastinum", "Mediastinum", 50, 350],
];

/** "ct", "pet" or "other" of a modality's name. */
export function kindOf(modality = "") {
  const name = modality.trim().toLowerCase();
  if (name === "ct" || name.includes("computed tomography")) return "ct";
  return /^(pt|pet|suv)\b|positron/.test(name) ? "pet" : "other";
}

/** The unit of the image's values, as far as the modality says it. */
export function unitOf(modality) {
  return kindOf(modality) === "ct" ? "HU" : "";
}

/** The `share` quantile of sorted numbers. */
function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

/** At most about `limit` finite values of an image, sorted, in its units. */
export function sample(values, slope = 1, inter = 0, limit = 100000) {
  const stride = Math.max(1, Math.floor(values.length / limit));
  const taken = [];
  for (let k = 0; k < values.length; k += stride) {
    const value = values[k] * slope + inter;
    if (Number.isFinite(value)) taken.push(value);
  }
  return Float64Array.from(taken).sort();
}

/** A window that is never empty. */
export function widened(min, max) {
  if (max > min) return { min, max };
  const half = Math.max(0.5, Math.abs(min) * 1e-3);
  return { min: min - half, max: min + half };
}

/**
 * The windows for an image. The first is the one to begin with.
 * @param {string} modality
 * @param {Float64Array} sorted as `sample` gives it
 * @returns {{key: string, name: string, min: number, max: number, inverted: boolean}[]}
 */
export function presets(modality, sorted) {
  const data = sorted.length ? sorted : Float64Array.of(0, 1);
  const kind = kindOf(modality);
  const range = (key, name, low, high) => ({
    key,
    name,
    ...widened(quantile(data, low), quantile(data, high)),
    inverted: false,
  });
  const general = [
    range("p99", "1 to 99 %", 0.01, 0.99),
    range("p995", "0.5 to 99.5 %", 0.005, 0.995),
    range("full", "Full range", 0, 1),
  ];
  if (kind === "ct")
    return [
      ...CT.map(([key, name, level, width]) => ({
        key,
        name,
        min: level - width / 2,
        max: level + width / 2,
        inverted: false,
      })),
      general[2],
    ];
  if (kind === "pet") return [{ key: "suv", name: "SUV 0 to 10, inverted", min: 0, max: 10, inverted: true }, ...general];
  return general;
}

/**
 * A window after a drag: to the right makes it wider, upwards makes the image brighter.
 * @param {{min: number, max: number}} from
 * @param {number} right share of the picture's width
 * @param {number} up share of the picture's height
 */
export function dragged({ min, max }, right, up) {
  const width = (max - min) * 2 ** (2 * right);
  const level = (min + max) / 2 - (max - min) * up;
  return widened(level - width / 2, level + width / 2);
}

/** A number with about four figures, for people. */
export function figure(value) {
  if (!Number.isFinite(value)) return "no value";
  return Number(value.toPrecision(4)).toString().replace("-", "\u2212");
}
