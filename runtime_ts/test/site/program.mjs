/** @file What a program outside of browsers does: runs the fixture's package by its path, and prints what came of it. */
import { loadModel } from "../../dist/tvm-webgpu.mjs";

const model = await loadModel(decodeURIComponent(new URL("../fixture/package", import.meta.url).pathname));
const x = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] };
const first = await model.run({ x }, { outputs: "gpu" });
const second = await model.run({ x: first.y });
const { counter } = await model.run({}, { entry: "start" });
const { value } = await model.run({ counter, by: 5 }, { entry: "step" });
const half = Uint16Array.of(0x3c00, 0xc000, 0);
const echoed = await model.run({
  bits: { data: Uint8Array.of(1), shape: [1] },
  long: { data: BigInt64Array.of(-5n), shape: [1] },
  half: { data: half, shape: [3] },
  byte: { data: Uint8Array.of(7), shape: [1, 1] },
  scalar: { data: Float32Array.of(0.5), shape: [] },
}, { entry: "echo" });
const { data } = echoed.half;
const error = await model.run({ x: { ...x, shape: [4] } }).catch(({ name, message }) => `${name}: ${message}`);
console.log(JSON.stringify({
  y: Array.from((await model.run({ x })).y.data),
  onGpu: Array.from(second.y.data),
  counted: Array.from(value.data),
  half: Array.from(new Uint16Array(data.buffer, data.byteOffset, 3)),
  error,
}));
model.dispose();
// Dawn's devices keep Node alive.
globalThis.process?.exit?.(0);
