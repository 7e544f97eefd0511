struct S1 {
  m1: vec4u,
  m2: array<vec2u>,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@group(0) @binding(2) var<storage> buffer3: S1;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  buffer2[local_index] = u32(i32(arrayLength(&buffer1))) * 100u + u32(i32(arrayLength(&buffer3.m2))) + buffer3.m2[buffer1[local_index] & 1u].y + buffer3.m1.z;
}
