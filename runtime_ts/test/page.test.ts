/** @file The page of `tvm-webgpu serve`, clicked on in headless Chromium under the headers of a strict site. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import { writeNpy } from "../src/cli/npy.ts";
import { openPage, sharedBrowser } from "./browser.ts";
import { ISOLATED, serve, STRICT_CSP, type Site } from "./serve.ts";
import { alteredPackage, cleanUp, FIXTURE, packageWithVariants, ROOT, type Change } from "./support.ts";

// A camera that shows a pattern, and nobody who must allow it.
const browser = sharedBrowser(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]);
after(cleanUp);

const sites: Site[] = [];
after(() => { for (const site of sites) site.close(); });

/** The page with a package; `prepare` runs in the page before its own script. */
async function open(folder: string, prepare = ""): Promise<{ page: Page; problems: string[] }> {
  const roots = { "/": join(ROOT, "dist/page"), "/model/": folder };
  const site = await serve(roots, { "content-security-policy": STRICT_CSP, ...ISOLATED });
  sites.push(site);
  const opened = await openPage(await browser(), site.url, prepare);
  await opened.page.locator("#main, #failure").and(opened.page.locator(":visible")).first().waitFor();
  return opened;
}

async function run(page: Page, name = "Run"): Promise<void> {
  await page.getByRole("button", { name, exact: true }).click();
  await page.locator("#run:enabled").waitFor();
}

/** The fixture with another shape of the entry that gives back what it is given. */
const pictures = (...shape: (number | string)[]): Change => (manifest: {
  entries: { name: string; inputs: object[]; outputs: object[] }[];
}) => {
  const port = { name: "x", dtype: "float32", shape };
  manifest.entries = manifest.entries.map((entry) =>
    entry.name === "identity" ? { ...entry, inputs: [port], outputs: [port] } : entry);
};

describe("a package of several entries", () => {
  let page: Page;
  let problems: string[];
  before(async () => { ({ page, problems } = await open(FIXTURE)); });
  after(() => page.close());

  test("is described", async () => {
    assert.equal(await page.locator("h1").innerText(), "fixture");
    assert.match(await page.locator("#facts").innerText(), /Size\s+[\d.]+ kB\s+Kernels\s+1\s+Ready in/);
    await page.locator(".about summary").click();
    assert.match(await page.locator("#about").innerText(), /main\s+x: float32\[n, 4\]\s+y: float32\[n, 4\]/);
  });

  test("runs, and shows scores and the time", async () => {
    await page.getByLabel("Values of x").selectOption("my own numbers");
    await page.getByLabel("Numbers for x").fill("1, 2, 3, 4");
    await page.getByLabel("n", { exact: true }).fill("2");
    await run(page);
    const y = page.locator("#results .field").first();
    await y.getByLabel("How to show y").selectOption("table");
    assert.match(await y.innerText(), /from 2 to 8, mean 5[^]*0\s+2\s+4\s+6\s+8\s+1\s+2\s+4\s+6\s+8/);
    await y.getByLabel("How to show y").selectOption("scores");
    assert.deepEqual(await y.locator(".bars .name").allInnerTexts(), ["3", "2", "1", "0"]);
    await y.locator("input[type=file]").setInputFiles({
      name: "labels.txt", mimeType: "text/plain", buffer: Buffer.from("ant\nbee\ncat\ndog\n"),
    });
    await y.getByText("dog").waitFor();
    assert.match(await page.locator("#timing").innerText(), /\d (ms|s)\s+the last run/);
  });

  test("saves a result as the .npy file that it takes back", async () => {
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save .npy" }).first().click();
    const saved = new Uint8Array(await readFile(await (await saving).path()));
    assert.deepEqual(saved, writeNpy({
      dtype: "float32", shape: [2, 4], data: Float32Array.of(2, 4, 6, 8, 2, 4, 6, 8),
    }));
    await page.getByLabel("Values of x").selectOption("a .npy file");
    await page.locator("#inputs input[type=file]").setInputFiles({
      name: "three.npy", mimeType: "", buffer: Buffer.from(writeNpy({
        dtype: "float32", shape: [3, 4], data: new Float32Array(12),
      })),
    });
    await page.getByText("three.npy: float32[3, 4]").waitFor();
    await run(page);
    assert.equal(await page.getByLabel("n", { exact: true }).inputValue(), "3");
    assert.match(await page.locator("#results .type").first().innerText(), /float32\[3, 4\]/);
  });

  test("times many runs, and profiles the kernels", async () => {
    await run(page, "Time 20 runs");
    assert.match(await page.locator("#timing").innerText(), /median of 20 runs[^]*First run[^]*Fastest[^]*Slowest/);
    assert.equal(await page.locator(".spark i").count(), 20);
    await run(page, "Profile the kernels");
    assert.match(await page.locator("#profiled table").innerText(), /add_bias/);
    assert.equal(await page.locator(".strip i").count(), 2);
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save the trace" }).click();
    const trace = JSON.parse(await readFile(await (await saving).path(), "utf8")) as { traceEvents: unknown[] };
    assert.ok(trace.traceEvents.length >= 2);
  });

  test("passes objects from entry to entry", async () => {
    await page.getByRole("button", { name: "step" }).click();
    await run(page);
    await page.getByText('There is no object for "counter" yet').waitFor();
    await page.getByRole("button", { name: "start" }).click();
    await run(page);
    await page.getByText("kept for the inputs").waitFor();
    await page.getByRole("button", { name: "step" }).click();
    await page.getByLabel("by").fill("5");
    await run(page);
    assert.match(await page.locator("#results").innerText(), /int32\[2\][^]*7\s+5/);
  });

  test("shows an error of the model where it was asked for", async () => {
    await page.getByRole("button", { name: "refuse" }).click();
    await run(page);
    assert.equal(await page.locator("#problem").innerText(), "InputError: this entry refuses everything");
  });

  test("does all that without an error of the page's own", () => { assert.deepEqual(problems, []); });
});

