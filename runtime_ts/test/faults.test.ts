/** @file What goes wrong outside: lost devices and rebuilt models, memory that runs out, no WebGPU. */
import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { loadModel, type CpuTensor, type ModelObject } from "../src/index.ts";
import { openPage, sharedBrowser } from "./browser.ts";
import { serve, type Site } from "./serve.ts";
import { adapter, alteredPackage, cleanUp, FIXTURE, gpu, rejects, ROOT } from "./support.ts";

after(cleanUp);

const X = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] };
const Y = Float32Array.of(2, 4, 6, 8);

describe("a lost device", () => {
  test("rejects the run under way; the next one runs on a new device, with the same answer", async () => {
    const model = await loadModel(FIXTURE, { gpu });
    for (let time = 0; time < 3; time++) {
      assert.deepEqual((await model.run({ x: X }))["y"]!.data, Y);
      const lost = model.device;
      const under = model.run({ x: X });
      under.catch(() => undefined);
      await Promise.resolve();
      lost.destroy();
      await assert.rejects(under, rejects("DeviceLostError", /destroyed.*the next run makes a new one/));
      assert.deepEqual((await model.run({ x: X }))["y"]!.data, Y);
      assert.notEqual(model.device, lost);
    }
    model.dispose();
  });

  test("rejects all runs under way, and is made anew once for those that follow", async () => {
    const model = await loadModel(FIXTURE, { gpu });
    const under = Array.from({ length: 6 }, () => model.run({ x: X }));
    const outcomes = Promise.allSettled(under);
    await Promise.resolve();
    model.device.destroy();
    for (const outcome of await outcomes) {
      if (outcome.status === "rejected") assert.equal((outcome.reason as Error).name, "DeviceLostError");
      else assert.deepEqual((outcome.value["y"] as CpuTensor).data, Y);
    }
    assert.ok((await outcomes).some(({ status }) => status === "rejected"));
    const later = await Promise.all(Array.from({ length: 6 }, () => model.run({ x: X })));
    for (const { y } of later) assert.deepEqual(y!.data, Y);
    model.dispose();
  });

  test("takes its tensors and objects along, and says so", async () => {
    const model = await loadModel(FIXTURE, { gpu });
    const { counter } = await model.run<{ counter: ModelObject }>({}, { entry: "start" });
    const { y } = await model.run({ x: X }, { outputs: "gpu" });
    model.device.destroy();
    await model.device.lost;
    const gone = /lost|gone|disposed/;
    await assert.rejects(model.run({ counter, by: 1 }, { entry: "step" }), (error: Error) => gone.test(error.message));
    await assert.rejects(model.run({ x: y! }), (error: Error) => gone.test(error.message));
    assert.deepEqual((await model.run({ x: X }))["y"]!.data, Y);
    counter.dispose();
    y!.dispose();
    model.dispose();
  });

  test("can be disposed of", async () => {
    const model = await loadModel(FIXTURE, { gpu });
    model.device.destroy();
    await model.device.lost;
    model.dispose();
    await assert.rejects(model.run({ x: X }), rejects("DisposedError", /disposed/));
  });

  test("while loading rejects the load", async () => {
    const device = await (await adapter()).requestDevice();
    device.destroy();
    await assert.rejects(loadModel(FIXTURE, { device }), rejects("DeviceLostError", /destroyed/));
  });
});

