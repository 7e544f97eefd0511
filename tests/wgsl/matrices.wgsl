@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(2) var<storage, read_write> buffer2: array<mat3x3f>;
@group(0) @binding(1) var<storage, read_write> buffer3: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1: mat3x3f;
  let v2 = buffer1[local_index];
  let v3 = local_index & 1u;
  let v4 = buffer2[v3];
  v1 = v4;
  let v5 = vec3f(f32(v2), 1f, 2f);
  v1[v2 % 3u] = v4 * v5;
  let v6 = v1[1];
  v1[0].y += select(2f, 1f, all(v5 * v6.xxx == vec3f()));
  buffer2[v3][2].x = 5f;
  let v7 = transpose(v1) * 2f;
  buffer3[local_index] = u32(i32(dot(v7 * v5, vec3f(1f)) + (mat2x3f(v7[0], v5) * vec2f(1f, 2f)).y + mat3x3f(v5 * v5.x, v5 * v5.y, v5 * v5.z)[1].z));
}
