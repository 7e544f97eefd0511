@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  var v1 = 0u;
  var v3 = 0u;
  var v2: u32;
  var v4: u32;
  let v5 = input[global_id.x];
  loop {
    v2 = v1;
    let v6 = v3;
    if v2 == 2u {
      v4 = v6;
      continue;
    }
    v4 = v6 + v2;
    continuing {
      let v7 = v2 + 1u;
      v1 = v7;
      v3 = v4;
      break if v7 >= v5;
    }
  }
  output[global_id.x] = v2 * 100u + v4;
}
