@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
fn inverse4f(m: mat4x4f) -> mat4x4f {
  let s0 = m[0][0] * m[1][1] - m[1][0] * m[0][1];
  let s1 = m[0][0] * m[1][2] - m[1][0] * m[0][2];
  let s2 = m[0][0] * m[1][3] - m[1][0] * m[0][3];
  let s3 = m[0][1] * m[1][2] - m[1][1] * m[0][2];
  let s4 = m[0][1] * m[1][3] - m[1][1] * m[0][3];
  let s5 = m[0][2] * m[1][3] - m[1][2] * m[0][3];
  let c0 = m[2][0] * m[3][1] - m[3][0] * m[2][1];
  let c1 = m[2][0] * m[3][2] - m[3][0] * m[2][2];
  let c2 = m[2][0] * m[3][3] - m[3][0] * m[2][3];
  let c3 = m[2][1] * m[3][2] - m[3][1] * m[2][2];
  let c4 = m[2][1] * m[3][3] - m[3][1] * m[2][3];
  let c5 = m[2][2] * m[3][3] - m[3][2] * m[2][3];
  let size = s0 * c5 - s1 * c4 + s2 * c3 + s3 * c2 - s4 * c1 + s5 * c0;
  return mat4x4f(
    m[1][1] * c5 - m[1][2] * c4 + m[1][3] * c3,
    m[0][2] * c4 - m[0][1] * c5 - m[0][3] * c3,
    m[3][1] * s5 - m[3][2] * s4 + m[3][3] * s3,
    m[2][2] * s4 - m[2][1] * s5 - m[2][3] * s3,
    m[1][2] * c2 - m[1][0] * c5 - m[1][3] * c1,
    m[0][0] * c5 - m[0][2] * c2 + m[0][3] * c1,
    m[3][2] * s2 - m[3][0] * s5 - m[3][3] * s1,
    m[2][0] * s5 - m[2][2] * s2 + m[2][3] * s1,
    m[1][0] * c4 - m[1][1] * c2 + m[1][3] * c0,
    m[0][1] * c2 - m[0][0] * c4 - m[0][3] * c0,
    m[3][0] * s4 - m[3][1] * s2 + m[3][3] * s0,
    m[2][1] * s2 - m[2][0] * s4 - m[2][3] * s0,
    m[1][1] * c1 - m[1][0] * c3 - m[1][2] * c0,
    m[0][0] * c3 - m[0][1] * c1 + m[0][2] * c0,
    m[3][1] * s1 - m[3][0] * s3 - m[3][2] * s0,
    m[2][0] * s3 - m[2][1] * s1 + m[2][2] * s0,
  ) * (1f / size);
}
fn inverse3f(m: mat3x3f) -> mat3x3f {
  return transpose(mat3x3f(cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1]))) * (1f / determinant(m));
}
fn inverse2f(m: mat2x2f) -> mat2x2f {
  return mat2x2f(m[1].y, -m[0].y, -m[1].x, m[0].x) * (1f / determinant(m));
}
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v1 = f32(buffer1[local_index]) + 1f;
  let v2 = inverse2f(mat2x2f(vec2f(2f, 1f), vec2f(0f, v1)));
  let v3 = u32(fma(abs(inverse4f(mat4x4f(vec4f(v1, 1f, 0f, 0f), vec4f(0f, 2f, 0f, 0f), vec4f(1f, 0f, 4f, 0f), vec4f(0f, 0f, 0f, 1f)))[0].y * v1), 1000f, 0.5f)) + u32(fma(abs(inverse3f(mat3x3f(vec3f(v1, 0f, 1f), vec3f(0f, 2f, 0f), vec3f(0f, 1f, 4f)))[2].x * v1), 1000f, 0.5f));
  buffer2[local_index] = v3 + u32(v2[0].x * 64f) + u32(fma(abs(v2[0].y * v1), 1000f, 0.5f));
}
