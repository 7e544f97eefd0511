@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  var v4: u32;
  let v5 = input[global_id.x];
  switch 0u {
    default {
      var v1 = 0u;
      var v2: bool;
      var v3: u32;
      loop {
        if v1 >= 8u {
          v2 = false;
          v3 = 0u;
          break;
        }
        if v1 * 2u == v5 {
          v2 = true;
          v3 = v1;
          break;
        }
        v1 += 1u;
      }
      if v2 {
        v4 = v3;
        break;
      }
      v4 = 77u;
    }
  }
  output[global_id.x] = v4;
}
