// Bundle the tests of the pure parts, and run them with Node's own runner.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = mkdtempSync(join(tmpdir(), "toril-frontend-"));
// What the modules under test look at when they are loaded.
const banner = `globalThis.document ??= { documentElement: { dataset: {} }, baseURI: "http://x/" };
globalThis.location ??= new URL("http://x/");
globalThis.navigator ??= { language: process.env.TORIL_LANGUAGE ?? "en" };`;
try {
  await build({
    absWorkingDir: here,
    entryPoints: readdirSync(join(here, "test")).map((file) => join("test", file)),
    outdir: target, outExtension: { ".js": ".mjs" }, bundle: true, format: "esm", platform: "node", target: "node20",
    jsx: "automatic", jsxImportSource: "preact", banner: { js: banner }, logLevel: "warning",
  });
  const files = readdirSync(target).map((file) => join(target, file));
  const { status } = spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit", env: { ...process.env, TZ: "UTC" } });
  process.exitCode = status ?? 1;
} finally {
  rmSync(target, { recursive: true });
}
