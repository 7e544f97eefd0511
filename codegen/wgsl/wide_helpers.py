"""WGSL functions that compute with 64-bit integers as pairs of u32, low word first."""

# name -> (text, the helpers it calls)
HELPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "add64": ("""\
fn add64(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + u32(low < a.x));
}
""", ()),
    "sub64": ("""\
fn sub64(a: vec2u, b: vec2u) -> vec2u {
  return vec2u(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}
""", ()),
    "mul64": ("""\
fn mul64(a: vec2u, b: vec2u) -> vec2u {
  let low = vec2u(a.x & 0xffffu, b.x & 0xffffu);
  let high = vec2u(a.x >> 16u, b.x >> 16u);
  let first = high.x * low.y + ((low.x * low.y) >> 16u);
  let second = low.x * high.y + (first & 0xffffu);
  let carried = high.x * high.y + (first >> 16u) + (second >> 16u);
  return vec2u(a.x * b.x, carried + a.x * b.y + a.y * b.x);
}
""", ()),
    "uless64": ("""\
fn uless64(a: vec2u, b: vec2u) -> bool {
  return select(a.y < b.y, a.x < b.x, a.y == b.y);
}
""", ()),
    "sless64": ("""\
fn sless64(a: vec2u, b: vec2u) -> bool {
  return select(i32(a.y) < i32(b.y), a.x < b.x, a.y == b.y);
}
""", ()),
    "shl64": ("""\
fn shl64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let high = (a.y << n) | select(0u, a.x >> ((32u - n) & 31u), n != 0u);
  return select(vec2u(a.x << n, high), vec2u(0u, a.x << n), (by & 32u) != 0u);
}
""", ()),
    "shr64": ("""\
fn shr64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let low = (a.x >> n) | select(0u, a.y << ((32u - n) & 31u), n != 0u);
  return select(vec2u(low, a.y >> n), vec2u(a.y >> n, 0u), (by & 32u) != 0u);
}
""", ()),
    "sar64": ("""\
fn sar64(a: vec2u, by: u32) -> vec2u {
  let n = by & 31u;
  let low = (a.x >> n) | select(0u, a.y << ((32u - n) & 31u), n != 0u);
  let high = u32(i32(a.y) >> n);
  return select(vec2u(low, high), vec2u(high, u32(i32(a.y) >> 31u)), (by & 32u) != 0u);
}
""", ()),
    "divide64": ("""\
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
""", ("uless64", "sub64")),
    "abs64": ("""\
fn abs64(a: vec2u) -> vec2u {
  return select(a, sub64(vec2u(), a), i32(a.y) < 0i);
}
""", ("sub64",)),
    "sign64": ("""\
fn sign64(a: vec2u) -> vec2u {
  return select(vec2u(u32(any(a != vec2u())), 0u), vec2u(0xffffffffu), i32(a.y) < 0i);
}
""", ()),
    "sdiv64": ("""\
fn sdiv64(a: vec2u, b: vec2u) -> vec2u {
  let quotient = divide64(abs64(a), abs64(b)).xy;
  let negative = i32(a.y ^ select(b.y, 0u, all(b == vec2u()))) < 0i;
  return select(quotient, sub64(vec2u(), quotient), negative);
}
""", ("divide64", "abs64", "sub64")),
    "srem64": ("""\
fn srem64(a: vec2u, b: vec2u) -> vec2u {
  let rest = divide64(abs64(a), abs64(b)).zw;
  return select(rest, sub64(vec2u(), rest), i32(a.y) < 0i);
}
""", ("divide64", "abs64", "sub64")),
    "smod64": ("""\
fn smod64(a: vec2u, b: vec2u) -> vec2u {
  let rest = srem64(a, b);
  return select(rest, add64(rest, b), any(rest != vec2u()) && i32(rest.y ^ b.y) < 0i);
}
""", ("srem64", "add64")),
    "float64": ("""\
// Rounded once: the low bits that are shifted out stay as a sticky bit.
fn float64(a: vec2u) -> f32 {
  if a.y == 0u {
    return f32(a.x);
  }
  let n = countLeadingZeros(a.y);
  let m = shl64(a, n);
  return f32(m.y | u32(m.x != 0u)) * bitcast<f32>((159u - n) << 23u);
}
""", ("shl64",)),
    "sfloat64": ("""\
fn sfloat64(a: vec2u) -> f32 {
  let size = float64(abs64(a));
  return select(size, -size, i32(a.y) < 0i);
}
""", ("float64", "abs64")),
    "ufix64": ("""\
fn ufix64(a: f32) -> vec2u {
  let whole = max(trunc(a), 0f);
  let high = floor(whole * 2.3283064e-10f);
  return vec2u(u32(whole - high * 4294967296f), u32(high));
}
""", ()),
    "sfix64": ("""\
fn sfix64(a: f32) -> vec2u {
  let size = ufix64(abs(a));
  return select(size, sub64(vec2u(), size), a < 0f);
}
""", ("ufix64", "sub64")),
}  # fmt: skip
