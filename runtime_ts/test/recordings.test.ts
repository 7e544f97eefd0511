/** @file Calls that come again are repeated without the model's code: whatever else runs, every result stays right. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { loadModel, type Bound, type GpuResult, type GpuTensor, type Model } from "../src/index.ts";
import { adapter, cleanUp, FIXTURE, gpu, rejects } from "./support.ts";

const USAGE_ALL = 0x80 | 0x8 | 0x4;

/** What the entries make of elements counting up from `first`. */
function biased(first: number, n: number, times: number): Float32Array {
  return Float32Array.from({ length: n * 4 }, (_, i) => first + i + times * ((i % 4) + 1));
}

describe("calls that come again", () => {
  let device: GPUDevice;
  let model: Model;
  const calls: string[] = [];
  before(async () => {
    device = await (await adapter()).requestDevice();
    model = await loadModel(FIXTURE, { device, warmUp: false }); // nothing has come before
    for (const name of ["createBuffer", "createBindGroup", "pushErrorScope"] as const) {
      const own = (device[name] as (arg: unknown) => unknown).bind(device);
      Object.assign(device, { [name]: (arg: unknown) => {
        calls.push(name);
        return own(arg);
      } });
    }
  });
  after(async () => {
    model.dispose();
    device.destroy();
    await cleanUp();
  });

  function tensor(n: number, first: number): GpuTensor {
    const buffer = device.createBuffer({ size: n * 16, usage: USAGE_ALL });
    fill(buffer, n, first);
    return { buffer, dtype: "float32", shape: [n, 4] };
  }

  function fill(buffer: GPUBuffer, n: number, first: number): void {
    device.queue.writeBuffer(buffer, 0, Float32Array.from({ length: n * 4 }, (_, i) => first + i));
  }

  function drop(results: Record<string, GpuResult>): void {
    for (const each of Object.values(results)) each.dispose();
  }

  async function contents({ buffer, shape, offset = 0 }: GpuTensor): Promise<Float32Array> {
    const size = shape[0]! * shape[1]! * 4;
    const staging = device.createBuffer({ size, usage: 0x1 | 0x8 });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(1);
    const found = new Float32Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return found;
  }

  test("make no buffer, bind group or error scope, and compute anew", async () => {
    const x = tensor(3, 0);
    for (let first = 0; first < 5; first++) {
      fill(x.buffer, 3, first);
      if (first === 2) calls.length = 0;
      const { y, z } = await model.run({ x }, { outputs: "gpu" });
      if (first === 4) assert.deepEqual(calls, []);
      assert.deepEqual(await contents(z!), biased(first, 3, 2));
      if (first === 4) assert.deepEqual(await contents(y!), biased(first, 3, 1));
      y!.dispose();
      z!.dispose();
      if (first !== 4) calls.length = 0;
    }
  });

  test("are right in any order, with results kept for a while, bindings, and memory given back", async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const inputs = [1, 3, 64, 200].map((n) => ({ n, x: tensor(n, 0) }));
    const kept: { result: GpuResult; want: Float32Array }[] = [];
    const bound: { binding: Bound; n: number; x: GpuTensor }[] = [];
    for (const { n, x } of inputs.slice(0, 3)) {
      bound.push({ n, x, binding: await model.bind({ x, times: 3 }, { entry: "chain" }) });
    }
    const check = async ({ result, want }: (typeof kept)[number]): Promise<void> => {
      assert.deepEqual(await contents(result), want);
      result.dispose();
    };
    for (let round = 0; round < 400; round++) {
      const { n, x } = inputs[random(inputs.length)]!;
      const first = random(1000);
      fill(x.buffer, n, first);
      const kind = random(20);
      if (kind < 8) {
        const { y, z } = await model.run({ x }, { outputs: "gpu" });
        kept.push({ result: y!, want: biased(first, n, 1) }, { result: z!, want: biased(first, n, 2) });
      } else if (kind < 12) {
        const times = 1 + random(3);
        const { y } = await model.run({ x, times }, { entry: "chain", outputs: "gpu" });
        kept.push({ result: y!, want: biased(first, n, times) });
      } else if (kind < 15) {
        const { z } = await model.run({ x });
        assert.deepEqual(z!.data, biased(first, n, 2));
      } else if (kind < 19) {
        const { binding, x, n } = bound[random(bound.length)]!;
        fill(x.buffer, n, first);
        binding.run();
        assert.deepEqual(await contents(binding.outputs["y"]!), biased(first, n, 3));
      } else if (random(4) === 0) {
        model.trim();
      }
      while (kept.length > 6 || (kept.length > 0 && random(2) === 0)) {
        await check(kept.splice(random(kept.length), 1)[0]!);
      }
    }
    for (const each of kept) await check(each);
    for (const { binding } of bound) binding.dispose();
    model.trim();
    const { used, unused } = model.memory();
    assert.deepEqual([used, unused], [8192, 0]); // what the fixture itself goes on using
  });

  test("don't overtake those that were called before", async () => {
    const x = tensor(2, 0);
    for (let i = 0; i < 2; i++) drop(await model.run({ x }, { outputs: "gpu" }));
    const order: string[] = [];
    const fresh = model.run({ x: { data: new Float32Array(8), shape: [2, 4] }, times: 40 }, { entry: "chain" })
      .then(() => order.push("fresh"));
    const { dispatches } = model.counters;
    const again = model.run({ x }, { outputs: "gpu" });
    assert.equal(model.counters.dispatches, dispatches);
    drop(await again);
    await fresh;
    assert.deepEqual(order, ["fresh"]);
  });

  test("whose input was destroyed say so, if not at once then the next time", async () => {
    const x = tensor(2, 0);
    for (let i = 0; i < 2; i++) drop(await model.run({ x }, { outputs: "gpu" }));
    const told = new Promise<GPUUncapturedErrorEvent>((resolve) => {
      device.addEventListener("uncapturederror", (event) => {
        event.preventDefault();
        resolve(event);
      }, { once: true });
    });
    x.buffer.destroy();
    drop(await model.run({ x }, { outputs: "gpu" }));
    assert.match((await told).error.message, /destroyed/);
    await assert.rejects(model.run({ x }, { outputs: "gpu" }), rejects("GpuError", /destroyed/));
    await assert.rejects(model.run({ x }), rejects("GpuError", /destroyed/));
    assert.deepEqual((await model.run({ x: tensor(2, 5) }))["y"]!.data, biased(5, 2, 1));
  });
});

