@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(1) var<storage, read_write> buffer2: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1 = 0u;
  var v3 = buffer1[local_index];
  var v2: u32;
  var v4: u32;
  loop {
    let v5 = v1;
    let v6 = v3;
    v4 = v6 - 1u;
    if (v4 & 1u) != 0u {
      v2 = v5;
      continue;
    }
    if (v4 & 2u) != 0u {
      v2 = v5 + v4;
      continue;
    }
    v2 = v5 + 100u;
    continuing {
      let done = (v4 != 0u) & (v4 < 20u) & (v2 < 1000u);
      v1 = v2;
      v3 = v4;
      break if !done;
    }
  }
  buffer2[local_index] = v2;
}
