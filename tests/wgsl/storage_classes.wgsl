var<private> p: u32;
@group(0) @binding(0) var<storage> Input: array<u32>;
var<workgroup> w: array<u32, 8>;
@group(0) @binding(2) var<uniform> U: vec4u;
@group(0) @binding(1) var<storage, read_write> Output: array<u32>;
fn bump() {
  p += 8u;
}
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) workgroup_id: vec3u, @builtin(num_workgroups) num_workgroups: vec3u, @builtin(global_invocation_id) global_id: vec3u) {
  var i: u32;
  var x: u32;
  var f: array<u32, 4>;
  p = 5u;
  i = local_index;
  x = Input[i];
  f[i & 3u] = x;
  w[i] = f[i & 3u] + U[i & 3u];
  workgroupBarrier();
  bump();
  Output[i] = w[7u - i] + p + workgroup_id.x + num_workgroups.y + global_id.x;
}
