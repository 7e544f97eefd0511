@group(0) @binding(0) var<storage> A: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> B: array<vec4f>;
@compute @workgroup_size(64)
fn there_and_back_kernel(@builtin(local_invocation_id) local_id: vec3u) {
  let threadIdx_x = i32(local_id.x);
  let v1 = A[threadIdx_x];
  let v2 = unpack2x16float(pack2x16float(v1.xy));
  let v3 = unpack2x16float(pack2x16float(v1.zw));
  let v4 = bitcast<vec4u>(v1);
  let v5 = v4 & vec4u(2147483647u);
  B[threadIdx_x] = select(vec4f(v2.x, v2.y, v3.x, v3.y), bitcast<vec4f>(max(v5, vec4u(2139095040u)) | (v4 & vec4u(2147483648u))), (v5 >= vec4u(1199566848u)));
}
