// Build the dashboard's pages into src/toril/dashboard/static: hashed assets, index.html, licences.
import { build } from "esbuild";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "../src/toril/dashboard/static");

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx", theme: "src/theme.ts" },
  outdir: join(target, "assets"),
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  splitting: true,
  chunkNames: "[name]-[hash]",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".woff2": "file" },
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

const files = Object.keys(metafile.outputs).map((path) => basename(path));
const find = (start, end) => files.find((file) => file.startsWith(start) && file.endsWith(end));

// The server writes the address under which it is mounted in place of __BASE__.
writeFileSync(
  join(target, "index.html"),
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<base href="__BASE__">
<title>toril</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20' fill='none' stroke='%23c98a1b' stroke-width='2' stroke-linecap='round'%3E%3Cpath d='M2 3c0 5 4 7 8 7s8-2 8-7M10 10v7M7 17h6'/%3E%3C/svg%3E">
<script src="assets/${find("theme-", ".js")}"></script>
<link rel="preload" href="assets/${find("geist-latin-wght", ".woff2")}" as="font" type="font/woff2" crossorigin>
<link rel="stylesheet" href="assets/${find("app-", ".css")}">
<script type="module" src="assets/${find("app-", ".js")}"></script>
</head>
<body><div id="app"></div><noscript>The toril dashboard needs JavaScript. The same data is at api/v1/.</noscript></body>
</html>
`,
);

const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const bundled = [...Object.keys(dependencies).filter((name) => name !== "esbuild"), "@preact/signals-core"];
const licences = bundled.sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
});
writeFileSync(join(target, "LICENSES.txt"), licences.join(`\n${"=".repeat(72)}\n\n`));
