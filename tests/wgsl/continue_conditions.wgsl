@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1 = 0u;
  var v3 = buffer1[local_index];
  var v2: u32;
  loop {
    let v9 = v3 - 1u;
    var v4: bool;
    var v5: bool;
    var v6: bool;
    var v7: bool;
    var v8: bool;
    if (v9 & 1u) != 0u {
      v2 = v1;
      v4 = v9 != 0u;
      v5 = v9 < 20u;
      v6 = v4 && v5;
      v7 = v2 < 1000u;
      v8 = v6 && v7;
      if v8 {
        v1 = v2;
        v3 = v9;
        continue;
      }
      break;
    }
    if (v9 & 2u) != 0u {
      v2 = v1 + v9;
      v4 = v9 != 0u;
      v5 = v9 < 20u;
      v6 = v4 && v5;
      v7 = v2 < 1000u;
      v8 = v6 && v7;
      if v8 {
        v1 = v2;
        v3 = v9;
        continue;
      }
      break;
    }
    v2 = v1 + 100u;
    v4 = v9 != 0u;
    v5 = v9 < 20u;
    v6 = v4 && v5;
    v7 = v2 < 1000u;
    v8 = v6 && v7;
    if !v8 {
      break;
    }
    v1 = v2;
    v3 = v9;
  }
  buffer2[local_index] = v2;
}
