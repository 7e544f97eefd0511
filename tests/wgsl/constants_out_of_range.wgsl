@group(0) @binding(0) var<storage, read_write> buffer1: array<u32>;
@compute @workgroup_size(1)
fn main() {
  var v1: array<u32, 4>;
  let v2 = buffer1[0];
  let v3 = buffer1[1];
  var t1 = 77u;
  var t2 = vec2u(35u, 1u);
  let v4 = vec2u(v2, v3) >> t2;
  var v5 = vec4u(2147483649u, 2147483649u, 35u, 35u);
  let v6 = (vec4u(v2, v2, v3, v3) >> v5) >> v5;
  var t3 = 77u;
  var t4 = -1i;
  var t5 = 77u;
  v1[t5] = 3u;
  var t6 = 77u;
  var t7 = -1i;
  let v7 = (v3 >> t1) + v4.x + v4.y + v6.w + ((v6[t3] + (v6[t4] + buffer1[2147483647]) + v1[t6] + v1[t7]) & 0u);
  buffer1[0] = v7;
  buffer1[1] = v7;
}
