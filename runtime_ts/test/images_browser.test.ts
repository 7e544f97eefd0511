/** @file Images as a page has them, in Chromium: bitmaps, canvases, elements and video frames give the same tensor. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { Entry } from "../src/index.ts";
import { openPage, sharedBrowser } from "./browser.ts";
import { alteredPackage, cleanUp, ROOT } from "./support.ts";

/** Chromium's own camera, a moving picture, without asking the user. */
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/** Draws four coloured quarters of 8 x 8 pixels, and hands them over in every form that browsers know. */
const SCRIPT = `
import { loadModel } from "./runtime.mjs";
const model = await loadModel("package/", { cache: false });
const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
const context = canvas.getContext("2d");
["rgb(255,0,0)", "rgb(0,255,0)", "rgb(0,0,255)", "rgb(51,102,153)"].forEach((color, i) => {
  context.fillStyle = color;
  context.fillRect(8 * (i % 2), 8 * (i >> 1), 8, 8);
});
const offscreen = new OffscreenCanvas(16, 16);
offscreen.getContext("2d").drawImage(canvas, 0, 0);
const element = new Image();
element.src = canvas.toDataURL();
await element.decode();
const played = async (stream) => {
  const video = Object.assign(document.createElement("video"), { muted: true, srcObject: stream });
  document.body.append(video);
  await video.play();
  return video;
};
setInterval(() => context.drawImage(offscreen, 0, 0), 20); // a stream has a frame for each change
const sources = {
  canvas, offscreen, element,
  bitmap: await createImageBitmap(canvas),
  frame: new VideoFrame(canvas, { timestamp: 0 }),
  data: context.getImageData(0, 0, 16, 16),
  video: await played(canvas.captureStream(30)),
};
const results = {};
for (const [name, image] of Object.entries(sources)) {
  const { x } = await model.run({ x: { image, antialias: false } }, { entry: "identity" });
  results[name] = Array.from(x.data, (value) => Math.round(255 * value));
}
sources.bitmap.close();
const again = model.run({ x: sources.bitmap }, { entry: "identity" });
const closed = await again.catch((error) => error.name + ": " + error.message);

// A frame of the camera's moving picture, and the same one as a bitmap.
const camera = await played(await navigator.mediaDevices.getUserMedia({ video: { width: 64, height: 64 } }));
const frame = new VideoFrame(camera);
const seen = [];
for (const image of [frame, await createImageBitmap(frame), camera]) {
  const { x } = await model.run({ x: { image, fit: "stretch" } }, { entry: "identity" });
  seen.push(Array.from(x.data, (value) => Math.round(255 * value)));
}
window.outcome = { results, closed, seen };
`;

const browser = sharedBrowser(CAMERA);

test("every kind of image that a page has gives the same tensor", async () => {
  const folder = await alteredPackage((manifest) => {
    const entry = (manifest.entries as Entry[]).find(({ name }) => name === "identity")!;
    for (const port of [entry.inputs[0]!, entry.outputs[0]!]) Object.assign(port, { shape: [1, 3, 2, 2] });
  });
  const types: Record<string, string> = { mjs: "text/javascript", wasm: "application/wasm", json: "application/json" };
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").slice(1);
    const reply = path === "" ? Promise.resolve("<!doctype html><script type=module src=page.mjs></script>")
      : path === "favicon.ico" ? Promise.resolve("")
      : path === "page.mjs" ? Promise.resolve(SCRIPT)
      : path === "runtime.mjs" ? readFile(join(ROOT, "dist/tvm-webgpu.mjs"))
      : readFile(join(folder, path.replace("package/", "")));
    reply.then((body) => {
      response.writeHead(200, { "content-type": types[path.split(".").at(-1)!] ?? "text/html" }).end(body);
    }, () => response.writeHead(404).end());
  }).listen(0, "127.0.0.1");
  try {
    const { page, problems } = await openPage(
      await browser(), `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction("window.outcome", undefined, { timeout: 60_000 }).catch((error: unknown) => {
      throw new Error(`${String(error)} ${problems.join()}`);
    });
    type Outcome = { results: Record<string, number[]>; closed: string; seen: number[][] };
    const { results, closed, seen } = await page.evaluate<Outcome>("window.outcome");
    const wanted = [255, 0, 0, 51, 0, 255, 0, 102, 0, 0, 255, 153];
    for (const [name, values] of Object.entries(results)) {
      const off = values.map((value, i) => Math.abs(value - wanted[i]!));
      const most = ["frame", "video"].includes(name) ? 6 : 1; // they may have been YUV
      assert.ok(Math.max(...off) <= most, `${name}: ${values.join()}`);
    }
    assert.deepEqual(Object.keys(results), ["canvas", "offscreen", "element", "bitmap", "frame", "data", "video"]);
    const [fromFrame, fromBitmap, live] = seen as [number[], number[], number[]];
    assert.ok(Math.max(...fromFrame) - Math.min(...fromFrame) > 50, `one colour: ${fromFrame.join()}`);
    const off = fromFrame.map((value, i) => Math.abs(value - fromBitmap[i]!));
    assert.ok(Math.max(...off) <= 6, `${fromFrame.join()} is not ${fromBitmap.join()}`);
    assert.ok(Math.max(...live) > 50, `black: ${live.join()}`);
    assert.match(closed, /^InputError: .*no pixels/);
  } finally {
    server.close();
    await cleanUp();
  }
});
