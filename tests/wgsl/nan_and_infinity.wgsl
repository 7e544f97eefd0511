var<private> inf: u32 = 0x7f800000u;
var<private> inf_1: u32 = 0xff800000u;
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v2 = buffer1[local_index];
  let v3 = f32(v2);
  var v1: f32;
  if v2 == 0u {
    v1 = bitcast<f32>(inf);
  } else {
    v1 = select(v3, bitcast<f32>(inf_1), v2 == 1u);
  }
  let v4 = select(0u, 1u, ((bitcast<u32>(v1) & 0x7fffffffu) == 0x7f800000u)) + select(0u, 2u, ((bitcast<u32>(v1) & 0x7fffffffu) > 0x7f800000u)) + select(0u, 4u, v1 != v3) + select(0u, 8u, !(v1 < v3));
  buffer2[local_index] = v4 + bitcast<u32>(select(1f, bitcast<f32>(inf), v2 == 2u));
}
