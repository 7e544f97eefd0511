enable f16;
@group(0) @binding(0) var<storage> A: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> B: array<vec4f>;
@compute @workgroup_size(64)
fn there_and_back_kernel(@builtin(local_invocation_id) local_id: vec3u) {
  let threadIdx_x = i32(local_id.x);
  B[threadIdx_x] = vec4f(vec4h(A[threadIdx_x]));
}