/** The colour in the middle of the result's canvas. */
const middle = (page: Page): Promise<number[]> => page.evaluate(`(() => {
  const canvas = document.querySelector("#results canvas");
  const { data } = canvas.getContext("2d").getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1);
  return Array.from(data);
})()`);

describe("pictures", () => {
  let page: Page;
  let problems: string[];
  before(async () => {
    ({ page, problems } = await open(await alteredPackage(pictures("batch", 3, 32, 32))));
    await page.getByRole("button", { name: "identity" }).click();
    await page.getByLabel("Values", { exact: true }).selectOption("0 to 1");
  });
  after(() => page.close());

  test("come from a file, and a picture comes out", async () => {
    // A picture made by the page: 64 x 48, of one colour.
    const png = await page.evaluate<string>(`(() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
      const context = canvas.getContext("2d");
      context.fillStyle = "rgb(200, 100, 50)";
      context.fillRect(0, 0, 64, 48);
      return canvas.toDataURL("image/png").split(",")[1];
    })()`);
    const buffer = Buffer.from(png, "base64");
    await page.locator('input[accept="image/*"]').setInputFiles({ name: "a.png", mimeType: "image/png", buffer });
    await page.getByText("64 x 48 pixels").waitFor();
    await run(page);
    const colour = await middle(page);
    const near = [200, 100, 50, 255].every((level, i) => Math.abs(colour[i]! - level) <= 2);
    assert.ok(near, String(colour));
  });

  test("that are none are refused", async () => {
    const buffer = Buffer.from("no picture");
    await page.locator('input[accept="image/*"]').setInputFiles({ name: "a.png", mimeType: "image/png", buffer });
    await page.getByText("no picture that the browser reads").waitFor();
  });

  test("come from the camera, frame by frame", async () => {
    await page.getByRole("button", { name: "Camera" }).click();
    await page.getByRole("button", { name: "Run on every frame" }).click();
    await page.locator("#results canvas").waitFor();
    await page.getByRole("button", { name: "Run on every frame" }).click();
    await page.locator("#run:enabled").waitFor();
    assert.match(await page.locator("#inputs").innerText(), /camera, \d+ x \d+/);
  });

  test("give way to numbers", async () => {
    await page.getByLabel("How to give it").selectOption("as numbers");
    await page.getByLabel("Values of x").selectOption("ones");
    await run(page);
    assert.deepEqual(await middle(page), [255, 255, 255, 255]);
    assert.deepEqual(problems, []);
  });
});

test("small grey pictures are drawn", async () => {
  const { page, problems } = await open(await alteredPackage(pictures(1, 1, 28, 28)));
  await page.getByRole("button", { name: "identity" }).click();
  await run(page);
  assert.deepEqual(await middle(page), [0, 0, 0, 255]);
  const { x, y, width, height } = (await page.getByLabel("Draw here").boundingBox())!;
  await page.mouse.move(x + width / 4, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + (width * 3) / 4, y + height / 2, { steps: 4 });
  await page.mouse.up();
  await run(page);
  assert.ok((await middle(page))[0]! > 200);
  assert.deepEqual(problems, []);
  await page.close();
});

test("a lost device is told, and the next run works", async () => {
  // The page's own device, kept as it is made.
  const { page } = await open(FIXTURE, `
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      return globalThis.lent = await request.apply(this, args);
    };
  `);
  await run(page);
  await page.evaluate("lent.destroy()");
  await page.waitForTimeout(200);
  await run(page);
  if (await page.locator("#problem").isVisible()) await run(page);
  assert.equal(await page.locator("#problem").isVisible(), false);
  await page.close();
});

test("another variant of the package can be chosen", async () => {
  const { page, problems } = await open(await packageWithVariants({ fast: {}, needy: { features: ["warp-drive"] } }));
  const variant = page.getByLabel("Variant");
  assert.deepEqual(await variant.locator("option").allInnerTexts(), ["baseline", "fast", "needy"]);
  assert.equal(await variant.inputValue(), "fast");
  await variant.selectOption("baseline");
  await page.waitForURL(/variant=baseline/);
  await page.locator("#main:visible").waitFor();
  assert.equal(await page.getByLabel("Variant").inputValue(), "baseline");
  await run(page);
  assert.deepEqual(problems, []);
  await page.close();
});

const NO_GPU = 'Object.defineProperty(Navigator.prototype, "gpu", { get: () => undefined });';

/** What is changed in the package, and what the page says then. */
const FAILURES: Readonly<Record<string, readonly [Change, string, RegExp, string?]>> = {
  "no WebGPU": [() => undefined, "This browser has no WebGPU here", /Chrome or Edge 113/, NO_GPU],
  "a damaged package": [
    (m) => { m.files[2].sha256 = "0".repeat(64); }, "The package can't be read", /PackageError: .*params-0\.bin/],
  "a device that lacks something": [
    (m) => { m.requires.features = ["warp-drive"]; }, "This device can't run the package",
    /UnsupportedError: .*"warp-drive"/],
};

for (const [what, [change, title, advice, prepare]] of Object.entries(FAILURES)) {
  test(`${what} is explained`, async () => {
    const { page } = await open(await alteredPackage(change, { rehash: false }), prepare);
    assert.equal(await page.locator("#failure h2").innerText(), title);
    assert.match(await page.locator("#failure").innerText(), advice);
    await page.close();
  });
}
