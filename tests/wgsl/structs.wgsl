struct S1 {
  m1: u32,
  m2: vec2u,
  m3: array<array<u32, 3>, 2>,
}
struct S2 {
  m1: array<S1, 2>,
  m2: u32,
}
struct S3 {
  m1: u32,
  m2: vec2u,
  m3: array<array<u32, 3>, 2>,
}
struct S4 {
  m1: array<S3, 2>,
  m2: u32,
}
@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(2) var<storage, read_write> buffer2: array<S2>;
@group(0) @binding(1) var<storage, read_write> buffer3: array<u32>;
var<workgroup> shared_1: array<S4, 2>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1: array<u32, 3>;
  let v2 = buffer1[local_index];
  if local_index < 2u {
    let v3 = buffer2[local_index].m1[1];
    let v4 = v3.m3[0];
    let v5 = v3.m3[1];
    v1[0] = v5[0];
    v1[1] = v5[1];
    v1[2] = v5[2];
    let v6 = v2 % 3u;
    v1[v6] += v2;
    let v7 = S3(v3.m1, v3.m2, array<array<u32, 3>, 2>(array<u32, 3>(v4[0], v4[1], v4[2]), v1));
    shared_1[local_index] = S4(array<S3, 2>(v7, v7), v3.m2.y);
  }
  workgroupBarrier();
  buffer3[local_index] = shared_1[local_index & 1u].m1[(local_index >> 1u) & 1u].m3[1][local_index % 3u] + shared_1[1].m2;
  if local_index == 0u {
    let v8 = shared_1[1];
    let v9 = v8.m1[0];
    buffer2[0].m1[0].m1 = v9.m1;
    buffer2[0].m1[0].m2 = v9.m2;
    let v10 = v9.m3[0];
    buffer2[0].m1[0].m3[0][0] = v10[0];
    buffer2[0].m1[0].m3[0][1] = v10[1];
    buffer2[0].m1[0].m3[0][2] = v10[2];
    let v11 = v9.m3[1];
    buffer2[0].m1[0].m3[1][0] = v11[0];
    buffer2[0].m1[0].m3[1][1] = v11[1];
    buffer2[0].m1[0].m3[1][2] = v11[2];
    let v12 = v8.m1[1];
    buffer2[0].m1[1].m1 = v12.m1;
    buffer2[0].m1[1].m2 = v12.m2;
    let v13 = v12.m3[0];
    buffer2[0].m1[1].m3[0][0] = v13[0];
    buffer2[0].m1[1].m3[0][1] = v13[1];
    buffer2[0].m1[1].m3[0][2] = v13[2];
    let v14 = v12.m3[1];
    buffer2[0].m1[1].m3[1][0] = v14[0];
    buffer2[0].m1[1].m3[1][1] = v14[1];
    buffer2[0].m1[1].m3[1][2] = v14[2];
    buffer2[0].m2 = v8.m2;
  }
}
