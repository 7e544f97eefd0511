/**
 * @file Cold and warm starts of a package in headless Chromium: nothing kept, then the page anew, then the browser anew.
 *
 * node bench/warm.mjs PACKAGE RUNTIME.mjs [--rounds=3] [--mbit=20] [--latency=40] [--options='{"warmUp":false}'] [--json=FILE]
 *
 * NODE_PATH or the working folder leads to "playwright-core". A round has a profile of its own; its first load fills the
 * caches. Without --mbit the network is the machine's own loopback, with it a line of so many Mbit/s and ms. SwiftShader
 * stands in for a GPU unless CHROMIUM_FLAGS says otherwise; CHROMIUM names another browser. Milliseconds, medians.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { startChromium } from "../tests/chromium.mjs";

const { values: flags, positionals: [folder, runtime] } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "3" }, mbit: { type: "string" }, latency: { type: "string", default: "40" },
    options: { type: "string", default: "{}" }, json: { type: "string" },
  },
});

/** Loads, runs eleven times on the same random numbers, and says when what was done. */
const PAGE = `<!doctype html><title>starts</title><script type="module">
import { loadModel } from "./runtime.mjs";
window.start = async (options) => {
  const begin = performance.now();
  const now = () => performance.now() - begin;
  const phases = {};
  const model = await loadModel("package/", { ...options, onProgress: (progress) => {
    for (const [name, { done, total }] of Object.entries(progress.phases)) if (done === total) phases[name] ??= now();
  } });
  const loaded = now();
  const entry = model.entries.find(({ name }) => name === "main") ?? model.entries[0];
  const random = (length) => Float32Array.from({ length }, (_, i) => ((i * 2654435761) % 1000) / 1000);
  const inputs = Object.fromEntries(entry.inputs.map(({ name, shape, dtype }) => {
    const extents = shape.map((extent) => (typeof extent === "number" ? extent : 1));
    const length = extents.reduce((a, b) => a * b, 1);
    const data = { float32: random, int64: (n) => new BigInt64Array(n), int32: (n) => new Int32Array(n) }[dtype](length);
    return [name, { data, shape: extents }];
  }));
  const runs = [];
  const run = async () => {
    const from = performance.now();
    await model.run(inputs, { entry: entry.name });
    runs.push(performance.now() - from);
  };
  await run();
  const firstResult = now();
  const pending = await Promise.race([model.tuned.then(() => false), new Promise((r) => setTimeout(r, 0, true))]);
  for (let i = 1; i <= 10; i++) await run();
  let tuned = {};
  if (pending) {
    await model.tuned;
    tuned = { tuned: now() };
    const before = runs.length;
    for (let i = 0; i <= 10; i++) await run();
    tuned.tunedFirstRun = runs[before];
    tuned.tunedTenthRun = runs[before + 10];
  }
  const kept = await model.loading.kept;
  const { fetchedBytes, cachedBytes, ms, variant } = model.loading;
  model.dispose();
  return {
    variant, kept, fetchedBytes, cachedBytes, ...ms, ...Object.fromEntries(Object.entries(phases).map(([k, v]) => ["phase " + k, v])),
    load: loaded, firstResult, firstRun: runs[0], tenthRun: runs[9], ...tuned,
  };
};
window.ready = true;
</script>`;

const TYPES = { mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname.slice(1);
  const isolated = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
  try {
    const body = path === "" ? PAGE
      : await readFile(path === "runtime.mjs" ? resolve(runtime) : join(folder, path.replace("package/", "")));
    const type = path === "" ? "text/html" : (TYPES[path.split(".").at(-1)] ?? "application/octet-stream");
    response.writeHead(200, {
      ...isolated, "content-type": type, "content-length": Buffer.byteLength(body), "cache-control": "no-cache",
    });
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, "127.0.0.1");
await new Promise((listening) => server.once("listening", listening));

async function withBrowser(profile, action) {
  const context = await startChromium({ profile });
  try {
    return await action(context);
  } finally {
    await context.close();
  }
}

async function start(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction("window.ready");
  if (flags.mbit !== undefined) {
    const line = await context.newCDPSession(page);
    const throughput = Number(flags.mbit) * 125_000;
    await line.send("Network.enable");
    await line.send("Network.emulateNetworkConditions", {
      offline: false, latency: Number(flags.latency), downloadThroughput: throughput, uploadThroughput: throughput,
    });
  }
  const result = await page.evaluate((options) => window.start(options), JSON.parse(flags.options));
  await page.close();
  return result;
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const kinds = { cold: [], "page anew": [], "browser anew": [] };
try {
  for (let round = 0; round < Number(flags.rounds); round++) {
    const profile = await mkdtemp(join(tmpdir(), "warm-"));
    try {
      await withBrowser(profile, async (context) => {
        kinds.cold.push(await start(context));
        kinds["page anew"].push(await start(context));
      });
      kinds["browser anew"].push(await withBrowser(profile, start));
    } finally {
      await rm(profile, { recursive: true, force: true, maxRetries: 3 });
    }
  }
} finally {
  server.closeAllConnections();
  server.close();
}
const names = [...new Set(Object.values(kinds).flat().flatMap(Object.keys))];
const numeric = names.filter((name) => Object.values(kinds).flat().every((each) => typeof (each[name] ?? 0) === "number"));
const medians = Object.fromEntries(Object.entries(kinds).map(([kind, all]) => [
  kind, Object.fromEntries(numeric.map((name) => [name, Math.round(10 * median(all.map((each) => each[name] ?? 0))) / 10]))]));
const width = Math.max(...numeric.map((name) => name.length));
console.log(["".padEnd(width), ...Object.keys(kinds).map((kind) => kind.padStart(13))].join(""));
for (const name of numeric) {
  console.log([name.padEnd(width), ...Object.values(medians).map((each) => String(each[name]).padStart(13))].join(""));
}
if (flags.json) await writeFile(flags.json, JSON.stringify({ flags, kinds, medians }, undefined, 1));
