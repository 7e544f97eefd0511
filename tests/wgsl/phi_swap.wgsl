@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  let v3 = input[global_id.x];
  var v1 = v3;
  var v2 = 100u;
  for (var i1 = 0u; i1 < v3; i1++) {
    let t1 = v1 + 1u;
    v1 = v2;
    v2 = t1;
  }
  output[global_id.x] = v1 * 16u + v2;
}
