var<workgroup> s: array<u32, 8>;
@group(0) @binding(0) var<storage> I: array<u32>;
@group(0) @binding(1) var<storage, read_write> O: array<u32>;
fn turn(g: ptr<function, u32>, by: ptr<function, u32>) -> u32 {
  var v: u32;
  let v1 = *g;
  s[v1] += *by;
  workgroupBarrier();
  v = s[7u - *g];
  workgroupBarrier();
  return v;
}
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_id) local_id: vec3u) {
  var g: u32;
  var n: u32;
  var last: u32;
  var param: u32;
  var param_1: u32;
  g = local_id.x;
  n = I[0];
  last = 0u;
  s[g] = g;
  if g < 4u {
    let v1 = g;
    s[v1] *= 2u;
  }
  for (var i = 0u; i < n; i++) {
    if I[i + 1u] == 9u {
      break;
    }
    if (g & 1u) == 1u {
      last += 1u;
    }
    param = g;
    param_1 = last + i;
    let v2 = turn(&param, &param_1);
    last = v2;
  }
  switch n {
    case 2u {
      workgroupBarrier();
    }
    default {
      last += n;
    }
  }
  O[g] = last;
}
