/** @file Kernels to begin with: the first results come from them, and tuned ones take their place between two runs. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { loadModel, type CpuTensor, type GpuTensor, type Model, type Progress } from "../src/index.ts";
import { adapter, altered, cleanUp, gpu, packageWithStart, rejects } from "./support.ts";
import { serve } from "./serve.ts";

after(cleanUp);

const X = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] };
const TUNED = [2, 4, 6, 8];
const FIRST = TUNED.map((value) => value + 100);

async function y(model: Model): Promise<number[]> {
  return [...(await model.run({ x: X }))["y"]!.data as Float32Array];
}

/** WebGPU whose tuned pipelines are made when `open` is called, or fail with what it is given. */
function slowGpu(): { gpu: GPU; devices: () => number; open: (error?: Error) => void } {
  let open: (error?: Error) => void = () => undefined;
  const opened = new Promise<Error | undefined>((resolve) => { open = resolve; });
  let devices = 0;
  const slow = (device: GPUDevice): GPUDevice => {
    let pipelines = 0;
    devices++;
    return altered(device, {
      createComputePipelineAsync: async (descriptor: GPUComputePipelineDescriptor) => {
        const error = pipelines++ > 0 ? await opened : undefined;
        if (error) throw error;
        return device.createComputePipelineAsync(descriptor);
      },
    });
  };
  const requestAdapter = async (options: GPURequestAdapterOptions): Promise<GPUAdapter> => {
    const adapter = (await gpu.requestAdapter(options))!;
    return altered(adapter, {
      requestDevice: async (descriptor: GPUDeviceDescriptor) => slow(await adapter.requestDevice(descriptor)),
    });
  };
  return { gpu: altered(gpu, { requestAdapter }), devices: () => devices, open: (error) => { open(error); } };
}

