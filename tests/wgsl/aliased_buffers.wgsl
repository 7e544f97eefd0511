@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(2) var<storage, read_write> buffer2: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer3: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = vec4f(bitcast<f32>(buffer2[(local_index & 1u) * 4u]), bitcast<f32>(buffer2[(local_index & 1u) * 4u + 1u]), bitcast<f32>(buffer2[(local_index & 1u) * 4u + 2u]), bitcast<f32>(buffer2[(local_index & 1u) * 4u + 3u]));
  let t1 = buffer1[local_index];
  buffer2[8u + local_index] = t1;
  buffer3[local_index] = u32(v1.y) + buffer2[local_index] + u32(i32(arrayLength(&buffer2) / 4u));
}
