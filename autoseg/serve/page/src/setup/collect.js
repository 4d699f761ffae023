const PEEKED = 64; // files whose first bytes are looked at: a study may have thousands

/** All entries of a folder: `readEntries` gives at most 100 at a time. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const inside = await entriesOf(entry);
  return (await Promise.all(inside.map(filesOf))).flat();
}

/**
 * The files of a drop, with those of folders. To be called within the event: its items are gone after it.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  if (entries.some((entry) => !entry)) return tidy([...transfer.files]);
  return tidy((await Promise.all(entries.map(filesOf))).flat());
}

/** Without hidden files (`.DS_Store`), in the order of their names, `2` before `10`. */
export function tidy(files) {
  const path = (file) => file.webkitRelativePath || file.name;
  return files.filter((file) => !file.name.startsWith("."))
    .sort((a, b) => path(a).localeCompare(path(b), "en", { numeric: true }));
}

const textAt = (bytes, start, length) => String.fromCharCode(...bytes.subarray(start, start + length));

/** What the first bytes of a file say that it is. */
async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, 352).arrayBuffer());
  if (textAt(bytes, 128, 4) === "DICM") return "dicom";
  if (textAt(bytes, 0, 2) === "PK") return "zip";
  if (textAt(bytes, 0, 4) === "NRRD" || /^(ObjectType|NDims)/.test(textAt(bytes, 0, 10))) return "image";
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return "image"; // gzip: what is inside is seen by the service
  if (/^(n\+|ni)[12]/.test(textAt(bytes, 344, 3)) || /^n\+2/.test(textAt(bytes, 4, 3))) return "image";
  return /\.(dcm|ima)$/i.test(file.name) ? "dicom" : "other";
}

/**
 * What was dropped: a DICOM study, or an image per channel. Files that are no images are named in `strange`.
 * @param {File[]} files
 * @returns {Promise<{kind: "study"|"images", files: File[], strange: File[]}>}
 */
export async function recognised(files) {
  const kinds = await Promise.all(files.slice(0, PEEKED).map(kindOf));
  if (kinds.includes("dicom") || kinds.includes("zip")) return { kind: "study", files, strange: [] };
  const strange = files.filter((file, index) => kinds[index] === "other");
  return { kind: "images", files: files.filter((file) => !strange.includes(file)), strange };
}
