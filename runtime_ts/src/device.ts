/** @file A package's requirements in, a GPUDevice that meets them out; what is missing is said before any download. */
import { DeviceLostError, GpuError, messageOf, OutOfMemoryError, UnsupportedError } from "./errors.ts";
import { importModule } from "./import.ts";
import type { Requirements } from "./manifest.ts";

/** The bits of GPUBufferUsage and GPUMapMode: Node has those globals only if someone installs them. */
export const USAGE = {
  MAP_READ: 0x1, COPY_SRC: 0x4, COPY_DST: 0x8, UNIFORM: 0x40, STORAGE: 0x80, INDIRECT: 0x100,
} as const;
export const MAP_READ = 0x1;
export const STAGE_COMPUTE = 0x4;

type Limits = Record<string, number | undefined>;

/** Sizes are worth having as large as the adapter gives them: how large buffers get depends on the inputs. */
const ROOM = ["maxBufferSize", "maxStorageBufferBindingSize"];

/** What stands among the features of packages and is none of WebGPU's: how an adapter must be. */
const PROPERTIES: Readonly<Record<string, (info: GPUAdapterInfo) => boolean>> = {
  "software-adapter": (info) => info.isFallbackAdapter, // a program on the CPU
  "subgroups-of-32": (info) => info.subgroupMinSize === 32 && info.subgroupMaxSize === 32,
};

/** What a device of ours gets where the adapter has it, whatever the package requires: profiles read it. */
const OPTIONAL = ["timestamp-query"] as const satisfies readonly GPUFeatureName[];

/** navigator.gpu; in Node, where there is none, Dawn from the npm package "webgpu". @throws UnsupportedError */
export async function findGpu(): Promise<GPU> {
  const gpu = (globalThis.navigator as Partial<Navigator> | undefined)?.gpu;
  if (gpu) return gpu;
  if (!inNode()) {
    throw new UnsupportedError(
      globalThis.isSecureContext
        ? "this browser has no WebGPU: use a current Chrome, Edge, Safari or Firefox, and look for it in the settings"
        : "WebGPU needs a secure page: serve it by https or from localhost",
    );
  }
  try {
    return (nodeGpu ??= (await importModule<{ create(flags: string[]): GPU }>("webgpu")).create([]));
  } catch (error) {
    throw new UnsupportedError(`Node needs the npm package "webgpu" (npm install webgpu): ${messageOf(error)}`);
  }
}
let nodeGpu: GPU | undefined;

// Dawn's devices end with the instance that made them, which Node's garbage collector does not see.
const instances = new Set<GPU>();

function inNode(): boolean {
  return typeof process !== "undefined" && "node" in process.versions;
}

/** @throws UnsupportedError if there is none, with what the user can do. */
export async function findAdapter(gpu: GPU, patience = 0): Promise<GPUAdapter> {
  instances.add(gpu);
  for (let pause = FIRST_PAUSE_MS; ; pause *= 2) {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    if (adapter) return adapter;
    if (pause > patience) break;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  const advice = inNode()
    ? "install a Vulkan driver, or name one in the environment variable VK_DRIVER_FILES"
    : "look for WebGPU and the graphics driver in the browser's settings (in Chrome: chrome://gpu)";
  throw new UnsupportedError(`WebGPU found no graphics adapter: ${advice}`);
}
const FIRST_PAUSE_MS = 100;

/** A device of our own with what the package requires and room for large tensors. @throws UnsupportedError */
export async function openDevice(adapter: GPUAdapter, requires: Requirements): Promise<GPUDevice> {
  const optional = OPTIONAL.filter((name) => adapter.features.has(name));
  const required = requires.features.filter((name) => !(name in PROPERTIES)) as GPUFeatureName[];
  const features = new Set([...required, ...optional]);
  const limits: Record<string, number> = { ...requires.limits };
  for (const name of ROOM) limits[name] = (adapter.limits as unknown as Limits)[name] ?? 0;
  try {
    return await adapter.requestDevice({
      label: "tvm-webgpu",
      requiredFeatures: [...features],
      requiredLimits: limits,
    });
  } catch (error) {
    throw new UnsupportedError(`the graphics adapter gave no device: ${messageOf(error)}`);
  }
}

/** An adapter or a device: what there is to compare requirements with. */
export type Capabilities = Pick<GPUAdapter, "features" | "limits"> & Partial<Pick<GPUAdapter, "info">> &
  Partial<Pick<GPUDevice, "adapterInfo">>;

/** Every feature and limit that is required and not there, in words. */
export function missingOf(requires: Requirements, { features, limits, info, adapterInfo }: Capabilities): string[] {
  const about = info ?? adapterInfo;
  const has = (name: string): boolean => (about && PROPERTIES[name]?.(about)) ?? features.has(name);
  const missing = requires.features.filter((name) => !has(name)).map((name) => `feature "${name}"`);
  for (const [name, needed] of Object.entries(requires.limits)) {
    const given = (limits as unknown as Limits)[name] ?? 0;
    // A limit that is an alignment is better when smaller.
    const enough = name.startsWith("min") ? given <= needed : given >= needed;
    if (!enough) missing.push(`${name} of ${needed} (it has ${given})`);
  }
  return missing;
}

/** Whether kernels are run by the processor, on which all else runs. */
export function onCpu(device: GPUDevice): boolean {
  return missingOf({ features: ["software-adapter"], limits: {} }, device).length === 0;
}

/** The first one says why: a buffer that was not to be had makes invalid whatever names it. */
const SCOPES = ["out-of-memory", "validation", "internal"] as const satisfies readonly GPUErrorFilter[];

/**
 * Runs `action` and gives its value, and a promise of what WebGPU makes of its calls, which it tells later.
 * `action` is synchronous, so that the calls of others never fall into its scopes.
 */
export function guarded<T>(device: GPUDevice, what: string, action: () => T): { value: T; checked: Promise<void> } {
  for (const filter of SCOPES) device.pushErrorScope(filter);
  let value: T;
  try {
    value = action();
  } catch (error) {
    void popScopes(device);
    throw error;
  }
  const checked = popScopes(device).then((errors) => {
    const first = errors.findIndex((error) => error);
    if (first < 0) return;
    const { message } = errors[first]!;
    if (first > 0) throw new GpuError(`${what}: ${message}`);
    throw new OutOfMemoryError(`${what}: the GPU is out of memory (${message}): try smaller inputs`);
  });
  checked.catch(() => undefined); // nobody may wait for it, when something else fails first
  return { value, checked };
}

async function popScopes(device: GPUDevice): Promise<(GPUError | null)[]> {
  // A lost device answers null or fails; that it is lost is told elsewhere. The innermost scope is popped first.
  const pops = SCOPES.map(() => device.popErrorScope().catch(() => null));
  return (await Promise.all(pops)).reverse();
}

/** The error for a lost device; `advice` says what comes next. */
export function deviceLost(info: GPUDeviceLostInfo, advice = "load the model again"): DeviceLostError {
  const why = info.message ? `: ${info.message}` : "";
  const what = info.reason === "destroyed" ? "destroyed" : "lost";
  return new DeviceLostError(`the GPU device was ${what}${why}; ${advice}`);
}
