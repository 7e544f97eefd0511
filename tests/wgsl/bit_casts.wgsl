enable f16;
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = buffer1[local_index];
  let v2 = bitcast<f32>(v1 | 1065353216u);
  let v3 = bitcast<vec2u>(vec2f(v2, -v2));
  let v4 = bitcast<vec2i>(vec2f(v2, 2f));
  let v5 = vec2h(unpack2x16float(v1 | 1006648320u));
  let v6 = vec2u(extractBits(v1, 0u, 16u), extractBits(v1, 16u, 16u));
  buffer2[local_index] = v3.x ^ v3.y ^ u32(v4.x) ^ u32(v4.y) ^ pack2x16float(vec2f(v5 + v5)) ^ (v6.yx.x | (v6.yx.y << 16u));
}