/** A device whose allocations fail from now on where `fails` says so, as real ones do when memory is full. */
async function smallDevice(fails: (size: number) => boolean): Promise<GPUDevice> {
  const device = await (await adapter()).requestDevice();
  const create = device.createBuffer.bind(device);
  const scopes: GPUErrorFilter[] = [];
  let failed = false;
  const push = device.pushErrorScope.bind(device);
  const pop = device.popErrorScope.bind(device);
  return new Proxy(device, {
    get(target, name) {
      if (name === "createBuffer") {
        return (descriptor: GPUBufferDescriptor) => {
          if (fails(descriptor.size)) failed = true;
          return create(descriptor);
        };
      }
      if (name === "pushErrorScope") return (filter: GPUErrorFilter) => { scopes.push(filter); push(filter); };
      if (name === "popErrorScope") {
        return async () => {
          const tells = scopes.pop() === "out-of-memory" && failed;
          if (tells) failed = false;
          const error = await pop();
          return tells ? { message: "not enough memory left" } : error;
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
}

describe("memory that runs out", () => {
  test("for a parameter", async () => {
    const device = await smallDevice((size) => size === 272);
    await assert.rejects(loadModel(FIXTURE, { device }), rejects("OutOfMemoryError", /params-0\.bin.*out of memory/));
    device.destroy();
  });

  test("in a run, never gives a wrong result, and the model goes on", async () => {
    let full = false;
    const device = await smallDevice((size) => full && size > 1 << 16);
    const model = await loadModel(FIXTURE, { device });
    const large = { data: new Float32Array(1 << 16), shape: [1 << 14, 4] };
    full = true;
    await assert.rejects(model.run({ x: large }), rejects("OutOfMemoryError", /running "main".*out of memory/));
    assert.deepEqual((await model.run({ x: X }))["y"]!.data, Y);
    full = false;
    assert.equal((await model.run({ x: large }))["y"]!.data[3], 4);
    model.dispose();
    device.destroy();
  });
});

describe("without WebGPU", () => {
  test("there is an error with advice, and nothing is downloaded", async () => {
    const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
    const site = await serve({ "/": FIXTURE }, {});
    const loading = loadModel(site.url, { gpu: none });
    await assert.rejects(loading, rejects("UnsupportedError", /no graphics adapter: install/));
    assert.ok(site.asked.every((path) => path === "/manifest.json"));
    site.close();
  });

  test("a device that the adapter refuses is an error", async () => {
    const found = await adapter();
    const refusing = new Proxy(found, {
      get(target, name) {
        if (name === "requestDevice") return () => Promise.reject(new Error("not today"));
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? (value as () => unknown).bind(target) : value;
      },
    });
    const from = { requestAdapter: () => Promise.resolve(refusing) } as unknown as GPU;
    await assert.rejects(loadModel(FIXTURE, { gpu: from }), rejects("UnsupportedError", /gave no device: not today/));
  });
});

describe("in Chromium", () => {
  const browser = sharedBrowser();
  const open = async (folder = FIXTURE, other = FIXTURE): Promise<Site> => serve(
    { "/": join(ROOT, "test/site"), "/dist/": join(ROOT, "dist"), "/model/": folder, "/other/": other }, {});

  // Runs in the page: `tvm` is the runtime.
  const LOAD = `(async () => {
    globalThis.tvm ??= await import("/dist/tvm-webgpu.mjs");
    globalThis.model = await tvm.loadModel("/model/");
    return model.loading.variant;
  })()`;
  const RUN = `model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } })
    .then(({ y }) => [...y.data], (error) => error.name)`;

  test("a crashed GPU process rejects runs under way, and the next gives the same answer", async () => {
    const site = await open();
    const { page } = await openPage(await browser(), `${site.url}blank.html`);
    await page.evaluate(LOAD);
    assert.deepEqual(await page.evaluate(RUN), [...Y]);
    await page.evaluate(`(() => {
      globalThis.lost = model.device.lost;
      let stop = false;
      lost.then(() => { stop = true; });
      globalThis.under = (async () => {
        const found = new Set();
        while (!stop) for (const each of await Promise.all([${RUN}, ${RUN}])) found.add(String(each));
        return [...found].sort();
      })();
    })()`);
    const session = await (await browser()).newCDPSession(page);
    await session.send("Browser.crashGpuProcess" as never).catch(() => undefined);
    assert.equal(await page.evaluate("lost.then(({ reason }) => reason)"), "unknown");
    assert.deepEqual(await page.evaluate("under"), [String([...Y]), "DeviceLostError"]);
    assert.deepEqual(await page.evaluate(RUN), [...Y]);
    await page.close();
    site.close();
  });

  test("parameters that the driver has no memory for are an OutOfMemoryError; another model goes on", async (t) => {
    const bytes = 2 ** 30; // more than SwiftShader ever gives at a time, and less than its limits allow
    const large = await alteredPackage(({ files }: { files: { path: string; bytes: number }[] }, folder) => {
      const params = files.find(({ path }) => path === "params-0.bin")!;
      params.bytes = bytes;
      truncateSync(join(folder, params.path), bytes);
    }, { rehash: false });
    const site = await open(FIXTURE, large);
    const { page } = await openPage(await browser(), `${site.url}blank.html`);
    await page.evaluate(LOAD);
    if (await page.evaluate(`model.device.adapterInfo.architecture !== "swiftshader"`)) {
      t.skip("how much memory this driver gives is not known");
      return;
    }
    const message = await page.evaluate<string>(
      `tvm.loadModel("/other/").catch(({ name, message }) => name + ": " + message)`);
    assert.match(message, /^OutOfMemoryError: making room for params-0\.bin: .*OUT_OF_DEVICE_MEMORY/);
    assert.ok(!site.asked.includes("/other/params-0.bin"));
    assert.deepEqual(await page.evaluate(RUN), [...Y]);
    await page.evaluate(LOAD); // and so does the next
    assert.deepEqual(await page.evaluate(RUN), [...Y]);
    await page.close();
    site.close();
  });

  test("a page without WebGPU says what the user can do", async () => {
    const site = await open();
    const { page } = await openPage(await browser(), `${site.url}blank.html`);
    const message = await page.evaluate<string>(`(async () => {
      Object.defineProperty(navigator, "gpu", { value: undefined });
      const { loadModel } = await import("/dist/tvm-webgpu.mjs");
      return loadModel("/model/").catch(({ name, message }) => name + ": " + message);
    })()`);
    assert.match(message, /^UnsupportedError: this browser has no WebGPU: use a current Chrome/);
    await page.close();
    site.close();
  });

  test("a device that lacks a feature is told so before anything is downloaded", async () => {
    const site = await open(await alteredPackage((manifest) => { manifest.requires.features = ["warp-drive"]; }));
    const { page } = await openPage(await browser(), `${site.url}blank.html`);
    const message = await page.evaluate<string>(`(${LOAD}).catch(({ message }) => message)`);
    assert.match(message, /needs feature "warp-drive"/);
    assert.deepEqual(site.asked.filter((path) => path.startsWith("/model/")), ["/model/manifest.json"]);
    await page.close();
    site.close();
  });
});
