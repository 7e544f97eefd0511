@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  let v1 = input[global_id.x] - 4u;
  let t1 = i32(v1);
  let t2 = 3i;
  let t3 = t1 % t2;
  output[global_id.x] = u32(i32(v1) / 3i) * 1000u + u32(i32(v1) % 3i) * 100u + u32(select(t3, t3 + t2, (t3 != 0i) & ((t3 ^ t2) < 0i))) * 10u + u32(i32(v1) >> 1u);
}
