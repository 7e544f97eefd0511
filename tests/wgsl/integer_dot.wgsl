@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = input[local_index];
  let v2 = vec2i(i32(v1), -2i);
  output[local_index] = dot4U8Packed(v1, v1) ^ u32(dot(v2, v2));
}
