struct S1 {
  m1: u32,
  m2: i32,
  m3: vec2u,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(2) var<storage, read_write> buffer2: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> buffer3: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> buffer4: array<atomic<u32>>;
@group(0) @binding(1) var<storage, read_write> buffer5: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = buffer1[local_index];
  let t1 = local_index * 2u;
  let t2 = atomicLoad(&buffer2[t1 >> 2u]);
  let v2 = extractBits(i32(t2), (t1 & 3u) * 8u, 16u);
  let t3 = atomicLoad(&buffer3[local_index >> 2u]);
  let v3 = extractBits(v2 * extractBits(i32(extractBits(v1 * 1000u, 0u, 16u)), 0u, 16u), 0u, 16u);
  let v4 = extractBits(extractBits(t3, (local_index & 3u) * 8u, 8u) + extractBits(v1 * 50u, 0u, 8u), 0u, 8u);
  let t4 = v3 >> 2u;
  let t5 = local_index * 2u;
  let t6 = (t5 & 3u) * 8u;
  atomicAnd(&buffer2[t5 >> 2u], ~(65535u << t6));
  atomicOr(&buffer2[t5 >> 2u], extractBits(u32(t4), 0u, 16u) << t6);
  let t7 = (local_index & 3u) * 8u;
  atomicAnd(&buffer3[local_index >> 2u], ~(255u << t7));
  atomicOr(&buffer3[local_index >> 2u], v4 << t7);
  let t8 = (local_index & 3u) * 6u;
  let t9 = atomicLoad(&buffer4[t8 >> 2u]);
  let t10 = (local_index & 3u) * 6u + 2u;
  let t11 = atomicLoad(&buffer4[t10 >> 2u]);
  let t12 = (local_index & 3u) * 6u + 4u;
  let t13 = atomicLoad(&buffer4[t12 >> 2u]);
  let t14 = (local_index & 3u) * 6u + 5u;
  let t15 = atomicLoad(&buffer4[t14 >> 2u]);
  let v5 = S1(extractBits(t9, (t8 & 3u) * 8u, 8u), extractBits(i32(t11), (t10 & 3u) * 8u, 16u), vec2u(extractBits(t13, (t12 & 3u) * 8u, 8u), extractBits(t15, (t14 & 3u) * 8u, 8u)));
  workgroupBarrier();
  if local_index < 4u {
    let t16 = extractBits(v5.m1 + 1u, 0u, 8u);
    let t17 = local_index * 6u;
    let t18 = (t17 & 3u) * 8u;
    atomicAnd(&buffer4[t17 >> 2u], ~(255u << t18));
    atomicOr(&buffer4[t17 >> 2u], t16 << t18);
    let t19 = extractBits(-v5.m2, 0u, 16u);
    let t20 = local_index * 6u + 2u;
    let t21 = (t20 & 3u) * 8u;
    atomicAnd(&buffer4[t20 >> 2u], ~(65535u << t21));
    atomicOr(&buffer4[t20 >> 2u], extractBits(u32(t19), 0u, 16u) << t21);
    let t22 = local_index * 6u + 4u;
    let t23 = (t22 & 3u) * 8u;
    atomicAnd(&buffer4[t22 >> 2u], ~(255u << t23));
    atomicOr(&buffer4[t22 >> 2u], v5.m3.yx.x << t23);
    let t24 = local_index * 6u + 5u;
    let t25 = (t24 & 3u) * 8u;
    atomicAnd(&buffer4[t24 >> 2u], ~(255u << t25));
    atomicOr(&buffer4[t24 >> 2u], v5.m3.yx.y << t25);
  }
  let t26 = vec2i(v3, v2);
  buffer5[local_index] = u32(v3) + v4 * 3u + select(0u, 7u, (v2 < 0i)) + u32(i32(extractBits(u32(t26.x), 0u, 16u) | (extractBits(u32(t26.y), 0u, 16u) << 16u)));
}
