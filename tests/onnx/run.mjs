/** @file One job of a package, in Node or in a page: arrays read, the model run, its outputs written. */

const ARRAYS = {
  float64: Float64Array, float32: Float32Array, float16: Uint16Array, bfloat16: Uint16Array, bool: Uint8Array,
  int64: BigInt64Array, int32: Int32Array, int16: Int16Array, int8: Int8Array,
  uint64: BigUint64Array, uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array,
  float8_e4m3fn: Uint8Array, float8_e5m2: Uint8Array, float8_e8m0fnu: Uint8Array,
};

/**
 * `runs` is [{NAME: {"dtype", "shape", "file"}}]; gives the same for the outputs, written as RUN.OUTPUT.bin.
 * Errors come as {"error": text}.
 */
export async function runJob({ loadModel }, location, runs, { read, write }, options = {}) {
  try {
    const model = await loadModel(location, options);
    try {
      const results = [];
      for (const [index, inputs] of runs.entries()) {
        const given = {};
        for (const [name, { dtype, shape, file }] of Object.entries(inputs)) {
          const { buffer } = await read(file);
          const kind = dtype === "float16" && globalThis.Float16Array ? globalThis.Float16Array : ARRAYS[dtype];
          given[name] = { dtype, shape, data: new kind(buffer) };
        }
        const outputs = [];
        for (const { dtype, shape, data } of Object.values(await model.run(given))) {
          const file = `${index}.${outputs.length}.bin`;
          await write(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
          outputs.push({ dtype, shape, file });
        }
        results.push(outputs);
      }
      return { runs: results };
    } finally {
      model.dispose();
    }
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}
