@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  var v1 = 0u;
  var v2 = 0u;
  var v3: u32;
  var v5: u32;
  let v6 = input[global_id.x];
  loop {
    if v1 >= 10u {
      v5 = v2;
      break;
    }
    var v4: u32;
    var leave = false;
    switch (v1 + v6) & 7u {
      case 3u {
        v5 = 5u;
        leave = true;
        break;
      }
      case 4u {
        v3 = v2;
        continue;
      }
      case 5u {
        v4 = v2 + 100u;
      }
      default {
        v4 = v2;
      }
    }
    if leave {
      break;
    }
    v3 = v4 + v1;
    continuing {
      v1 += 1u;
      v2 = v3;
    }
  }
  output[global_id.x] = v5 * 16u + v1;
}
