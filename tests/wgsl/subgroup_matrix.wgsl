enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, subgroup_uniformity);
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage> a: array<f16>;
@group(0) @binding(1) var<storage> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) workgroup_id: vec3u) {
  var acc = subgroup_matrix_result<f32, 16, 16>(1f);
  for (var i = 0u; i < 4u; i++) {
    let v1 = i * 16u;
    let v2 = subgroupMatrixMultiplyAccumulate(subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&a, workgroup_id.y * 64u + v1, 64u), subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&b, v1 * 64u, 64u), acc);
    acc = v2;
  }
  subgroupMatrixStore<row_major>(&c, workgroup_id.x * 16u, subgroupMatrixScalarMultiply(acc, 2f), 64u);
}
