/** @file One start of a package, in a page or in Node: when what was done, in milliseconds since `begin`. */

const ARRAYS = {
  float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, bool: Uint8Array, float16: Uint16Array,
};

/** Room for tensors, of an extent of 1 for each that is open. */
function makeInputs(entry) {
  return Object.fromEntries(entry.inputs.map(({ name, shape, dtype }) => {
    const extents = shape.map((extent) => (typeof extent === "number" ? extent : 1));
    return [name, { data: new ARRAYS[dtype](extents.reduce((a, b) => a * b, 1)), shape: extents }];
  }));
}

/** Numbers, others each time: what a page does before a run, from a picture or a text. */
function fill(inputs, turn) {
  for (const { data } of Object.values(inputs)) {
    if (data instanceof Float32Array) data.forEach((_, i) => { data[i] = ((i * 2654435761 + turn) % 1000) / 1000; });
  }
}

/** Loads and runs ten times; where tuned kernels come behind the first ones, waits for them and runs ten times more. */
export async function start(loadModel, location, options, begin = performance.now()) {
  const now = () => performance.now() - begin;
  const phases = {};
  const model = await loadModel(location, { ...options, onProgress: (progress) => {
    for (const [name, { done, total }] of Object.entries(progress.phases)) if (done === total) phases[`phase ${name}`] ??= now();
  } });
  const load = now();
  const later = Symbol();
  const pending = await Promise.race([model.tuned, new Promise((r) => setTimeout(r, 0, later))]) === later;
  let tuned;
  void model.tuned.then(() => { tuned = now(); });
  const entry = model.entries.find(({ name }) => name === "main") ?? model.entries[0];
  const inputs = makeInputs(entry);
  const tenRuns = async () => {
    const runs = [];
    for (let i = 0; i < 10; i++) {
      // Before each: a run after other work takes up to twice as long as one after a run, be it the first or the tenth.
      fill(inputs, i);
      const from = performance.now();
      await model.run(inputs, { entry: entry.name });
      runs.push(performance.now() - from);
    }
    return runs;
  };
  const runs = await tenRuns();
  const times = { ...phases, load, firstResult: load + runs[0], firstRun: runs[0], tenthRun: runs[9] };
  if (pending) {
    const reason = await model.tuned;
    if (reason) throw new Error(reason);
    const later = await tenRuns();
    Object.assign(times, { tuned, tunedFirstRun: later[0], tunedTenthRun: later[9] });
  }
  const kept = await model.loading.kept;
  const { fetchedBytes, cachedBytes, ms, variant } = model.loading;
  model.dispose();
  return { variant, kept, fetchedBytes, cachedBytes, ...ms, ...times };
}
