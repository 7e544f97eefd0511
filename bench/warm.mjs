/**
 * @file Cold and warm starts of a package: nothing kept, then what the runtime and the driver keep.
 *
 * node bench/warm.mjs PACKAGE RUNTIME.mjs [--runtime=chromium|node] [--rounds=3] [--mbit=20] [--latency=40]
 *     [--options='{"warmUp":false}'] [--json=FILE]
 *
 * In Chromium (headless; NODE_PATH or the working folder leads to "playwright-core") the page anew, then the browser anew;
 * SwiftShader stands in for a GPU unless CHROMIUM_FLAGS says otherwise, CHROMIUM names another browser. In Node (npm package
 * "webgpu") the process anew. Each round has a folder of its own for all that is kept; its first load fills it. Without
 * --mbit the network is the machine's own loopback, with it a line of so many Mbit/s and ms. Milliseconds, medians.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";
import { startChromium } from "../tests/chromium.mjs";
import { serveFiles } from "./files.mjs";

const { values: flags, positionals: [folder, runtime] } = parseArgs({
  allowPositionals: true,
  options: {
    runtime: { type: "string", default: "chromium" }, rounds: { type: "string", default: "3" },
    mbit: { type: "string" }, latency: { type: "string", default: "40" },
    options: { type: "string", default: "{}" }, json: { type: "string" },
  },
});
const starts = join(import.meta.dirname, "starts");

const PAGE = `<!doctype html><title>starts</title><script type="module">
import { loadModel } from "./runtime.mjs";
import { start } from "./starts/start.mjs";
window.start = (options) => start(loadModel, "package/", options);
</script>`;

async function startPage(context, address) {
  const page = await context.newPage();
  page.setDefaultTimeout(0);
  await page.goto(address);
  await page.waitForFunction("window.start");
  const result = await page.evaluate((options) => window.start(options), JSON.parse(flags.options));
  await page.close();
  return result;
}

/** What tells drivers, NVIDIA's and Mesa's, to keep their shaders in a round's folder. */
async function driverOf(kept) {
  const shaders = join(kept, "shaders");
  await mkdir(shaders, { recursive: true });
  return { MESA_SHADER_CACHE_DIR: shaders, __GL_SHADER_DISK_CACHE: "1", __GL_SHADER_DISK_CACHE_PATH: shaders };
}

async function withBrowser(kept, action) {
  const context = await startChromium({ profile: join(kept, "profile"), env: await driverOf(kept) });
  try {
    return await action(context);
  } finally {
    await context.close();
  }
}

async function startProcess(kept, address) {
  const env = { ...process.env, ...await driverOf(kept) };
  const args = [join(starts, "node.mjs"), resolve(runtime), `${address}package/`, join(kept, "files"), flags.options];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  const result = JSON.parse(stdout);
  if (result.error) throw new Error(result.error);
  return result;
}

/** A round's starts by kind, each with the same folder for what is kept. */
const ROUNDS = {
  chromium: async (kept, address) => ({
    ...await withBrowser(kept, async (context) => ({
      cold: await startPage(context, address), "page anew": await startPage(context, address),
    })),
    "browser anew": await withBrowser(kept, (context) => startPage(context, address)),
  }),
  node: async (kept, address) => ({
    cold: await startProcess(kept, address), "process anew": await startProcess(kept, address),
  }),
};

const server = await serveFiles({
  page: PAGE, files: { "runtime.mjs": runtime, package: folder, starts },
  mbit: flags.mbit && Number(flags.mbit), latency: Number(flags.latency),
});
const rounds = [];
try {
  for (let round = 0; round < Number(flags.rounds); round++) {
    const kept = await mkdtemp(join(tmpdir(), "warm-"));
    try {
      rounds.push(await ROUNDS[flags.runtime](kept, server.address));
    } finally {
      await rm(kept, { recursive: true, force: true, maxRetries: 3 });
    }
  }
} finally {
  server.close();
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const kinds = Object.keys(rounds[0]);
const names = Object.keys(rounds[0].cold).filter((name) => typeof rounds[0].cold[name] === "number");
const medians = Object.fromEntries(kinds.map((kind) => [kind, Object.fromEntries(names.map((name) => (
  [name, Math.round(10 * median(rounds.map((round) => round[kind][name] ?? 0))) / 10])))]));
const width = Math.max(...names.map((name) => name.length));
console.log(["".padEnd(width), ...kinds.map((kind) => kind.padStart(13)), "  of cold"].join(""));
for (const name of names) {
  const values = kinds.map((kind) => medians[kind][name]);
  console.log([name.padEnd(width), ...values.map((each) => String(each).padStart(13)),
    ...values.slice(1).map((each) => (each / values[0]).toFixed(2).padStart(9))].join(""));
}
if (flags.json) await writeFile(flags.json, JSON.stringify({ flags, rounds, medians }, undefined, 1));
