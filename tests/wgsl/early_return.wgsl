@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  let v2 = input[global_id.x];
  if v2 == 3u {
    return;
  }
  var v1 = 0u;
  for (var i1 = 0u; i1 < v2; i1++) {
    if i1 == 5u {
      return;
    }
    v1 += i1;
  }
  output[global_id.x] = v1 + 1u;
}
