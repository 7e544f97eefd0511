struct S1 {
  m1: f32,
  m2: i32,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1: f32;
  let v2 = buffer1[local_index];
  let v3 = fma(f32(v2), 0.75f, 0.5f);
  let t1 = frexp(v3);
  let v4 = S1(t1.fract, t1.exp);
  let t2 = modf(v3);
  v1 = t2.whole;
  let v5 = -v3;
  let v6 = u32(v4.m1 * 1024f) + u32(v4.m2) * 7u + u32(v1) * 3u + u32(t2.fract * 4f) + u32(ldexp(1f, i32(v2 & 3u))) + u32(length(vec2f(3f, 4f) * v3)) + u32(abs((v5 - f32(2) * 1f * 1f * v5)));
  let v7 = i32(v2);
  let t3 = vec2f(0f, 1f);
  buffer2[local_index] = v6 + u32(abs(v7 - 5i)) + u32(clamp(v7, 2i, 4i)) + pack2x16unorm(t3) + u32(fma(4f, sign(v3), select(-1f, 1f, (v5 * v3 < f32(0))))) + u32(round(v3));
}
