@group(0) @binding(0) var<storage> a: array<array<vec2u, 2>>;
@group(0) @binding(1) var<storage> b: array<array<vec2u, 2>>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
fn dmul64(a: vec2u, b: vec2u) -> vec2u {
  let sign = (a.y ^ b.y) & 0x80000000u;
  let p = vec2u(a.x, a.y & 0x7fffffffu);
  let q = vec2u(b.x, b.y & 0x7fffffffu);
  let zero = all(p == vec2u()) || all(q == vec2u());
  if max(p.y, q.y) >= 0x7ff00000u {
    return vec2u(0u, sign | select(0x7ff00000u, 0x7ff80000u, zero || dnan64(p) || dnan64(q)));
  }
  if zero {
    return vec2u(0u, sign);
  }
  let x = dopen64(p);
  let y = dopen64(q);
  let low = product64(x.x, y.x);
  let first = add64(product64(x.x, y.y), vec2u(low.y, 0u));
  let second = add64(product64(x.y, y.x), vec2u(first.x, 0u));
  let high = add64(add64(product64(x.y, y.y), vec2u(first.y, 0u)), vec2u(second.y, 0u));
  let sticky = u32((low.x | second.x) != 0u);
  return dnorm64(sign, i32(x.z) + i32(y.z) - 1023i, vec2u(high.x | sticky, high.y));
}
fn dnan64(a: vec2u) -> bool {
  return uless64(vec2u(0u, 0x7ff00000u), vec2u(a.x, a.y & 0x7fffffffu));
}
fn uless64(a: vec2u, b: vec2u) -> bool {
  return select(a.y < b.y, a.x < b.x, a.y == b.y);
}
// The significand of a finite number with its leading bit at 63, and the exponent (an i32) that is its.
fn dopen64(a: vec2u) -> vec3u {
  let exponent = (a.y >> 20u) & 0x7ffu;
  let normal = exponent != 0u;
  let m = vec2u(a.x, (a.y & 0xfffffu) | (u32(normal) << 20u));
  let n = clz64(m);
  return vec3u(shl64(m, n), select(12u - n, exponent, normal));
}
fn clz64(a: vec2u) -> u32 {
  return select(countLeadingZeros(a.y), countLeadingZeros(a.x) + 32u, a.y == 0u);
}
fn shl64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let high = (a.y << n) | select(0u, a.x >> ((32u - n) & 31u), n != 0u);
  return select(vec2u(a.x << n, high), vec2u(0u, a.x << n), (by & 32u) != 0u);
}
fn product64(a: u32, b: u32) -> vec2u {
  let low = vec2u(a & 0xffffu, b & 0xffffu);
  let high = vec2u(a >> 16u, b >> 16u);
  let first = high.x * low.y + ((low.x * low.y) >> 16u);
  let second = low.x * high.y + (first & 0xffffu);
  return vec2u(a * b, high.x * high.y + (first >> 16u) + (second >> 16u));
}
fn add64(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + u32(low < a.x));
}
// m * 2^(exponent - 1085) for any m, rounded.
fn dnorm64(sign: u32, exponent: i32, m: vec2u) -> vec2u {
  if all(m == vec2u()) {
    return vec2u(0u, sign);
  }
  let n = clz64(m);
  let moved = select(shl64(m, n - 1u), vec2u((m.x >> 1u) | (m.y << 31u) | (m.x & 1u), m.y >> 1u), n == 0u);
  return dpack64(sign, exponent + 1i - i32(n), moved);
}
// m * 2^(exponent - 1085) with the leading bit of m at 62, rounded.
fn dpack64(sign: u32, exponent: i32, m: vec2u) -> vec2u {
  if exponent > 2046i {
    return vec2u(0u, sign | 0x7ff00000u);
  }
  var n = m;
  if exponent < 1i {
    n = djam64(m, u32(1i - exponent));
  }
  let rounded = shr64(add64(n, vec2u(0x200u, 0u)), 10u);
  let tie = u32((n.x & 0x3ffu) == 0x200u);
  // The leading bit counts as one in the exponent, if it is there.
  return vec2u(rounded.x & ~tie, sign | (rounded.y + (u32(max(exponent - 1i, 0i)) << 20u)));
}
fn djam64(a: vec2u, by: u32) -> vec2u {
  let kept = select(shr64(a, by), vec2u(), by > 63u);
  let lost = select(any(shl64(kept, by) != a), any(a != vec2u()), by > 63u);
  return vec2u(kept.x | u32(lost), kept.y);
}
fn shr64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let low = (a.x >> n) | select(0u, a.y << ((32u - n) & 31u), n != 0u);
  return select(vec2u(low, a.y >> n), vec2u(a.y >> n, 0u), (by & 32u) != 0u);
}
fn dadd64(a: vec2u, b: vec2u) -> vec2u {
  let size = vec2u(0xffffffffu, 0x7fffffffu);
  let swap = uless64(a & size, b & size);
  let large = select(a, b, swap);
  let small = select(b, a, swap);
  let opposite = ((a.y ^ b.y) >> 31u) != 0u;
  let exponents = (vec2u(large.y, small.y) >> vec2u(20u)) & vec2u(0x7ffu);
  if exponents.x == 0x7ffu {
    // Opposite infinities have no sum. A NaN, larger than infinity, stays one.
    return vec2u(large.x, large.y | select(0u, 0x80000u, opposite && exponents.y == 0x7ffu));
  }
  // Leading bits at 61, so that the sum has room.
  let first = shl64(vec2u(large.x, (large.y & 0xfffffu) | (u32(exponents.x != 0u) << 20u)), 9u);
  let second = shl64(vec2u(small.x, (small.y & 0xfffffu) | (u32(exponents.y != 0u) << 20u)), 9u);
  let steps = max(exponents, vec2u(1u));
  let moved = djam64(second, steps.x - steps.y);
  let total = select(add64(first, moved), sub64(first, moved), opposite);
  let sign = select(large.y & 0x80000000u, 0u, opposite && all(total == vec2u()));
  return dnorm64(sign, i32(steps.x) + 1i, total);
}
fn sub64(a: vec2u, b: vec2u) -> vec2u {
  return vec2u(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}
fn dless64(a: vec2u, b: vec2u) -> bool {
  let zeros = (a.x | b.x | ((a.y | b.y) & 0x7fffffffu)) == 0u;
  if zeros || dnan64(a) || dnan64(b) {
    return false;
  }
  let negative = i32(a.y) < 0i;
  return select(select(uless64(a, b), uless64(b, a), negative), negative, i32(a.y ^ b.y) < 0i);
}
fn dnarrow64(a: vec2u) -> f32 {
  let sign = a.y & 0x80000000u;
  if (a.y & 0x7ff00000u) == 0x7ff00000u {
    return bitcast<f32>(sign | select(0x7f800000u, 0x7fc00000u, dnan64(a)));
  }
  let x = dopen64(a);
  let exponent = i32(x.z) - 896i;
  // As in dpack64: the leading bit at 30, the rest of the significand in the last.
  var m = (x.y >> 1u) | u32(((x.y & 1u) | x.x) != 0u);
  if exponent < 1i {
    let by = u32(min(1i - exponent, 31i));
    m = (m >> by) | u32((m & ((1u << by) - 1u)) != 0u);
  }
  let rounded = ((m + 0x40u) >> 7u) & ~u32((m & 0x7fu) == 0x40u);
  let bits = select(rounded + (u32(max(exponent - 1i, 0i)) << 23u), 0x7f800000u, exponent > 254i);
  return bitcast<f32>(sign | bits);
}
fn flip(p1: vec2u) -> vec2u {
  let t1 = vec2u(0u, 1072693248u);
  return select(p1, (p1 ^ vec2u(0u, 0x80000000u)), dless64(t1, p1));
}
@compute @workgroup_size(2)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var v1: vec2u;
  let t1 = a[local_index];
  let t2 = b[local_index];
  let t3 = array<vec2u, 2>(dmul64(t1[0], t2[0]), dmul64(t1[1], t2[1]));
  let t4 = array<vec2u, 2>(vec2u(2576980378u, 1069128089u), vec2u(2576980378u, 1069128089u));
  let v2 = array<vec2u, 2>(dadd64(t3[0], t4[0]), dadd64(t3[1], t4[1]));
  let v3 = array<vec2u, 2>(v2[1], v2[0]);
  v1 = v3[1];
  let v4 = flip(v3[0]);
  let v5 = flip(v1);
  let v6 = vec2u(v5.x, v5.y);
  let v7 = local_index * 4u;
  out[v7] = v4.x;
  out[v7 + 1u] = v4.y;
  out[v7 + 2u] = v6.x;
  out[v7 + 3u] = v6.y;
  if local_index == 0u {
    out[8] = bitcast<u32>(dnarrow64(v5));
  }
}
