struct S1 {
  m1: u32,
  m2: f32,
  m3: vec2i,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@group(0) @binding(2) var<uniform> args1: S1;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  buffer2[local_index] = buffer1[local_index] * args1.m1 + u32(args1.m2) + u32(args1.m3.y);
}
