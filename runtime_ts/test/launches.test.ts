/** @file Command lists of many launches: replayed, in several submits, called off, and without hidden copies. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { loadModel, type Model } from "../src/index.ts";
import { dispatch, Plans, type Launch, type Plan } from "../src/plan.ts";
import { SLOTS, Uniforms } from "../src/uniforms.ts";
import { adapter, cleanUp, FIXTURE, gpu, rejects } from "./support.ts";

const BIAS = [1, 2, 3, 4];
const USAGE_ALL = 0x80 | 0x8 | 0x4;

function input(n: number, first = 0): { data: Float32Array; shape: number[] } {
  return { data: Float32Array.from({ length: n * 4 }, (_, i) => first + i), shape: [n, 4] };
}

function expected({ data }: { data: Float32Array }, times: number): Float32Array {
  return data.map((x, i) => x + times * BIAS[i % 4]!);
}

async function chain(model: Model, n: number, times: number, first = 0): Promise<void> {
  const x = input(n, first);
  const { y } = await model.run({ x, times }, { entry: "chain" });
  assert.deepEqual(y!.data, expected(x, times));
}

test("grids leave out what is 1 at their end, and nothing else", () => {
  const given: number[][] = [];
  const pass = { dispatchWorkgroups: (...args: number[]) => { given.push(args); } } as unknown as GPUComputePassEncoder;
  for (const [x, y, z] of [[7, 1, 1], [7, 2, 1], [7, 1, 2], [7, 0, 1], [0, 1, 1], [1, 1, 0]]) {
    dispatch(pass, { x, y, z } as Launch);
  }
  assert.deepEqual(given, [[7], [7, 2], [7, 1, 2], [7, 0], [0], [1, 1, 0]]);
});

describe("a chain of launches", () => {
  let model: Model;
  before(async () => { model = await loadModel(FIXTURE, { gpu }); });
  after(async () => {
    model.dispose();
    await cleanUp();
  });

  test("is handed over in pieces, and repeated without a new bind group", async () => {
    await chain(model, 3, 60);
    const before = { ...model.counters };
    await chain(model, 3, 60, 7);
    const { dispatches, submits, bindGroups } = model.counters;
    const made = [dispatches - before.dispatches, submits - before.submits, bindGroups - before.bindGroups];
    assert.deepEqual(made, [60, 5, 0]);
  });

  test("takes other scalars and grids without a new bind group", async () => {
    await chain(model, 256, 60); // the largest input first: its buffer grows
    const { bindGroups } = model.counters;
    for (const n of [5, 256, 100, 1]) await chain(model, n, 60, n);
    assert.equal(model.counters.bindGroups, bindGroups);
  });

  test("is right when it has more launches than scalars have room, and when sizes alternate", async () => {
    for (const [n, times] of [[200, 2500], [3, 2500], [200, 1025], [65, 24], [64, 25]] as const) {
      await chain(model, n, times);
    }
  });

  test("has its scalars after one with others, and after one that was called off", async () => {
    for (const n of [256, 2, 256, 256]) await chain(model, n, 70);
    const stop = new AbortController();
    const off = model.run({ x: input(3), times: 900 }, { entry: "chain", signal: stop.signal });
    setTimeout(() => { stop.abort(new Error("enough")); }, 1);
    await assert.rejects(off, /enough/);
    for (const n of [256, 256]) await chain(model, n, 900);
  });

  test("ends between two launches when its signal says so, and the model goes on", async () => {
    const stop = new AbortController();
    const { dispatches } = model.counters;
    const run = model.run({ x: input(200), times: 3000 }, { entry: "chain", signal: stop.signal });
    const next = model.run({ x: input(2, 5), times: 30 }, { entry: "chain" });
    setTimeout(() => { stop.abort(new Error("enough")); }, 1);
    await assert.rejects(run, /enough/);
    assert.deepEqual((await next)["y"]!.data, expected(input(2, 5), 30));
    assert.ok(model.counters.dispatches - dispatches < 3000, "all launches were encoded");
    await chain(model, 4, 100);
  });

  test("may pause until the model's code has read what it computed", async () => {
    const stop = new AbortController();
    const sums = [1, 2, 3].map((first) => model.run({ x: input(2, first) }, { entry: "first_sum" }));
    const { signal } = stop;
    sums.push(model.run({ x: input(1, 4) }, { entry: "first_sum", signal }));
    const [other] = await Promise.all([model.run({ x: input(2), times: 30 }, { entry: "chain" }), ...sums]);
    assert.deepEqual(other["y"]!.data, expected(input(2), 30));
    const values = (await Promise.all(sums)).map(({ sum }) => Number((sum!.data as BigInt64Array)[0]));
    assert.deepEqual(values, [1, 2, 3, 4].map((first) => 4 * first + 6 + 10));
  });

  test("with a signal that stays silent is right", async () => {
    const { signal } = new AbortController();
    const runs = Array.from({ length: 4 }, (_, i) =>
      model.run({ x: input(3, i), times: 100 }, { entry: "chain", signal }));
    (await Promise.all(runs)).forEach(({ y }, i) => { assert.deepEqual(y!.data, expected(input(3, i), 100)); });
  });
});

test("a launch waits for a submit only where its slot was another's, and pieces are even", () => {
  const device = {
    limits: { minUniformBufferOffsetAlignment: 256 }, queue: {}, createBuffer: () => ({}), createBindGroup: () => ({}),
  } as unknown as GPUDevice;
  const layout = { id: 0, group: {} };
  const kernels = [0, 1].map((scalars) => ({ name: "k", pipeline: {}, layout, bindings: 0, scalars }));
  const plans = new Plans(device, { epoch: 0 } as never, kernels as never, new Uniforms(device, 1));
  const launch = (kernel: number): number[] => [(5 + kernel) << 8 | 1, kernel, 1, 1, 1, 7].slice(0, 5 + kernel);
  const plan = (counts: number[]): Plan =>
    plans.of(Uint32Array.from(counts.flatMap((count, i) => Array.from({ length: count }, () => launch(i)).flat())), 0);
  const waiting = ({ steps }: Plan): number[] =>
    steps.flatMap((step, i) => (step.kernel && step.again ? [i] : []));
  assert.deepEqual(waiting(plan([3, 28])), []);
  assert.deepEqual(waiting(plan([3, 2 * SLOTS + 1])), [3 + SLOTS, 3 + 2 * SLOTS]);
  assert.deepEqual([[0, 28], [28, 1], [2, 52], [1, 0]].map((counts) => plan(counts).perSubmit), [14, 10, 14, 1]);
});

describe("memory", () => {
  test("stays flat over many runs, is counted, and goes with dispose()", async () => {
    const device = await (await adapter()).requestDevice();
    const live = watchBuffers(device);
    const model = await loadModel(FIXTURE, { device });
    const x = input(16);
    const round = async (): Promise<void> => {
      await model.run({ x, times: 30 }, { entry: "chain" });
      const { y } = await model.run({ x, times: 2 }, { entry: "chain" });
      assert.equal(y!.data[0], 2);
    };
    for (let i = 0; i < 5; i++) await round();
    const [buffers, memory] = [live.size, model.memory()];
    for (let i = 0; i < 300; i++) await round();
    assert.equal(live.size, buffers);
    assert.deepEqual(model.memory(), memory);
    assert.ok(memory.parameters >= 272 && memory.used >= 8192 && memory.transfer > 0);
    assert.ok(memory.peak >= memory.parameters + memory.used + memory.unused);
    model.dispose();
    assert.deepEqual([...live], []);
    assert.throws(() => model.memory(), rejects("DisposedError", /disposed/));
    await assert.rejects(model.profile({ x }), rejects("DisposedError", /disposed/));
    device.destroy();
  });

  test("moves between host and GPU only where tensors do", async () => {
    const device = await (await adapter()).requestDevice();
    const model = await loadModel(FIXTURE, { device });
    const x = { buffer: device.createBuffer({ size: 64, usage: USAGE_ALL }), dtype: "float32", shape: [4, 4] } as const;
    device.queue.writeBuffer(x.buffer, 0, input(4).data);
    const before = { ...model.counters };
    const { y, z } = await model.run({ x }, { outputs: "gpu" });
    const { uploaded, downloaded, copies } = model.counters;
    assert.deepEqual([uploaded, downloaded, copies], [before.uploaded, before.downloaded, before.copies]);
    const read = await model.run({ x: z! });
    assert.equal(model.counters.uploaded, before.uploaded);
    assert.equal(model.counters.downloaded, before.downloaded + 2 * 64);
    assert.deepEqual(read["z"]!.data, expected(input(4), 4));
    y!.dispose();
    z!.dispose();
    model.dispose();
    device.destroy();
  });
});

test("two models share a device, and run side by side", async () => {
  const device = await (await adapter()).requestDevice();
  const [a, b] = await Promise.all([loadModel(FIXTURE, { device }), loadModel(FIXTURE, { device })]);
  await Promise.all([chain(a, 7, 50), chain(b, 3, 70), chain(a, 9, 26), chain(b, 2, 25)]);
  const { z } = await a.run({ x: input(4) }, { outputs: "gpu" });
  // The buffer is as good as any other to the second model.
  assert.deepEqual((await b.run({ x: { buffer: z!.buffer, dtype: "float32", shape: [4, 4] } }))["y"]!.data,
    expected(input(4), 3));
  a.dispose();
  await chain(b, 3, 70);
  b.dispose();
  device.destroy();
});


/** The device's buffers that are not destroyed. */
function watchBuffers(device: GPUDevice): Set<string> {
  const live = new Set<string>();
  let made = 0;
  const createBuffer = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer(descriptor);
    const name = `${made++}: ${descriptor.size} bytes`;
    live.add(name);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      live.delete(name);
      destroy();
      return undefined;
    };
    return buffer;
  };
  return live;
}
