@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  var v1 = 0u;
  var v2: u32;
  let v3 = input[global_id.x];
  loop {
    v2 = v1 * v1;
    let v4 = v1 + 1u;
    if v2 > v3 * 3u {
      break;
    }
    v1 = v4;
  }
  output[global_id.x] = v2 * 10u;
}
