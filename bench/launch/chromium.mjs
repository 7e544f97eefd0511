/**
 * @file The same in headless Chromium: what a launch costs the host, or with --soak what many runs do to memory.
 *
 * node chromium.mjs PACKAGE RUNTIME.mjs [ROUNDS]                       NODE_PATH leads to "playwright-core"
 * node chromium.mjs --soak PACKAGE RUNTIME.mjs RUNS EXTENT[,EXTENT...]
 *
 * SwiftShader stands in for a GPU unless CHROMIUM_FLAGS says otherwise; CHROMIUM names another browser.
 */
import { readFile } from "node:fs/promises";
import { startChromium } from "../../tests/chromium.mjs";
import { serveFiles } from "../files.mjs";
import { describeLaunches } from "./measure.mjs";

const soaking = process.argv[2] === "--soak";
const [folder, runtime, rounds = "40", extents = "1"] = process.argv.slice(soaking ? 3 : 2);

const PAGE = `<!doctype html><title>launches</title><script type="module">
import { loadModel } from "./runtime.mjs";
import { makeBound, makeRun, measureCalls, measureLaunches } from "./here/measure.mjs";
import { soak } from "./here/soak.mjs";
window.measure = async (rounds) => {
  const model = await loadModel("package/", { cache: false });
  // Chromium's clock has steps of 5 us in a page that is isolated: several runs at a time.
  const { device, name } = model;
  const run = makeRun(model);
  const result = await measureLaunches({ device, run, bound: await makeBound(model), rounds, inner: 10 });
  return { model: name, ...result, us_per_call: await measureCalls({ device, run }) };
};
window.soak = (runs, extents) => soak({
  loadModel, location: "package/", options: { cache: false }, runs, extents,
  measure: window.measureMemory, // the driver's, which sees the processes
});
window.ready = true;
</script>`;

/** A function that gives the page's heap after collecting garbage, and the resident memory of the processes behind it. */
async function memoryOf(browser, page) {
  const inPage = await page.context().newCDPSession(page);
  const inBrowser = await browser.newBrowserCDPSession();
  return async () => {
    for (let i = 0; i < 2; i++) await inPage.send("HeapProfiler.collectGarbage");
    const { usedSize } = await inPage.send("Runtime.getHeapUsage");
    const { processInfo } = await inBrowser.send("SystemInfo.getProcessInfo");
    const resident = {};
    for (const { type, id } of processInfo) {
      const status = await readFile(`/proc/${id}/status`, "utf8").catch(() => "");
      const bytes = 1024 * Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0);
      if (type === "GPU" || type === "renderer") resident[type] = (resident[type] ?? 0) + bytes;
    }
    return { heap: usedSize, ...resident };
  };
}

const server = await serveFiles({
  page: PAGE, files: { "runtime.mjs": runtime, package: folder, here: import.meta.dirname },
});
const browser = await startChromium({ flags: ["--enable-precise-memory-info"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(String(error)));
  page.setDefaultTimeout(0);
  await page.exposeFunction("measureMemory", await memoryOf(browser, page));
  await page.goto(server.address);
  await page.waitForFunction("window.ready");
  const result = soaking
    ? await page.evaluate(([runs, list]) => window.soak(runs, list), [Number(rounds), extents.split(",").map(Number)])
    : await page.evaluate((count) => window.measure(count), Number(rounds));
  if (!soaking) console.error(describeLaunches(result));
  console.log(JSON.stringify({ runtime: `Chromium ${browser.version()}`, ...result }));
} finally {
  await browser.close();
  server.close();
}
