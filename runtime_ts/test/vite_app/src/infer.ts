import { loadModel, type LoadOptions } from "tvm-webgpu";
import type { Fixture } from "./fixture.js";

/** One inference with checked inputs and results. */
export async function infer(options: LoadOptions = {}): Promise<number[]> {
  const model = await loadModel<Fixture>("/model/", options);
  const { y } = await model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } });
  const data: Float32Array = y.data;
  model.dispose();
  return Array.from(data);
}
