@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  let v6 = input[global_id.x];
  var v1: u32;
  var v2: u32;
  var v3: u32;
  var v4: u32;
  var v5: u32;
  switch v6 {
    case 1u {
      v1 = v6 + 4u;
      v2 = v1 * 10u;
      v3 = v2;
      v4 = v3 + 1u;
      v5 = v4;
    }
    case 2u {
      v1 = 3u;
      v2 = v1 * 10u;
      v3 = v2;
      v4 = v3 + 1u;
      v5 = v4;
    }
    case 4u {
      v3 = 100u;
      v4 = v3 + 1u;
      v5 = v4;
    }
    default {
      v5 = 7u;
    }
  }
  output[global_id.x] = v5;
}
