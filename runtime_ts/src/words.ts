/** @file Kernels of the runtime's own, one invocation for each word of their result, and how they are launched. */

const GROUP = 256;

/** WGSL of a kernel that does `body` for each `i` below `words`. */
export function overWords(words: string, body: string): string {
  return /* wgsl */ `
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * ${GROUP};
  if (i >= ${words}) { return; }
  ${body}
}`;
}

/** Groups beyond the most that a device takes in x are folded into y. */
export function launchOver(pass: GPUComputePassEncoder, { limits }: GPUDevice, words: number): void {
  const groups = Math.ceil(words / GROUP);
  const across = Math.min(groups, limits.maxComputeWorkgroupsPerDimension);
  pass.dispatchWorkgroups(across, Math.ceil(groups / across));
}

/** Resources at the bindings 0, 1, ..., where there is one. */
export function bindGroup(
  device: GPUDevice, layout: GPUBindGroupLayout, resources: readonly (GPUBindingResource | undefined)[], label = "",
): GPUBindGroup {
  const entries = resources.flatMap((resource, binding) => (resource ? [{ binding, resource }] : []));
  return device.createBindGroup({ label, layout, entries });
}
