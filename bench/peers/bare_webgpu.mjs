/**
 * @file The least that WebGPU allows, as an engine of the comparison: `extra:bare_webgpu[:VARIANT]`.
 *
 * The launches of a run of tvm-webgpu's package, recorded once, in a loop of bare calls on prepared objects. What an
 * engine's time from GPU to GPU has above this one's is its own; the rest is WebGPU's, or the kernels'.
 */
import tvmWebgpu from "./tvm_webgpu.mjs";
import { bareLoop, record } from "./tvm_webgpu/measure.mjs";

export default function engine(variant) {
  const base = tvmWebgpu(variant);
  return {
    ...base,
    name: "bare-webgpu",
    async load(work, ctx) {
      const loaded = await base.load(work, ctx);
      await loaded.run(); // the first one binds, which launches, too
      return { ...loaded, run: bareLoop(loaded.device, await record(loaded.device, loaded.run)) };
    },
  };
}
