enable subgroups;
diagnostic(off, subgroup_uniformity);
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = buffer1[local_index];
  let t1 = 1u;
  let v2 = subgroupAdd(t1);
  let t2 = 1u;
  let t3 = 1u;
  let v3 = select(0u, 1u, subgroupAny(v1 > 3u)) + select(0u, 2u, subgroupAll(v1 < 1000u)) + select(0u, 4u, subgroupAll(7u == subgroupBroadcastFirst(7u))) + select(0u, 8u, subgroupInclusiveAdd(t2) - subgroupExclusiveAdd(t3) == 1u);
  let v4 = i32(v1);
  let v5 = v3 + select(0u, 16u, (subgroupMax(v4) >= v4)) + select(0u, 32u, subgroupBroadcastFirst(v2) == v2) + select(0u, 64u, subgroupShuffleXor(v1, 1u) == quadSwapX(v1));
  let t4 = true;
  buffer2[local_index] = v5 + select(0u, 128u, dot(countOneBits(subgroupBallot(t4)), vec4u(1u)) == v2) + select(0u, 256u, quadBroadcast(v2, 2u) == v2);
}
