import { loadModel } from "tvm-webgpu";
import type { Fixture } from "./fixture.js";

/** Never called: the compiler must refuse each marked line. */
export async function refused(): Promise<void> {
  const model = await loadModel<Fixture>("/model/");
  // @ts-expect-error another array than float32's
  await model.run({ x: { data: new Int8Array(4), shape: [1, 4] } });
  // @ts-expect-error no such output
  console.log((await model.run({ x: { data: new Float32Array(4), shape: [1, 4] } })).logits);
}
