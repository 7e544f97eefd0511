/** @file Declarations of a package's entries, types/fixture.d.ts as `tvm-webgpu types` writes it: used, and refused. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  loadModel, type GpuResult, type Model, type ObjectOf, type TensorInput, type TypedModel,
} from "../src/index.ts";
import { FIXTURE, gpu } from "./support.ts";
import type { Fixture } from "./types/fixture.d.ts";

let model: TypedModel<Fixture>;
before(async () => { model = await loadModel<Fixture>(FIXTURE, { gpu }); });
after(() => { model.dispose(); });

const x = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } as const;

test("a typed model runs its entries", async () => {
  const { y } = await model.run({ x });
  const batch: number = y.shape[0];
  const four: 4 = y.shape[1];
  const data: Float32Array = y.data;
  assert.deepEqual([batch, four, ...data], [1, 4, 2, 4, 6, 8]);

  const { counter } = await model.run({}, { entry: "start" });
  const { value, live, counter: same } = await model.run({ counter, by: 5 }, { entry: "step" });
  const numbers: Int32Array = value.data;
  const count: bigint | undefined = live.data[0];
  assert.deepEqual([...numbers], [7, 5]);
  assert.equal(typeof count, "bigint");
  counter.dispose();
  same.dispose();
});

test("results on the GPU keep their types, and are inputs again", async () => {
  const first = await model.run({ x }, { outputs: "gpu" });
  const result: GpuResult = first.y;
  const { x: same } = await model.run({ x: first.y }, { entry: "identity" });
  assert.deepEqual([...same.data], [2, 4, 6, 8]);
  result.dispose();
  first.z.dispose();
});

test("a binding knows its inputs and outputs", async () => {
  const usage = 0x80 | 0x4 | 0x8;
  const buffer = model.device.createBuffer({ size: 16, usage });
  const y = model.device.createBuffer({ size: 16, usage });
  model.device.queue.writeBuffer(buffer, 0, x.data);
  const given = { x: { buffer, dtype: "float32", shape: [1, 4] } } as const;
  const bound = await model.bind(given, { outputs: { y } });
  bound.run();
  const kept: GPUBuffer = bound.outputs.y.buffer;
  const four: 4 = bound.outputs.z.shape[1];
  assert.deepEqual([kept, four, bound.outputs.z.dtype], [y, 4, "float32"]);
  bound.dispose();
  const chain = await model.bind({ ...given, times: 2 }, { entry: "chain" });
  chain.run();
  assert.deepEqual([...(await model.run({ x: chain.outputs.y }, { entry: "identity" })).x.data], [3, 6, 9, 12]);
  chain.dispose();
});

const used = (value: unknown): unknown => value;

/** Images fill only what can hold one; profiles take the same inputs. Never called. */
export async function images(
  vision: TypedModel<{ main: { inputs: { photo: TensorInput<"float32", [1, 3, 8, 8]> }; outputs: object } }>,
  image: ImageData,
): Promise<void> {
  await vision.run({ photo: image });
  await vision.run({ photo: { image, mean: [0.5], std: [0.5] } });
  await vision.profile({ photo: image }, { runs: 2 });
  // @ts-expect-error an image is no matrix
  await model.run({ x: image });
  // @ts-expect-error an input is missing
  await vision.profile({});
}

// Never called: each line must be refused by the compiler for the reason that its comment gives.
export async function refused(other: TypedModel<{ f: { inputs: { x: number }; outputs: object } }>): Promise<void> {
  // @ts-expect-error an input is missing
  await model.run({});
  // @ts-expect-error there is no such input
  await model.run({ x, w: x });
  // @ts-expect-error the wrong typed array
  await model.run({ x: { data: new Int32Array(4), shape: [1, 4] } });
  // @ts-expect-error a wrong extent
  await model.run({ x: { data: new Float32Array(5), shape: [1, 5] } });
  // @ts-expect-error a wrong rank
  await model.run({ x: { data: new Float32Array(4), shape: [4] } });
  // @ts-expect-error there is no such entry
  await model.run({ x }, { entry: "mian" });
  // @ts-expect-error inputs of another entry
  await model.run({ x }, { entry: "start" });
  // @ts-expect-error there is no such output
  used((await model.run({ x })).logits);
  // @ts-expect-error the output has another array
  const wrong: Int32Array = (await model.run({ x })).y.data;
  // @ts-expect-error a number is no handle
  await model.run({ counter: 1, by: 1 }, { entry: "step" });
  const { counter } = await model.run({}, { entry: "start" });
  // @ts-expect-error an object has no data
  used(counter.data);
  // @ts-expect-error results on the GPU have no data
  used((await model.run({ x }, { outputs: "gpu" })).y.data);
  // @ts-expect-error only what lies in buffers can be bound
  await model.bind({ x });
  // @ts-expect-error there is no such output to bind
  await model.bind({ x: await model.run({ x }, { outputs: "gpu" }).then((on) => on.y) }, { outputs: { w: null } });
  // @ts-expect-error an object can't be bound
  await model.bind({ counter, by: 1 }, { entry: "step" });
  await other.run({ x: 1 }); // its only entry needs no name
  const anonymous: Model = await loadModel(FIXTURE);
  await anonymous.run({ anything: x });
  used(wrong);
}

export async function refusedObject(
  first: TypedModel<{ f: { inputs: object; outputs: Fixture["start"]["outputs"] } }>,
  second: TypedModel<{ f: { inputs: { cache: ObjectOf<"other"> }; outputs: object } }>,
  several: TypedModel<Omit<Fixture, "main">>,
): Promise<void> {
  const { counter } = await first.run({});
  // @ts-expect-error an object of another package
  await second.run({ cache: counter });
  // @ts-expect-error several entries, none of them main: one must be named
  await several.run({});
}