describe("a package with kernels to begin with", () => {
  let folder: string;
  before(async () => { folder = await packageWithStart(); });

  test("gives results before its tuned kernels are compiled, and then theirs", async () => {
    const { gpu, open } = slowGpu();
    const seen: Progress[] = [];
    const model = await loadModel(folder, { gpu, onProgress: (progress) => seen.push(progress) });
    assert.deepEqual(await y(model), FIRST);
    assert.deepEqual(seen.at(-1)!.phases.compile.done, seen.at(-1)!.phases.compile.total);
    open();
    assert.equal(await model.tuned, undefined);
    assert.deepEqual(await y(model), TUNED);
    assert.equal(model.memory().parameters, 272); // there once
    model.dispose();
  });

  test("leaves a processor that computes kernels to the first run before it compiles the tuned ones", async () => {
    const device = await (await adapter()).requestDevice();
    const order: string[] = [];
    const slow = altered(device, {
      adapterInfo: { isFallbackAdapter: true },
      createComputePipelineAsync: async (descriptor: GPUComputePipelineDescriptor) => {
        order.push("pipeline");
        return device.createComputePipelineAsync(descriptor);
      },
      createBuffer: (descriptor: GPUBufferDescriptor) => {
        const buffer = device.createBuffer(descriptor);
        const mapAsync = buffer.mapAsync.bind(buffer);
        buffer.mapAsync = async (...args) => {
          await new Promise((resolve) => setTimeout(resolve, 800));
          return mapAsync(...args);
        };
        return buffer;
      },
    });
    const model = await loadModel(folder, { device: slow, warmUp: false });
    assert.deepEqual(await y(model), FIRST);
    order.push("result");
    assert.equal(await model.tuned, undefined); // whether one runs or not
    assert.deepEqual(order, ["pipeline", "result", "pipeline"]);
    model.dispose();
    device.destroy();
  });

  test("tells the progress of the tuned ones, of which no parameters come again", async () => {
    const seen: Progress[] = [];
    const model = await loadModel(folder, { gpu, onTuning: (progress) => seen.push(progress) });
    assert.equal(await model.tuned, undefined);
    const { phases } = seen.at(-1)!;
    for (const [name, { done, total }] of Object.entries(phases)) {
      assert.equal(done, total, name);
      assert.ok(seen.every((each) => each.phases[name as keyof typeof phases].total === total), name);
    }
    assert.equal(phases.upload.total, 0);
    assert.ok(phases.compile.total > 0 && phases.download.total > 0);
    model.dispose();
  });

  test("warms up both, so that no run makes what the next one has, nor computes for it", async () => {
    const fixed = await packageWithStart(2);
    const { gpu, open } = slowGpu();
    const model = await loadModel(fixed, { gpu });
    const x = { data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), shape: [2, 4] };
    const run = async (first: number): Promise<void> => {
      const { bindGroups, dispatches } = model.counters;
      assert.ok(bindGroups > 0 && dispatches > 0);
      assert.equal((await model.run({ x }))["y"]!.data[0], first);
      assert.equal(model.counters.bindGroups, bindGroups);
    };
    await run(FIRST[0]!);
    open();
    assert.equal(await model.tuned, undefined);
    await run(TUNED[0]!);
    model.dispose();
  });

  test("fetches every file once", async () => {
    const site = await serve({ "/": folder }, {});
    const model = await loadModel(site.url, { gpu });
    await model.tuned;
    const names = ["kernels.wgsl", "manifest-start.json", "manifest.json", "params-0.bin", "start-kernels.wgsl"];
    assert.deepEqual([...new Set(site.asked)].sort(), [...names, "model.wasm"].map((name) => `/${name}`).sort());
    assert.equal(site.asked.filter((path) => path === "/params-0.bin").length, 1);
    model.dispose();
    site.close();
  });

  test("waits for the tuned ones if the caller wants it", async () => {
    const model = await loadModel(folder, { gpu, start: false });
    assert.deepEqual(await y(model), TUNED);
    assert.equal(await model.tuned, undefined);
    model.dispose();
  });

  test("runs while they change, each run on the one or the other", async () => {
    const { gpu, open } = slowGpu();
    const model = await loadModel(folder, { gpu });
    const results: Promise<number[]>[] = [];
    let tuned = false;
    const isTuned = (): boolean => tuned;
    void model.tuned.then(() => { tuned = true; });
    for (let i = 0; !isTuned(); i++) {
      results.push(y(model));
      if (i === 10) open();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const found = await Promise.all([...results, y(model)]);
    const first = found.findIndex(([value]) => value === TUNED[0]);
    assert.ok(first > 5);
    found.forEach((result, i) => { assert.deepEqual(result, i < first ? FIRST : TUNED); });
    model.dispose();
  });

  test("keeps results on the GPU that callers hold, which tuned kernels take as inputs", async () => {
    const { gpu, open } = slowGpu();
    const model = await loadModel(folder, { gpu });
    const { y: held } = await model.run({ x: X }, { outputs: "gpu" });
    open();
    await model.tuned;
    const again = (await model.run({ x: held! }))["y"] as CpuTensor;
    assert.deepEqual([...again.data as Float32Array], FIRST.map((value, i) => value + i + 1));
    held!.dispose();
    assert.deepEqual(await y(model), TUNED);
    model.dispose();
    held!.dispose();
  });

  test("binds to the tuned kernels", async () => {
    const { gpu, open } = slowGpu();
    const model = await loadModel(folder, { gpu });
    const usage = 0x80 | 0x4 | 0x8; // STORAGE, COPY_SRC, COPY_DST
    const buffer = model.device.createBuffer({ size: 16, usage });
    const x: GpuTensor = { buffer, dtype: "float32", shape: [1, 4] };
    const binding = model.bind({ x });
    open();
    const bound = await binding;
    assert.equal(await model.tuned, undefined);
    bound.run();
    bound.dispose();
    model.dispose();
  });

  test("stays with them where tuned ones can't be made, and says why", async () => {
    const { gpu, open } = slowGpu();
    const model = await loadModel(folder, { gpu });
    open(new Error("the compiler gave up"));
    assert.match((await model.tuned)!, /add_bias.*the compiler gave up/);
    assert.deepEqual(await y(model), FIRST);
    model.dispose();
  });

  test("can be disposed of before", async () => {
    const { gpu, open } = slowGpu();
    const model = await loadModel(folder, { gpu });
    const under = model.run({ x: X });
    under.catch(() => undefined);
    model.dispose();
    assert.match((await model.tuned)!, /abort|destroyed/);
    open();
    await assert.rejects(model.run({ x: X }), rejects("DisposedError", /disposed/));
  });

  test("begins anew on a new device when one is lost before, and is tuned there", async () => {
    const { gpu, devices, open } = slowGpu();
    const model = await loadModel(folder, { gpu });
    assert.deepEqual(await y(model), FIRST);
    model.device.destroy();
    assert.match((await model.tuned)!, /lost|destroyed/);
    assert.deepEqual(await y(model), FIRST);
    open();
    assert.equal(await model.tuned, undefined);
    assert.deepEqual(await y(model), TUNED);
    model.device.destroy();
    await model.device.lost;
    assert.deepEqual(await y(model), TUNED);
    assert.equal(devices(), 3);
    model.dispose();
  });
});

test("a damaged manifest of kernels to begin with is refused", async () => {
  const folder = await packageWithStart();
  const path = join(folder, "manifest-start.json");
  await writeFile(path, (await readFile(path, "utf8")).replace("fixture", "fixturf"));
  await assert.rejects(loadModel(folder, { gpu }), rejects("PackageError", /manifest-start\.json/));
});
