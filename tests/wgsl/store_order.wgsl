@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  output[global_id.x] = 5u;
  let v1 = output[global_id.x];
  output[global_id.x] = input[global_id.x];
  output[global_id.x] = v1 + output[global_id.x];
}
