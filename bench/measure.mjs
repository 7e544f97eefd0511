/**
 * @file Runs one package in Node with Dawn and prints what it costs, as JSON.
 *
 * node measure.mjs PACKAGE RUNTIME.mjs RUNS [DAWN_FLAG ...]
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { makeInputs } from "./launch/measure.mjs";

const [folder, runtime, count, ...flags] = process.argv.slice(2);
const runs = Number(count);
const { loadModel } = await import(pathToFileURL(resolve(runtime)));
const { create } = createRequire(`${process.cwd()}/package.json`)("webgpu");
// Without this flag Dawn rounds timestamps to 65 us. Kept globally: devices end with the instance that made them.
globalThis.gpu = create(["disable-dawn-features=timestamp_quantization", ...flags]);

const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`));
const adapter = await globalThis.gpu.requestAdapter({ powerPreference: "high-performance" });
const timed = adapter.features.has("timestamp-query");
const device = await adapter.requestDevice({
  requiredFeatures: [...manifest.requires.features, ...(timed ? ["timestamp-query"] : [])],
  requiredLimits: manifest.requires.limits,
});

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const elapsed = async (action) => {
  const start = performance.now();
  await action();
  return performance.now() - start;
};
const repeat = async (action) => {
  const values = [];
  for (let i = 0; i < runs; i++) values.push(await action());
  return values;
};

/** When the model hands work to the GPU, by a wrapper around the queue's submit. */
function watchSubmit() {
  const queue = Object.getPrototypeOf(device.queue);
  const { submit } = queue;
  const last = {};
  queue.submit = function (...args) {
    last.begin = performance.now();
    submit.apply(this, args);
    last.end = performance.now();
  };
  return { last, stop: () => { queue.submit = submit; } };
}

/** GPU time of an action in ms: the sum over its compute passes. */
async function gpuTime(action) {
  const most = 64;
  const queries = device.createQuerySet({ type: "timestamp", count: 2 * most });
  const encoders = Object.getPrototypeOf(device.createCommandEncoder());
  const { beginComputePass } = encoders;
  let passes = 0;
  encoders.beginComputePass = function (descriptor) {
    if (passes === most) throw new Error(`more than ${most} passes`);
    const first = 2 * passes++;
    const timestampWrites = { querySet: queries, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
    return beginComputePass.call(this, { ...descriptor, timestampWrites });
  };
  try {
    await action();
  } finally {
    encoders.beginComputePass = beginComputePass;
  }
  const size = 16 * passes;
  const resolved = device.createBuffer({ size, usage: 0x200 | 0x4 }); // QUERY_RESOLVE, COPY_SRC
  const readable = device.createBuffer({ size, usage: 0x1 | 0x8 }); // MAP_READ, COPY_DST
  const encoder = device.createCommandEncoder();
  encoder.resolveQuerySet(queries, 0, 2 * passes, resolved, 0);
  encoder.copyBufferToBuffer(resolved, 0, readable, 0, size);
  device.queue.submit([encoder.finish()]);
  await readable.mapAsync(1);
  const times = new BigInt64Array(readable.getMappedRange().slice(0));
  for (const each of [resolved, readable, queries]) each.destroy();
  let total = 0n;
  for (let i = 0; i < passes; i++) total += times[2 * i + 1] - times[2 * i];
  return Number(total) / 1e6;
}

let model;
const load_ms = await elapsed(async () => { model = await loadModel(folder, { device }); });
const inputs = makeInputs(model);
const first_ms = await elapsed(() => model.run(inputs));
for (let i = 0; i < 2; i++) await model.run(inputs);
const before = { ...model.counters };
await model.run(inputs);
const per_run = Object.fromEntries(Object.entries(model.counters).map(([name, value]) => [name, value - before[name]]));

const e2e = await repeat(() => elapsed(() => model.run(inputs)));

const resident = async () => {
  for (const result of Object.values(await model.run(inputs, { outputs: "gpu" }))) result.dispose();
  await device.queue.onSubmittedWorkDone();
};
const { last, stop } = watchSubmit();
const host = await repeat(async () => {
  const start = performance.now();
  await resident();
  return { encode: last.begin - start, submit: last.end - last.begin };
});
stop();
const gpu = timed ? await repeat(() => gpuTime(resident)) : [];

process.stdout.write(JSON.stringify({
  adapter: adapter.info.description || adapter.info.device,
  runs, load_ms, first_ms, per_run,
  e2e_ms: median(e2e),
  encode_us_per_launch: (median(host.map(({ encode }) => encode)) * 1000) / per_run.dispatches,
  submit_us_per_launch: (median(host.map(({ submit }) => submit)) * 1000) / per_run.dispatches,
  gpu_ms: timed ? median(gpu) : null,
}));
// Dawn's threads would keep Node alive.
process.exit(0);
