@group(0) @binding(0) var<storage> A: array<f32>;
@group(0) @binding(1) var<storage, read_write> B: array<atomic<u32>>;
@compute @workgroup_size(256)
fn stored_kernel(@builtin(local_invocation_id) local_id: vec3u) {
  let threadIdx_x = i32(local_id.x);
  let v1 = A[threadIdx_x];
  let v2 = bitcast<u32>(v1);
  let v3 = v2 & 2147483647u;
  let v4 = threadIdx_x >> 1u;
  let v5 = u32(threadIdx_x & 1i) << 4u;
  let t1 = 65535u;
  atomicAnd(&B[v4], ~(t1 << v5));
  atomicOr(&B[v4], select(pack2x16float(vec2f(v1, 0f)), (((v2 >> 16u) & 32768u) | select(31744u, 32256u, (v3 > 2139095040u))), (v3 >= 1199566848u)) << v5);
}
