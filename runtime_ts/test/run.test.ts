/** @file Runs of the fixture on a GPU: results, dtypes, objects, GPU tensors, order, errors, and the end of things. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { loadModel, type CpuTensor, type Model, type ModelObject } from "../src/index.ts";
import { adapter, altered, cleanUp, FIXTURE, gpu, rejects } from "./support.ts";

const USAGE_ALL = 0x80 | 0x8 | 0x4;
const MAP_READ = 0x1;

function vectors(n: number, first = 0): { data: Float32Array; shape: number[] } {
  return { data: Float32Array.from({ length: n * 4 }, (_, i) => first + i), shape: [n, 4] };
}

function biased(data: ArrayLike<number>, times: number): Float32Array {
  return Float32Array.from(data, (x, i) => x + times * ((i % 4) + 1));
}

describe("runs", () => {
  let model: Model;
  const printed: string[] = [];
  before(async () => { model = await loadModel(FIXTURE, { gpu, onPrint: (line) => printed.push(line) }); });
  after(async () => {
    model.dispose();
    await cleanUp();
  });

  test("two dependent launches, for sizes that grow and shrink", async () => {
    for (const n of [1, 3, 100, 2]) {
      const x = vectors(n);
      const { y, z } = await model.run({ x });
      assert.deepEqual(y!.data, biased(x.data, 1));
      assert.deepEqual(z!.data, biased(x.data, 2));
      assert.deepEqual([y!.dtype, y!.shape], ["float32", [n, 4]]);
    }
  });

  test("one submit and no new bind group for a repeated run, other than the input's upload", async () => {
    const x = vectors(3);
    await model.run({ x });
    const { submits, dispatches } = model.counters;
    await model.run({ x });
    assert.equal(model.counters.submits - submits, 1);
    assert.equal(model.counters.dispatches - dispatches, 2);
  });

  test("every storage size goes through unchanged", async () => {
    const half = typeof Float16Array === "undefined" ? Uint16Array.of(0x3c00, 0x4000, 1) : Float16Array.of(1, 2, 0.5);
    const inputs = {
      bits: { data: Uint8Array.of(1, 0, 1, 1, 0), shape: [5] },
      long: { data: BigInt64Array.of(-1n, 2n ** 62n, 0n, 1n, 5n), shape: [5] },
      half: { data: half, shape: [3] },
      byte: { data: Uint8Array.of(255, 1, 7), shape: [3, 1] },
      scalar: { data: Float32Array.of(Math.fround(0.1)), shape: [] },
    };
    const results = await model.run(inputs, { entry: "echo" });
    for (const [name, { data, shape }] of Object.entries(inputs)) {
      assert.deepEqual(results[name]!.data, data, name);
      assert.deepEqual(results[name]!.shape, shape, name);
    }
    assert.equal(results["bits"]!.dtype, "bool");
  });

  test("tensors without elements", async () => {
    const none = { data: new Uint8Array(0), shape: [0] };
    const results = await model.run({
      bits: none,
      long: { data: new BigInt64Array(0), shape: [0] },
      half: { data: new Uint16Array(3), shape: [3] },
      byte: { data: new Uint8Array(0), shape: [0, 1] },
      scalar: { data: Float32Array.of(2), shape: [] },
    }, { entry: "echo" });
    assert.equal(results["long"]!.data.length, 0);
    assert.deepEqual(results["scalar"]!.data, Float32Array.of(2));
  });

  test("data of fewer bytes, and no whole words, than the run before", async () => {
    for (const n of [7, 5, 2, 6, 9, 1]) {
      const inputs = {
        bits: { data: new Uint8Array(n).fill(1), shape: [n] },
        long: { data: BigInt64Array.from({ length: n }, (_, i) => BigInt(i)), shape: [n] },
        half: { data: Uint16Array.of(n, 2, 3), shape: [3] },
        byte: { data: Uint8Array.from({ length: n }, (_, i) => 10 * n + i), shape: [n, 1] },
        scalar: { data: Float32Array.of(n), shape: [] },
      };
      const results = await model.run(inputs, { entry: "echo" });
      for (const name of ["bits", "long", "byte"] as const) assert.deepEqual(results[name]!.data, inputs[name].data);
    }
  });

  test("data in memory that workers share", async () => {
    const data = new Float32Array(new SharedArrayBuffer(16));
    data.set([1, 2, 3, 4]);
    const { y } = await model.run({ x: { data, shape: [1, 4] } }, { entry: "main" });
    assert.deepEqual([...y!.data as Float32Array], [2, 4, 6, 8]);
  });

  test("overlapping calls take effect in order", async () => {
    const runs = await Promise.all(Array.from({ length: 20 }, (_, i) => model.run({ x: vectors(2, i) })));
    runs.forEach(({ y }, i) => { assert.deepEqual(y!.data, biased(vectors(2, i).data, 1)); });
  });

  test("an object lives in the model between calls", async () => {
    type Step = { counter: ModelObject; value: CpuTensor; live: CpuTensor };
    const { counter } = await model.run<{ counter: ModelObject }>({}, { entry: "start" });
    const first = await model.run<Step>({ counter, by: 5 }, { entry: "step" });
    assert.deepEqual(first.value.data, Int32Array.of(7, 5));
    const again = first.counter;
    const second = await model.run<Step>({ counter: again, by: 6n }, { entry: "step" });
    assert.deepEqual(second.value.data, Int32Array.of(5, 6));
    counter.dispose();
    counter.dispose();
    await assert.rejects(model.run({ counter, by: 1 }, { entry: "step" }), rejects("DisposedError", /counter/));
    const third = await model.run<Step>({ counter: again, by: 1 }, { entry: "step" });
    // The object's three names that are left, and this call's tensor.
    assert.deepEqual(third.live.data, BigInt64Array.of(4n));
    await assert.rejects(model.run({ counter: 3, by: 1 }, { entry: "step" }), rejects("InputError", /counter/));
  });

  test("results stay on the GPU and serve as inputs", async () => {
    const first = await model.run({ x: vectors(4) }, { outputs: "gpu" });
    const second = await model.run({ x: first["z"]! });
    assert.deepEqual(second["z"]!.data, biased(vectors(4).data, 4));
    first["y"]!.dispose();
    first["z"]!.dispose();
    model.trim();
    assert.deepEqual((await model.run({ x: vectors(4) }))["y"]!.data, biased(vectors(4).data, 1));
  });

  test("an input that comes back is a copy", async () => {
    const x = vectors(2);
    const { x: kept } = await model.run({ x }, { entry: "identity", outputs: "gpu" });
    assert.deepEqual((await model.run({ x: vectors(2, 50) }, { entry: "identity" }))["x"]!.data, vectors(2, 50).data);
    assert.deepEqual((await model.run({ x: kept! }, { entry: "identity" }))["x"]!.data, x.data);
    kept!.dispose();
  });

  test("what the model prints arrives by lines", async () => {
    await model.run({}, { entry: "print" });
    assert.deepEqual(printed, ["hello, world", "and"]);
  });

  test("many sizes: handles are used again without stale bind groups", async () => {
    for (let n = 1; n <= 300; n++) {
      const { y } = await model.run({ x: vectors(n % 7 + 1, n) });
      if (n % 50 === 0) model.trim();
      assert.equal(y!.data[0], n + 1);
    }
  });

  const WRONG: [string, Record<string, unknown> | undefined, string | undefined, RegExp][] = [
    ["a missing input", {}, undefined, /input "x" is missing; entry "main" takes x: float32\[n, 4\]/],
    ["no inputs at all", undefined, undefined, /input "x" is missing/],
    ["nothing for an input", { x: null }, undefined, /input "x" is missing/],
    ["an unknown input", { x: vectors(1), q: vectors(1) }, undefined, /no input "q"/],
    ["a wrong extent", { x: { data: new Float32Array(3), shape: [1, 3] } }, undefined,
      /expected float32\[n, 4\], got float32\[1, 3\]/],
    ["a wrong rank", { x: { data: new Float32Array(4), shape: [4] } }, undefined, /got float32\[4\]/],
    ["a wrong dtype", { x: { data: new Int32Array(4), shape: [1, 4] } }, undefined, /got int32\[1, 4\]/],
    ["a wrong length", { x: { data: new Float32Array(5), shape: [1, 4] } }, undefined, /has 4 elements, the data 5/],
    ["a plain array", { x: { data: [1, 2, 3, 4], shape: [1, 4] } }, undefined, /got Array\[1, 4\]/],
    ["no tensor", { x: 3 }, undefined, /\{ data, shape \}/],
    ["an unknown entry", {}, "nope", /no entry "nope", only "main", "echo"/],
    ["the model's own refusal", {}, "refuse", /this entry refuses everything/],
    ["two values of a symbol", {
      bits: { data: new Uint8Array(2), shape: [2] }, long: { data: new BigInt64Array(3), shape: [3] },
      half: { data: new Uint16Array(3), shape: [3] }, byte: { data: new Uint8Array(1), shape: [1, 1] },
      scalar: { data: new Float32Array(1), shape: [] },
    }, "echo", /"long": expected int64\[n\], where n is 2 from "bits", got int64\[3\]/],
  ];
  for (const [what, inputs, entry, message] of WRONG) {
    test(`${what} is an InputError, and the model goes on`, async () => {
      const run = model.run(inputs as never, entry === undefined ? {} : { entry });
      await assert.rejects(run, rejects("InputError", message));
      await model.run({ x: vectors(1) });
    });
  }

  test("a tensor beyond the device's limit is an OutOfMemoryError", async () => {
    await assert.rejects(model.run({}, { entry: "too_large" }), rejects("OutOfMemoryError", /does not fit a buffer/));
    await model.run({ x: vectors(1) });
  });

  test("a signal ends the wait, before, while queued and while running", async () => {
    const reason = new Error("enough");
    await assert.rejects(model.run({ x: vectors(1) }, { signal: AbortSignal.abort(reason) }), reason);
    const stop = new AbortController();
    const runs = Array.from({ length: 5 }, () => model.run({ x: vectors(1) }, { signal: stop.signal }));
    stop.abort(reason);
    for (const outcome of await Promise.allSettled(runs)) assert.equal(outcome.status, "rejected");
    await model.run({ x: vectors(1) });
  });
});

test("what is no device is not taken for one", async () => {
  const loading = loadModel(FIXTURE, { device: {} as GPUDevice });
  await assert.rejects(loading, rejects("InputError", /device is no GPUDevice/));
});

test("runs of many sizes, in any order, soon read back through buffers that there are", async () => {
  const device = await (await adapter()).requestDevice();
  let made = 0; // of the runtime; the fixture's code has no pool
  const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
    if (descriptor.usage & MAP_READ) made++;
    return device.createBuffer(descriptor);
  };
  const model = await loadModel(FIXTURE, { device: altered(device, { createBuffer }) });
  const round = async (sizes: readonly number[]): Promise<void> => {
    for (const n of sizes) assert.deepEqual((await model.run({ x: vectors(n) })).y!.data, biased(vectors(n).data, 1));
  };
  // Growing through the round, so that what was made for one size does not fit the next; then any size at all.
  const sizes = [1, 2, 3, 5, 7, 8, 13, 17, 21, 34, 40, 64, 150, 333, 1000, 4096];
  for (let i = 0; i < 3; i++) await round(sizes);
  let before = made;
  for (let i = 0; i < 5; i++) await round([...sizes, ...[...sizes].reverse()]);
  assert.equal(made - before, 0);
  for (let seed = 1; seed < 4; seed++) {
    before = made;
    let x = seed;
    await round(Array.from({ length: 60 }, () => 1 + ((x = (x * 48271) % 2147483647) % 2000)));
  }
  assert.ok(made - before <= 6, `${made - before} buffers for 60 runs`);
  const { transfer } = model.memory();
  model.trim();
  assert.ok(model.memory().transfer < transfer);
  model.dispose();
  device.destroy();
});

describe("a caller's device", () => {
  test("takes tensors in its buffers, and outlives the model", async () => {
    const device = await (await adapter()).requestDevice();
    const model = await loadModel(FIXTURE, { device });
    const x = vectors(2);
    const buffer = device.createBuffer({ size: 256 + 32, usage: USAGE_ALL });
    device.queue.writeBuffer(buffer, 0, x.data);
    const { y } = await model.run({ x: { buffer, dtype: "float32", shape: [2, 4] } });
    assert.deepEqual(y!.data, biased(x.data, 1));
    const copied = { buffer, dtype: "float32", shape: [2, 4], offset: 256 } as const;
    device.queue.writeBuffer(buffer, 256, vectors(2, 5).data);
    assert.deepEqual((await model.run({ x: copied }, { entry: "identity" }))["x"]!.data, vectors(2, 5).data);
    const beyond = { buffer, dtype: "float32", shape: [20, 4] } as const;
    await assert.rejects(model.run({ x: beyond }), rejects("InputError", /ends at byte 320/));
    const bare = device.createBuffer({ size: 32, usage: 0x8 });
    const unusable = { buffer: bare, dtype: "float32", shape: [2, 4] } as const;
    await assert.rejects(model.run({ x: unusable }), rejects("InputError", /usages/));
    model.dispose();
    model.dispose();
    await assert.rejects(model.run({ x }), rejects("DisposedError", /disposed/));
    device.pushErrorScope("validation");
    device.queue.writeBuffer(buffer, 0, x.data);
    assert.equal(await device.popErrorScope(), null);
    device.destroy();
  });

  test("that is lost rejects runs under way and later ones", async () => {
    const device = await (await adapter()).requestDevice();
    const model = await loadModel(FIXTURE, { device });
    const under = model.run({ x: vectors(1) });
    under.catch(() => undefined);
    await Promise.resolve();
    device.destroy();
    await assert.rejects(under, rejects("DeviceLostError", /load the model again/));
    await assert.rejects(model.run({ x: vectors(1) }), rejects("DeviceLostError", /destroyed/));
    model.dispose();
  });
});

describe("a failure inside the model's code", () => {
  for (const [entry, name, message] of [
    ["trap", "ModelError", /stopped: unreachable/],
    ["exit", "ModelError", /exit status 3/],
    ["out_of_range", "ModelError", /buffer 64000, which does not exist/],
  ] as const) {
    test(`${entry} rejects the run, and the model says so ever after`, async () => {
      const model = await loadModel(FIXTURE, { gpu });
      await assert.rejects(model.run({}, { entry }), rejects(name, message));
      await assert.rejects(model.run({ x: vectors(1) }), rejects("ModelError", /must be loaded again/));
      model.dispose();
    });
  }

  test("dispose() rejects runs under way", async () => {
    const model = await loadModel(FIXTURE, { gpu });
    const runs = Array.from({ length: 4 }, () => model.run({ x: vectors(1) }));
    runs.forEach((run) => { run.catch(() => undefined); });
    await Promise.resolve();
    model.dispose();
    for (const run of runs) await assert.rejects(run, rejects("DisposedError", /disposed/));
  });
});
