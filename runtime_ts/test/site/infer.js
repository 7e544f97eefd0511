/** @file One inference of the fixture's package, wherever this module runs. */
import { loadModel } from "../dist/tvm-webgpu.mjs";

export async function infer() {
  try {
    const model = await loadModel(new URL("../model/", import.meta.url));
    const { y } = await model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } });
    model.dispose();
    return { y: Array.from(y.data), isolated: globalThis.crossOriginIsolated, global: globalThis.constructor.name };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}
