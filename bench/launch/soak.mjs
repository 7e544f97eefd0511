/**
 * @file Runs a package again and again; gives what memory did: JSON with a sample at the start, and after each tenth.
 *
 * `loadModel` and `measure` (an object of bytes: heaps after collecting garbage, resident memory of processes) come from
 * the caller, which is Node or a page. Of GPU buffers each is counted, from its making to its destruction.
 */
import { makeInputs } from "./measure.mjs";

/** Counts the buffers that are made on a device from now on; those of `before` bytes are there already. */
function countBuffers(device, before) {
  const count = { live: before, made: 0, end: () => { prototype.createBuffer = createBuffer; } };
  const prototype = Object.getPrototypeOf(device);
  const { createBuffer } = prototype;
  prototype.createBuffer = function (descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    const destroy = buffer.destroy.bind(buffer);
    let there = true;
    buffer.destroy = () => {
      if (there) count.live -= descriptor.size;
      there = false;
      destroy();
    };
    count.made++;
    count.live += descriptor.size;
    return buffer;
  };
  return count;
}

export async function soak({ loadModel, location, options = {}, runs, extents, measure }) {
  const model = await loadModel(location, options);
  const { parameters, used, unused, transfer } = model.memory();
  const buffers = countBuffers(model.device, parameters + used + unused + transfer);
  const samples = [];
  const start = performance.now();
  const inputs = extents.map((extent) => makeInputs(model, extent));
  for (let i = 0; i <= runs; i++) {
    if (i % (runs / 10) === 0) {
      samples.push({ run: i, ...(await measure()), gpu: buffers.live, peak: model.memory().peak, buffersMade: buffers.made });
    }
    if (i < runs) await model.run(inputs[i % inputs.length]);
  }
  const counters = { ...model.counters };
  buffers.end();
  model.dispose();
  const seconds = (performance.now() - start) / 1000;
  return { model: model.name, runs, extents, seconds, samples, counters };
}
