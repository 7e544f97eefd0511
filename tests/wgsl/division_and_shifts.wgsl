@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = buffer1[local_index];
  let v2 = v1 | 1u;
  let v3 = v1 & 31u;
  let t1 = 4026531840u;
  let t2 = i32(-2147483648);
  let v4 = 1000u / v2 + 1000u % v2 * 3u + u32(-1000i / (i32(v1) + 1i)) + (v1 << v3) + (t1 >> v3) + u32(t2 >> u32(i32(v3))) + extractBits(v1 * 77u, 2u, 5u) + insertBits(v1, 3u, 4u, 3u);
  buffer2[local_index] = v4 + reverseBits(v1) + u32(countOneBits(i32(v1))) + u32(i32(firstLeadingBit(v1))) + u32(firstTrailingBit(i32(v1)));
}
