/**
 * @file The GPU's peaks by two small kernels, then a profile of each package: JSON lines for limits.py.
 *
 * node limits.mjs OUT.jsonl RUNTIME.mjs PACKAGE...
 *
 * Inputs are made up; symbols of shapes count as 1, or as what the environment's EXTENT says.
 */
import { appendFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { onGpu } from "./launch/measure.mjs";

const [out, runtime, ...packages] = process.argv.slice(2);
const { loadModel } = await import(pathToFileURL(resolve(runtime)));
const { create, globals } = createRequire(`${process.cwd()}/package.json`)(process.env.WEBGPU ?? "webgpu");
Object.assign(globalThis, globals);
const dawn = ["disable-dawn-features=timestamp_quantization", ...(process.env.DAWN ?? "").split(" ").filter(Boolean)];
globalThis.gpu = create(dawn); // kept globally: devices end with the instance that made them
Object.defineProperty(globalThis, "navigator", { value: { gpu: globalThis.gpu }, configurable: true });

const WARM_UP_MS = 2000; // an idle GPU's clock takes a second or two to rise
const FMA_STEPS = 4096;
const PEAKS = {
  // 16 independent chains a thread hide the latency of a multiply-add.
  flops: {
    code: `@group(0) @binding(0) var<storage, read_write> out: array<f32>;
      @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3u) {
        var a = vec4f(f32(id.x)); var b = a + 1; var c = a + 2; var d = a + 3;
        let m = vec4f(0.999); let n = vec4f(f32(id.x & 7u));
        for (var i = 0u; i < ${FMA_STEPS / 4}u; i++) {
          a = fma(a, m, n); b = fma(b, m, n); c = fma(c, m, n); d = fma(d, m, n);
          a = fma(a, m, n); b = fma(b, m, n); c = fma(c, m, n); d = fma(d, m, n);
          a = fma(a, m, n); b = fma(b, m, n); c = fma(c, m, n); d = fma(d, m, n);
          a = fma(a, m, n); b = fma(b, m, n); c = fma(c, m, n); d = fma(d, m, n);
        }
        let s = a + b + c + d;
        out[id.x] = s.x + s.y + s.z + s.w;
      }`,
    groups: 132 * 16,
    work: (groups) => groups * 256 * FMA_STEPS * 16 * 2,
  },
  bytes: {
    code: `@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
      @group(0) @binding(1) var<storage> source: array<vec4f>;
      @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3u) { out[id.x] = source[id.x]; }`,
    groups: 32768,
    work: (groups) => groups * 256 * 16 * 2,
  },
};

/** Operations or bytes a second of one of the kernels above: the best of many passes. */
async function peak(device, { code, groups, work }) {
  const buffers = [0, 1].map(() => device.createBuffer({ size: 32768 * 256 * 16, usage: 0x80 }));
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const count = code.includes("binding(1)") ? 2 : 1;
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.slice(0, count).map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const queries = device.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = device.createBuffer({ size: 16, usage: 0x200 | 0x4 });
  const staging = device.createBuffer({ size: 16, usage: 0x1 | 0x8 });
  const times = [];
  for (let i = 0; i < 20; i++) {
    const encoder = device.createCommandEncoder();
    const timestampWrites = { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    const pass = encoder.beginComputePass({ timestampWrites });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(groups);
    pass.end();
    encoder.resolveQuerySet(queries, 0, 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(1);
    const [begin, end] = new BigUint64Array(staging.getMappedRange());
    times.push(Number(end - begin));
    staging.unmap();
  }
  for (const buffer of buffers) buffer.destroy();
  return work(groups) / (Math.min(...times) / 1e9);
}

const adapter = await globalThis.gpu.requestAdapter({ powerPreference: "high-performance" });
const device = await adapter.requestDevice({
  requiredFeatures: ["timestamp-query"],
  requiredLimits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 },
});
const peaks = {};
for (const name of Object.keys(PEAKS)) peaks[name] = await peak(device, PEAKS[name]);
device.destroy();
writeFileSync(out, JSON.stringify({ adapter: adapter.info.description || adapter.info.device, peaks }) + "\n");
for (const folder of packages) {
  const model = await loadModel(pathToFileURL(resolve(folder)).href + "/");
  const inputs = onGpu(model, Number(process.env.EXTENT ?? 1)); // no upload lets the GPU fall idle;
  const bound = await model.bind(inputs);
  for (const start = performance.now(); performance.now() - start < WARM_UP_MS;) {
    for (let i = 0; i < 4; i++) bound.run();
    await model.device.queue.onSubmittedWorkDone();
  }
  const profile = await model.profile(inputs, { runs: 50 });
  const launches = profile.launches.map(({ kernel, grid, ms, bytes, flops }) => ({ kernel, grid, ms, bytes, flops }));
  appendFileSync(out, JSON.stringify({ model: basename(resolve(folder)), ms: profile.ms, launches }) + "\n");
  console.log(`${basename(resolve(folder))}: ${launches.length} launches, ${profile.ms.toFixed(3)} ms`);
  model.dispose();
}
process.exit(0);
