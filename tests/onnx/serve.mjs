/**
 * @file Folders on stdin, one a line: each holds a package and job.json (see run.mjs); answers each with a line of JSON.
 * `node serve.mjs BUNDLE node` runs them in this process with Dawn, `chromium` in pages of one headless browser.
 */
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { startChromium } from "../chromium.mjs";
import { runJob } from "./run.mjs";

const [bundle, host] = process.argv.slice(2);
const require = createRequire(join(bundle, "node_cli.mjs"));

async function node() {
  const runtime = await import(pathToFileURL(join(bundle, "tvm-webgpu.mjs")).href);
  const gpu = require("webgpu").create([]); // must stay referenced, or Dawn aborts
  globalThis.keep = gpu;
  return async (folder, runs) => {
    const read = async (file) => new Uint8Array(new Uint8Array(await readFile(join(folder, file)))); // an own buffer
    const write = (file, bytes) => writeFile(join(folder, file), bytes);
    return runJob(runtime, join(folder, "package"), runs, { read, write }, { gpu });
  };
}

const PAGE = `<!doctype html><title>case</title><script type="module">
import * as runtime from "/tvm-webgpu.mjs";
import { runJob } from "/run.mjs";
const read = async (file) => new Uint8Array(await (await fetch("/job/" + file)).arrayBuffer());
const write = (file, body) => fetch("/job/" + file, { method: "PUT", body });
globalThis.run = (runs) => runJob(runtime, "/job/package/", runs, { read, write });
</script>`;

/** Serves a page, the runtime and the folder of the case at hand to a browser; each case has a page of its own. */
async function chromium() {
  let job = "";
  const files = { "/tvm-webgpu.mjs": join(bundle, "tvm-webgpu.mjs"), "/run.mjs": fileURLToPath(new URL("run.mjs", import.meta.url)) };
  const answer = async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    if (path === "/") return response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    const file = files[path] ?? join(job, /^\/job\/((?:package\/)?\w[\w.-]*)$/.exec(path)[1]);
    if (request.method === "PUT") {
      await writeFile(file, Buffer.concat(await request.toArray()));
      return response.end();
    }
    const type = file.endsWith("js") ? "text/javascript" : "application/octet-stream";
    return response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(await readFile(file));
  };
  const server = createServer((...pair) => answer(...pair).catch(() => pair[1].writeHead(404).end()));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await startChromium({ from: join(bundle, "node_cli.mjs") });
  browser.on("disconnected", () => process.exit(1));
  const context = await browser.newContext();
  return async (folder, runs) => {
    job = folder;
    const page = await context.newPage();
    try {
      const crash = new Promise((resolve) => { page.on("crash", () => resolve({ error: "the page crashed" })); });
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      await page.waitForFunction("globalThis.run");
      return await Promise.race([page.evaluate(`run(${JSON.stringify(runs)})`), crash]);
    } finally {
      await page.close();
    }
  };
}

const run = await { node, chromium }[host]();
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
const folders = createInterface({ input: process.stdin });
folders.on("close", () => process.exit(0)); // whoever asked is gone, even if the case at hand never ends
for await (const folder of folders) {
  const { runs } = JSON.parse(await readFile(join(folder, "job.json"), "utf8"));
  const answer = await run(folder, runs).catch((error) => ({ error: `${error.name}: ${error.message}` }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