describe("a binding", () => {
  let model: Model;
  before(async () => { model = await loadModel(FIXTURE, { gpu }); });
  after(() => { model.dispose(); });

  const buffer = (size: number): GPUBuffer => model.device.createBuffer({ size, usage: USAGE_ALL });
  const input = (n: number): GpuTensor => ({ buffer: buffer(n * 16), dtype: "float32", shape: [n, 4] });
  const read = async (x: GpuTensor): Promise<unknown> => (await model.run({ x }, { entry: "identity" }))["x"]!.data;

  test("writes to buffers of the caller's, large or just large enough, and back into its input", async () => {
    const x = input(3);
    const [y, z] = [buffer(48), buffer(1024)];
    const binding = await model.bind({ x }, { outputs: { y, z } });
    assert.equal(binding.outputs["y"]!.buffer, y);
    for (const first of [10, 20]) {
      model.device.queue.writeBuffer(x.buffer, 0, biased(first, 3, 0));
      binding.run();
      assert.deepEqual(await read({ buffer: y, dtype: "float32", shape: [3, 4] }), biased(first, 3, 1));
      assert.deepEqual(await read({ buffer: z, dtype: "float32", shape: [3, 4] }), biased(first, 3, 2));
    }
    binding.dispose();
    assert.throws(() => { binding.run(); }, rejects("DisposedError", /binding/));

    const counter = await model.bind({ x }, { outputs: { z: x.buffer } }); // has run once
    counter.run();
    counter.run();
    assert.deepEqual(await read(x), biased(20, 3, 6));
    counter.dispose();
  });

  test("leaves results where a run would, unless buffers are given, and nobody else writes there", async () => {
    const x = input(300);
    const run = async (first: number): Promise<unknown> =>
      (await model.run({ x: { data: biased(first, 300, 0), shape: [300, 4] } }))["y"]!.data;
    await run(1);
    const make = model.device.createBuffer.bind(model.device);
    let made = 0;
    model.device.createBuffer = (descriptor) => {
      made++;
      return make(descriptor);
    };
    const binding = await model.bind({ x });
    model.device.createBuffer = make;
    assert.equal(made, 2, "one for each result, as in a run");
    model.device.queue.writeBuffer(x.buffer, 0, biased(5, 300, 0));
    binding.run();
    assert.deepEqual(await run(7), biased(7, 300, 1));
    const { y } = binding.outputs;
    assert.deepEqual(await read(y!), biased(5, 300, 1));
    binding.dispose();
    assert.deepEqual(await run(9), biased(9, 300, 1));
  });

  test("says what can't be bound", async () => {
    const x = input(2);
    const refuse = (message: RegExp, name: string, ...args: Parameters<Model["bind"]>): Promise<void> =>
      assert.rejects(model.bind(...args), rejects(name, message));
    await refuse(/only tensors in buffers/, "UnsupportedError", { x: { data: new Float32Array(8), shape: [2, 4] } });
    await refuse(/no output "w"/, "InputError", { x }, { outputs: { w: buffer(32) } });
    await refuse(/takes 32 bytes, its buffer has 16/, "InputError", { x }, { outputs: { y: buffer(16) } });
    await refuse(/looks at data on its way/, "UnsupportedError", { x }, { entry: "first_sum" });
    await refuse(/gives objects/, "UnsupportedError", {}, { entry: "start" });
    const one = buffer(64);
    await refuse(/one buffer/, "InputError", { x }, { outputs: { y: one, z: one } });
    const { y } = await model.run({ x: { data: biased(0, 2, 0), shape: [2, 4] } });
    assert.deepEqual(y!.data, biased(0, 2, 1));
  });

  test("ends with the device, and can be made again", async () => {
    const binding = await model.bind({ x: input(1) });
    model.device.destroy();
    await model.device.lost;
    assert.throws(() => { binding.run(); }, rejects("DeviceLostError", /bind the entry again/));
    await model.run({ x: { data: new Float32Array(4), shape: [1, 4] } });
    assert.throws(() => { binding.run(); }, rejects("DisposedError", /bind the entry again/));
    binding.dispose();
    (await model.bind({ x: input(1) })).run();
  });
});
