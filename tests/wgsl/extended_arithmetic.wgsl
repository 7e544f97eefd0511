struct S1 {
  m1: u32,
  m2: u32,
}
struct S2 {
  m1: i32,
  m2: i32,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = buffer1[local_index];
  let t1 = v1 * 1073741824u;
  let t2 = 3221225472u;
  let t3 = t1 + t2;
  let v2 = S1(t3, u32(t3 < t1));
  let t4 = v1;
  let t5 = 4u;
  let v3 = S1(t4 - t5, u32(t4 < t5));
  let t6 = v1 * 305419895u;
  let t7 = 2309737967u;
  let t8 = t6 & 0xffffu;
  let t9 = t7 & 0xffffu;
  let t10 = t6 >> 16u;
  let t11 = t7 >> 16u;
  let t12 = t10 * t9 + ((t8 * t9) >> 16u);
  let t13 = t8 * t11 + (t12 & 0xffffu);
  let v4 = S1(t6 * t7, t10 * t11 + (t12 >> 16u) + (t13 >> 16u));
  let t14 = u32(i32(v1) * -77777777i);
  let t15 = 99999999u;
  let t16 = t14 & 0xffffu;
  let t17 = t15 & 0xffffu;
  let t18 = t14 >> 16u;
  let t19 = t15 >> 16u;
  let t20 = t18 * t17 + ((t16 * t17) >> 16u);
  let t21 = t16 * t19 + (t20 & 0xffffu);
  let t22 = t18 * t19 + (t20 >> 16u) + (t21 >> 16u);
  let v5 = S2(i32(t14 * t15), i32(t22 - select(0u, t15, (i32(t14) < 0i)) - select(0u, t14, (i32(t15) < 0i))));
  buffer2[local_index] = v2.m1 ^ v2.m2 ^ v3.m1 ^ (v3.m2 << 1u) ^ v4.m2 ^ v4.m1 ^ u32(v5.m2) ^ u32(v5.m1);
}
