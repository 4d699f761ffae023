// Builds the pages of the service into dist/: `npm ci && npm run build`.
// Scripts and styles get the hash of their contents in their names, so that browsers may keep them for ever.
import { build } from "esbuild";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

// A page is a file of HTML that names its script as {{script}} and its style sheet as {{style}}.
const PAGES = [
  { html: "src/index.html", script: "src/main.js", style: "src/main.css", output: "index.html" },
  { html: "src/datasets/index.html", script: "src/datasets/main.js", style: "src/datasets/main.css", output: "datasets.html" },
].filter((page) => existsSync(page.html));

/** The licence texts of all packages whose code is in `inputs` (paths as esbuild gives them). */
function licences(inputs) {
  const folders = new Set();
  for (const path of inputs) {
    const inside = path.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//);
    if (inside) folders.add(inside[1]);
  }
  return [...folders].sort().map((folder) => {
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const names = readdirSync(folder).filter((name) => /^(licen[cs]e|notice|copying)/i.test(name)).sort();
    const files = names.map((name) => join(folder, name));
    // A package without the text of its licence has it in licences/; without both the build fails here.
    if (!files.length) files.push(join("licences", `${about.name.replaceAll("/", "__")}.txt`));
    const words = files.map((file) => readFileSync(file, "utf8").trim());
    return [`${about.name} ${about.version} (${about.license ?? "licence not stated"})`, ...words].join("\n\n");
  });
}

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");
const result = await build({
  entryPoints: PAGES.flatMap((page) => [page.script, page.style]),
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  metafile: true,
  legalComments: "none", // their texts are in LICENSES.txt
  loader: { ".svg": "dataurl", ".png": "dataurl", ".woff2": "dataurl" },
  outdir: "dist",
  outbase: "src",
  entryNames: "[dir]/[name]-[hash]",
  chunkNames: "part-[hash]",
  assetNames: "[name]-[hash]",
  logLevel: "warning",
});

const outputs = Object.entries(result.metafile.outputs);
/** The name in dist/ of what was built from `source`. */
function built(source) {
  const [path] = outputs.find(([, about]) => about.entryPoint === source);
  return path.replace(/^dist\//, "");
}

for (const page of PAGES) {
  const html = readFileSync(page.html, "utf8")
    .replaceAll("{{script}}", `static/${built(page.script)}`)
    .replaceAll("{{style}}", `static/${built(page.style)}`);
  writeFileSync(join("dist", page.output), html);
}
const rule = `\n\n${"=".repeat(100)}\n\n`;
const texts = licences(Object.keys(result.metafile.inputs));
writeFileSync("dist/LICENSES.txt", ["The pages of autoseg contain these packages.", ...texts].join(rule) + "\n");
const bytes = outputs.reduce((sum, [, about]) => sum + about.bytes, 0);
console.log(`${PAGES.map((page) => basename(page.output)).join(", ")}: ${(bytes / 1e6).toFixed(1)} MB in dist/`);
