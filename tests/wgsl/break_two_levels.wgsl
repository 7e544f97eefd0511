@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1 = 0u;
  var v2 = 0u;
  var v12: u32;
  let v13 = buffer1[local_index];
  loop {
    if v2 >= 4u {
      v12 = v1;
      break;
    }
    var v3 = false;
    var v5 = v1;
    var v7 = 0u;
    var v4: bool;
    var v6: u32;
    var v10: u32;
    var v11: bool;
    loop {
      if v7 >= 4u {
        v10 = v5;
        v11 = v3;
        break;
      }
      var v8: u32;
      var v9: bool;
      switch (v2 + v7 + v13) % 5u {
        case 0u {
          v8 = v5;
          v9 = true;
        }
        case 1u {
          v4 = v3;
          v6 = v5;
          continue;
        }
        case 2u {
          v8 = v5 + 2u;
          v9 = v3;
        }
        default {
          v8 = v5 + v2;
          v9 = v3;
        }
      }
      if v9 {
        v10 = v8;
        v11 = v9;
        break;
      }
      v4 = v9;
      v6 = v8 * 3u + v7;
      continuing {
        v3 = v4;
        v5 = v6;
        v7 += 1u;
      }
    }
    if v11 & (v2 > 1u) {
      v12 = v10;
      break;
    }
    v1 = v10 ^ v2;
    v2 += 1u;
  }
  buffer2[local_index] = v12;
}
