@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1: array<f32, 3>;
  var v2: vec4f;
  let v3 = buffer1[local_index];
  let v4 = vec4f(f32(v3), 1f, 2f, 3f);
  v1 = array<f32, 3>(4f, 5f, f32(local_index));
  v2 = v4.wzyx;
  let v5 = v4.zz + v4.xw;
  v2.x = v5.x;
  v2.z = v5.y;
  v2[v3 & 3u] = 9f;
  v1[v3 % 3u] = v2[(v3 + 1u) & 3u];
  let v6 = v1;
  buffer2[local_index] = u32(dot(select(v2, v4, vec4<bool>(true, false, (v3 > 2u), false)), vec4f(1f, 10f, 100f, 1000f))) + u32(fma(v6[2], 3f, fma(v6[1], 2f, v6[0])));
}
