enable subgroups;
diagnostic(off, subgroup_uniformity);
@group(0) @binding(1) var<storage, read_write> buffer1: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let t1 = true;
  let v1 = subgroupBallot(t1);
  let v2 = select(select(select(firstTrailingBit(v1.w) + 96u, firstTrailingBit(v1.z) + 64u, v1.z != 0u), firstTrailingBit(v1.y) + 32u, v1.y != 0u), firstTrailingBit(v1.x) + 0u, v1.x != 0u);
  let v3 = select(select(select(firstLeadingBit(v1.x) + 0u, firstLeadingBit(v1.y) + 32u, v1.y != 0u), firstLeadingBit(v1.z) + 64u, v1.z != 0u), firstLeadingBit(v1.w) + 96u, v1.w != 0u);
  let t2 = 1u;
  let v4 = select(0u, 1u, (((v1[0u >> 5u] >> (0u & 31u)) & 1u) != 0u)) + v2 * 2u + select(0u, 4u, v3 + 1u == dot(countOneBits(v1), vec4u(1u))) + select(0u, 8u, ((subgroupAdd(u32(true)) & 1u) != 0u) == ((subgroupAdd(t2) & 1u) == 1u));
  buffer1[local_index] = v4;
}
