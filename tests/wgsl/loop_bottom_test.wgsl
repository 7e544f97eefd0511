@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  let v6 = input[global_id.x];
  var v1 = 0u;
  var v3 = 0u;
  var v4: u32;
  loop {
    var v2: u32;
    var v5: bool;
    if v1 == 2u {
      v4 = v3;
      v2 = v1 + 1u;
      v5 = v2 < v6;
      if v5 {
        v1 = v2;
        v3 = v4;
        continue;
      }
      break;
    }
    v4 = v3 + v1;
    v2 = v1 + 1u;
    v5 = v2 < v6;
    if !v5 {
      break;
    }
    v1 = v2;
    v3 = v4;
  }
  output[global_id.x] = v1 * 100u + v4;
}
