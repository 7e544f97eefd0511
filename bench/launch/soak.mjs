/**
 * @file Runs a package again and again; gives what memory did: JSON with a sample at the start, and after each tenth.
 *
 * `loadModel` and `now` (bytes of this process, or of the page's heap) come from the caller, which is Node or a page.
 */
import { makeInputs } from "./measure.mjs";

export async function soak({ loadModel, location, options = {}, runs, extents, now }) {
  const made = { buffers: 0, bytes: 0 };
  const model = await loadModel(location, options);
  const { device } = model;
  const prototype = Object.getPrototypeOf(device);
  const { createBuffer } = prototype;
  prototype.createBuffer = function (descriptor) {
    made.buffers++;
    made.bytes += descriptor.size;
    return createBuffer.call(this, descriptor);
  };
  const samples = [];
  const start = performance.now();
  const inputs = extents.map((extent) => makeInputs(model, extent));
  for (let i = 0; i <= runs; i++) {
    if (i % (runs / 10) === 0) {
      const { used, unused, transfer, peak } = model.memory();
      samples.push({ run: i, process: now(), gpu: used + unused + transfer, peak, buffersMade: made.buffers });
    }
    await model.run(inputs[i % inputs.length]);
  }
  prototype.createBuffer = createBuffer;
  model.dispose();
  const seconds = (performance.now() - start) / 1000;
  return { model: model.name, runs, extents, seconds, samples, counters: { ...model.counters } };
}
