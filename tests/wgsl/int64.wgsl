@group(0) @binding(0) var<storage> buffer1: array<u32>;
@group(0) @binding(2) var<storage, read_write> buffer2: array<vec2u>;
@group(0) @binding(1) var<storage, read_write> buffer3: array<u32>;
fn sdiv64(a: vec2u, b: vec2u) -> vec2u {
  let quotient = divide64(abs64(a), abs64(b)).xy;
  let negative = i32(a.y ^ select(b.y, 0u, all(b == vec2u()))) < 0i;
  return select(quotient, sub64(vec2u(), quotient), negative);
}
// The quotient in xy, the remainder in zw. Division by zero gives the dividend and 0, as WGSL's own does.
fn divide64(a: vec2u, b: vec2u) -> vec4u {
  if all(b == vec2u()) {
    return vec4u(a, 0u, 0u);
  }
  if (a.y | b.y) == 0u {
    return vec4u(a.x / b.x, 0u, a.x % b.x, 0u);
  }
  var quotient = a;
  var rest = vec2u();
  for (var i = 0u; i < 64u; i++) {
    let carry = rest.y >> 31u;
    rest = vec2u((rest.x << 1u) | (quotient.y >> 31u), (rest.y << 1u) | (rest.x >> 31u));
    quotient = vec2u(quotient.x << 1u, (quotient.y << 1u) | (quotient.x >> 31u));
    if carry != 0u || !uless64(rest, b) {
      rest = sub64(rest, b);
      quotient.x |= 1u;
    }
  }
  return vec4u(quotient, rest);
}
fn uless64(a: vec2u, b: vec2u) -> bool {
  return select(a.y < b.y, a.x < b.x, a.y == b.y);
}
fn sub64(a: vec2u, b: vec2u) -> vec2u {
  return vec2u(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}
fn abs64(a: vec2u) -> vec2u {
  return select(a, sub64(vec2u(), a), i32(a.y) < 0i);
}
fn mul64(a: vec2u, b: vec2u) -> vec2u {
  let low = vec2u(a.x & 0xffffu, b.x & 0xffffu);
  let high = vec2u(a.x >> 16u, b.x >> 16u);
  let first = high.x * low.y + ((low.x * low.y) >> 16u);
  let second = low.x * high.y + (first & 0xffffu);
  let carried = high.x * high.y + (first >> 16u) + (second >> 16u);
  return vec2u(a.x * b.x, carried + a.x * b.y + a.y * b.x);
}
fn add64(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + u32(low < a.x));
}
fn shr64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let low = (a.x >> n) | select(0u, a.y << ((32u - n) & 31u), n != 0u);
  return select(vec2u(low, a.y >> n), vec2u(a.y >> n, 0u), (by & 32u) != 0u);
}
fn shl64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let high = (a.y << n) | select(0u, a.x >> ((32u - n) & 31u), n != 0u);
  return select(vec2u(a.x << n, high), vec2u(0u, a.x << n), (by & 32u) != 0u);
}
fn sar64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let low = (a.x >> n) | select(0u, a.y << ((32u - n) & 31u), n != 0u);
  let high = u32(i32(a.y) >> n);
  return select(vec2u(low, high), vec2u(high, u32(i32(a.y) >> 31u)), (by & 32u) != 0u);
}
fn sless64(a: vec2u, b: vec2u) -> bool {
  return select(i32(a.y) < i32(b.y), a.x < b.x, a.y == b.y);
}
fn sfix64(a: f32) -> vec2u {
  let size = ufix64(abs(a));
  return select(size, sub64(vec2u(), size), a < 0f);
}
fn ufix64(a: f32) -> vec2u {
  let whole = max(trunc(a), 0f);
  let high = floor(whole * 2.3283064e-10f);
  return vec2u(u32(whole - high * 4294967296f), u32(high));
}
@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) local_index: u32) {
  let v2 = buffer1[local_index];
  let v3 = buffer2[local_index];
  let v4 = buffer2[local_index ^ 1u];
  let t1 = vec2u();
  var v1: vec2u;
  if all(v4 == t1) {
    v1 = vec2u(1u, 0u);
  } else {
    v1 = sdiv64(v3, v4);
  }
  let v5 = add64(mul64(v3, v4), vec2u(v2, 0u));
  let t2 = 3u;
  let v6 = (shr64(v5, (v2 & 63u)) ^ shl64(v5, t2));
  let t3 = 5u;
  let t4 = 32u;
  let t5 = shr64(v6, t4);
  let t6 = sar64(v3, t3);
  let v7 = f32(v2);
  buffer3[local_index] = u32(i32(v1.x)) + v6.x + t5.x + u32(i32(t6.x)) + select(0u, 1u, sless64(v3, v4)) + select(0u, 2u, (!uless64(v3, v4))) + u32(i32(v7 * 2f));
  let t7 = sub64(vec2u(), v4);
  let t8 = i32(v2) - 3i;
  buffer2[local_index] = add64(add64(select(v3, t7, sless64(v3, t7)), vec2u(u32(t8), u32(t8 >> 31u))), sfix64(v7));
}
