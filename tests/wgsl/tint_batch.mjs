// WGSL texts in (one JSON string per line on stdin), Tint's verdicts out: null, or the first error, as JSON behind
// "verdict " (Dawn prints warnings of its own between them).
// Dawn's null backend compiles for no device, so every feature may be asked for.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.argv[2]);
const { create, globals } = require("webgpu");
Object.assign(globalThis, globals);
globalThis.gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
const adapter = await globalThis.gpu.requestAdapter();
const wanted = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"].filter((name) => adapter.features.has(name));
const limits = {};
for (const name of ["maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize", "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY", "maxBindingsPerBindGroup", "maxUniformBufferBindingSize"]) {
  if (adapter.limits[name] !== undefined) limits[name] = adapter.limits[name];
}
const device = await adapter.requestDevice({ requiredFeatures: wanted, requiredLimits: limits });

for await (const line of createInterface({ input: process.stdin })) {
  device.pushErrorScope("validation");
  const shader = device.createShaderModule({ code: JSON.parse(line) });
  const info = await shader.getCompilationInfo();
  const messages = info.messages.filter((m) => m.type === "error").map((m) => `${m.lineNum}:${m.linePos} ${m.message}`);
  const error = await device.popErrorScope();
  console.log("verdict " + JSON.stringify(messages[0] ?? error?.message ?? null));
}
