@group(0) @binding(0) var<storage> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) global_id: vec3u) {
  var v1 = 0u;
  var v2 = 0u;
  var v5: u32;
  let v6 = input[global_id.x];
  loop {
    if v1 >= 5u {
      v5 = v2;
      break;
    }
    var v3 = v2;
    for (var i1 = 0u; i1 < 5u; i1++) {
      if i1 == 3u {
        break;
      }
      var v4: u32;
      if v1 == v6 {
        v4 = v3;
        v3 = v4;
        continue;
      }
      v4 = v3 + (v1 * i1 + 1u);
      v3 = v4;
    }
    if v3 > 20u {
      v5 = v3;
      break;
    }
    v1 += 1u;
    v2 = v3;
  }
  output[global_id.x] = v5;
}
