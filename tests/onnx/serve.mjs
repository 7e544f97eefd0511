/** @file Folders on stdin, one a line: each holds a package and job.json; runs it in Dawn, answers with a line of JSON. */
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [bundle] = process.argv.slice(2);
const { loadModel } = await import(pathToFileURL(join(bundle, "tvm-webgpu.mjs")).href);
const require = createRequire(join(bundle, "node_cli.mjs"));
const gpu = (require("webgpu")).create([]); // must stay referenced, or Dawn aborts
globalThis.keep = gpu;

const ARRAYS = {
  float32: Float32Array, float16: Uint16Array, bfloat16: Uint16Array, bool: Uint8Array,
  int64: BigInt64Array, int32: Int32Array, int16: Int16Array, int8: Int8Array,
  uint64: BigUint64Array, uint32: Uint32Array, uint16: Uint16Array, uint8: Uint8Array,
};

/** job.json: {"runs": [{NAME: {"dtype", "shape", "file"}}]}; the outputs are written beside it as RUN.OUTPUT.bin. */
async function run(folder) {
  const job = JSON.parse(await readFile(join(folder, "job.json"), "utf8"));
  const model = await loadModel(join(folder, "package"), { gpu });
  try {
    const runs = [];
    for (const [index, inputs] of job.runs.entries()) {
      const given = {};
      for (const [name, { dtype, shape, file }] of Object.entries(inputs)) {
        const bytes = new Uint8Array(await readFile(join(folder, file)));
        const kind = dtype === "float16" && globalThis.Float16Array ? globalThis.Float16Array : ARRAYS[dtype];
        given[name] = { dtype, shape, data: new kind(bytes.buffer, 0, bytes.length / kind.BYTES_PER_ELEMENT) };
      }
      const outputs = [];
      for (const result of Object.values(await model.run(given))) {
        const file = `${index}.${outputs.length}.bin`;
        const { dtype, shape, data } = result;
        await writeFile(join(folder, file), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
        outputs.push({ dtype, shape, file });
      }
      runs.push(outputs);
    }
    return { runs };
  } finally {
    model.dispose();
  }
}

process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
for await (const folder of createInterface({ input: process.stdin })) {
  const answer = await run(folder).catch((error) => ({ error: `${error.name}: ${error.message}` }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
