// Folders of packages in; for each, the time in ms that Dawn takes to compile all of its kernels out, as JSON.
//
// node bench/shaders.mjs RUNS "DAWN FLAGS" DIR DIR...     (NODE_PATH names the folder that holds the package `webgpu`)
//
// Every run has a device of its own, the packages take turns, and pipelines are made one after the other, so that what is
// compared is the work and not how it is spread. `backend=null` stops behind Dawn's own compiler, Tint.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [runs, flags, ...folders] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const { create } = require("webgpu");
const gpu = create(flags.split(" ").filter(Boolean));

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function kernels(folder) {
  const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8"));
  const text = readFileSync(`${folder}/kernels.wgsl`);
  return manifest.kernels.map(({ name, wgsl: [start, length] }) => ({
    name,
    code: text.subarray(start, start + length).toString("utf8"),
  }));
}

async function compile(list) {
  const adapter = await gpu.requestAdapter();
  const requiredLimits = { maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage };
  const device = await adapter.requestDevice({ requiredLimits });
  const start = performance.now();
  for (const { name, code } of list) {
    const module = device.createShaderModule({ code });
    await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: name } });
  }
  const spent = performance.now() - start;
  const { description, device: model } = adapter.info;
  device.destroy();
  return { spent, adapter: description || model };
}

const packages = folders.map(kernels);
const times = folders.map(() => []);
let adapter = "";
for (let run = 0; run <= Number(runs); ++run) {
  for (const [index, list] of packages.entries()) {
    const result = await compile(list);
    adapter = result.adapter;
    if (run) times[index].push(result.spent); // the first one warms up
  }
}
console.log(JSON.stringify({ adapter, ms: times.map(median) }));
