@group(0) @binding(0) var<storage> I: array<u32>;
@group(0) @binding(1) var<storage, read_write> O: array<u32>;
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_id) local_id: vec3u) {
  var g: u32;
  var n: u32;
  var s: u32;
  var q: u32;
  var d: u32;
  g = local_id.x;
  n = I[g];
  s = 0u;
  for (var i = 0u; i < n; i++) {
    if i == 2u {
      continue;
    }
    if s > 20u {
      break;
    }
    for (var j = 3i; j > 0i; j--) {
      s += i * u32(j);
    }
  }
  let v1 = i32(n);
  for (var k = v1; k > 0i; k -= 2i) {
    s = s ^ u32(k);
  }
  q = 0u;
  loop {
    if q >= 6u {
      break;
    }
    if I[q] == n {
      break;
    }
    q += 1u;
  }
  d = 0u;
  loop {
    s += d;
    d += 1u;
    if d >= 3u {
      break;
    }
  }
  O[g] = s * 10u + q;
}
