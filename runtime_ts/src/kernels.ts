/** @file WGSL text and the manifest's kernels in, compute pipelines out, all compiled in parallel by the browser. */
import { guarded, STAGE_COMPUTE, USAGE } from "./device.ts";
import { GpuError, messageOf, PackageError } from "./errors.ts";
import type { Kernel } from "./manifest.ts";
import { sleep } from "./queue.ts";
import { bindGroup } from "./words.ts";

export interface CompiledKernel {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  /** Shared by all kernels of the same signature, and so are bind groups. */
  readonly layout: KernelLayout;
  readonly bindings: number;
  /** 4-byte scalars in the uniform block; 0 for no block. */
  readonly scalars: number;
}

export interface KernelLayout {
  readonly id: number;
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/**
 * How long modules are held: when the engine collects those that nobody holds, Node frees them on this thread, 0.2
 * ms each, which would be in the middle of the first run.
 */
const HELD_MS = 2000;
/** What takes this thread some milliseconds: the text of a kernel. */
const PACE_MS = 5;

/**
 * `gently`: while others run, one text after the other is handed over.
 *
 * @throws GpuError with the compiler's messages if a kernel does not compile; PackageError if its text is missing
 */
export async function compileKernels(
  device: GPUDevice, kernels: readonly Kernel[], text: Uint8Array, onCompiled: (bytes: number) => void, gently: boolean,
): Promise<CompiledKernel[]> {
  const layouts = new Map<string, KernelLayout>();
  const decoder = new TextDecoder();
  const held: GPUShaderModule[] = [];
  const compiled = await Promise.all(kernels.map(async (kernel, i) => {
    const [offset, length] = kernel.wgsl;
    if (offset + length > text.byteLength) throw new PackageError(`manifest.json: kernel "${kernel.name}" has no text`);
    const code = decoder.decode(text.subarray(offset, offset + length));
    const layout = layoutOf(device, kernel, layouts);
    if (gently) await sleep(PACE_MS * i);
    const pipeline = await compile(device, kernel.name, code, layout.pipeline, held);
    onCompiled(length);
    return { name: kernel.name, pipeline, layout, bindings: kernel.bindings.length, scalars: kernel.scalars.length };
  }));
  const timer: Partial<NodeJS.Timeout> = setTimeout(() => { held.length = 0; }, HELD_MS);
  timer.unref?.(); // a number in browsers
  return compiled;
}

async function compile(
  device: GPUDevice, name: string, code: string, layout: GPUPipelineLayout, held: GPUShaderModule[],
): Promise<GPUComputePipeline> {
  // The module's own errors are told below, with their lines; the scope keeps them off the console.
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label: name, code });
  held.push(module);
  const invalid = device.popErrorScope();
  try {
    // The module has one entry point, whatever WGSL's reserved words made of its name.
    const pipeline = await device.createComputePipelineAsync({ label: name, layout, compute: { module } });
    await invalid;
    return pipeline;
  } catch (error) {
    const lines = (await module.getCompilationInfo()).messages
      .filter(({ type }) => type === "error")
      .map(({ lineNum, linePos, message }) => `\n  ${name}.wgsl:${lineNum}:${linePos}: ${message}`);
    throw new GpuError(`kernel "${name}" does not compile on this device: ${lines.join("") || messageOf(error)}`);
  }
}

function layoutOf(device: GPUDevice, kernel: Kernel, layouts: Map<string, KernelLayout>): KernelLayout {
  const key = `${kernel.bindings.join()};${kernel.scalars.length > 0}`;
  const known = layouts.get(key);
  if (known) return known;
  const buffers: GPUBufferBindingLayout[] = kernel.bindings.map((access) => (
    { type: access === "read" ? "read-only-storage" : "storage" }));
  if (kernel.scalars.length > 0) buffers.push({ type: "uniform" });
  const entries = buffers.map((buffer, binding) => ({ binding, visibility: STAGE_COMPUTE, buffer }));
  const group = device.createBindGroupLayout({ entries });
  const made = { id: layouts.size, group, pipeline: device.createPipelineLayout({ bindGroupLayouts: [group] }) };
  layouts.set(key, made);
  return made;
}

/**
 * Launches every kernel once, of no workgroups: drivers on the CPU compile when a pipeline is first used, not when it
 * is made (Mesa's lavapipe: the first run of a small model took 56 s, and then 0.1 s). Resolves when they are done.
 */
export async function warmUp(device: GPUDevice, kernels: readonly CompiledKernel[]): Promise<void> {
  const buffers: GPUBuffer[] = [];
  const { checked } = guarded(device, "warming up", () => {
    const groups = new Map<KernelLayout, GPUBindGroup>();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    // The count 0 comes from a buffer: given as a number it makes browsers print a warning.
    const none = device.createBuffer({ size: 12, usage: USAGE.INDIRECT });
    buffers.push(none);
    for (const { pipeline, layout, bindings, scalars } of kernels) {
      let group = groups.get(layout);
      if (!group) {
        const usages = [...Array<number>(bindings).fill(USAGE.STORAGE), ...(scalars > 0 ? [USAGE.UNIFORM] : [])];
        const resources = usages.map((usage) => {
          const buffer = device.createBuffer({ size: WARM_BYTES, usage });
          buffers.push(buffer);
          return { buffer };
        });
        groups.set(layout, group = bindGroup(device, layout.group, resources));
      }
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroupsIndirect(none, 0);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  });
  await checked;
  await device.queue.onSubmittedWorkDone();
  for (const buffer of buffers) buffer.destroy();
}
/** More than any uniform block or element of a kernel has. */
const WARM_BYTES = 4096;
