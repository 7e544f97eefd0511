"""WGSL functions that compute with 64-bit floats as pairs of u32, low word first, bit for bit as IEEE 754 has it.

WGSL's own floats can't do it: an implementation may assume that there is no NaN or infinity, flush subnormals and fuse
or reorder operations. So these work on integers, round to nearest, ties to even, and know subnormals, infinities, NaN
and the sign of zero. A significand that is worked on has its leading bit at bit 62, or at 61 and 63 where said; what is
shifted out below stays as a sticky last bit, which is all that rounding has to know of it.
"""

# name -> (text, the helpers it calls)
HELPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "clz64": ("""\
fn clz64(a: vec2u) -> u32 {
  return select(countLeadingZeros(a.y), countLeadingZeros(a.x) + 32u, a.y == 0u);
}
""", ()),
    "djam64": ("""\
fn djam64(a: vec2u, by: u32) -> vec2u {
  let kept = select(shr64(a, by), vec2u(), by > 63u);
  let lost = select(any(shl64(kept, by) != a), any(a != vec2u()), by > 63u);
  return vec2u(kept.x | u32(lost), kept.y);
}
""", ("shl64", "shr64")),
    "dpack64": ("""\
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
""", ("djam64", "add64", "shr64")),
    "dnorm64": ("""\
// m * 2^(exponent - 1085) for any m, rounded.
fn dnorm64(sign: u32, exponent: i32, m: vec2u) -> vec2u {
  if all(m == vec2u()) {
    return vec2u(0u, sign);
  }
  let n = clz64(m);
  let moved = select(shl64(m, n - 1u), vec2u((m.x >> 1u) | (m.y << 31u) | (m.x & 1u), m.y >> 1u), n == 0u);
  return dpack64(sign, exponent + 1i - i32(n), moved);
}
""", ("clz64", "shl64", "dpack64")),
    "dopen64": ("""\
// The significand of a finite number with its leading bit at 63, and the exponent (an i32) that is its.
fn dopen64(a: vec2u) -> vec3u {
  let exponent = (a.y >> 20u) & 0x7ffu;
  let normal = exponent != 0u;
  let m = vec2u(a.x, (a.y & 0xfffffu) | (u32(normal) << 20u));
  let n = clz64(m);
  return vec3u(shl64(m, n), select(12u - n, exponent, normal));
}
""", ("clz64", "shl64")),
    "dnan64": ("""\
fn dnan64(a: vec2u) -> bool {
  return uless64(vec2u(0u, 0x7ff00000u), vec2u(a.x, a.y & 0x7fffffffu));
}
""", ("uless64",)),
    "dadd64": ("""\
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
""", ("uless64", "shl64", "djam64", "add64", "sub64", "dnorm64")),
    "product64": ("""\
fn product64(a: u32, b: u32) -> vec2u {
  let low = vec2u(a & 0xffffu, b & 0xffffu);
  let high = vec2u(a >> 16u, b >> 16u);
  let first = high.x * low.y + ((low.x * low.y) >> 16u);
  let second = low.x * high.y + (first & 0xffffu);
  return vec2u(a * b, high.x * high.y + (first >> 16u) + (second >> 16u));
}
""", ()),
    "dmul64": ("""\
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
""", ("dnan64", "dopen64", "product64", "add64", "dnorm64")),
    "ddiv64": ("""\
fn ddiv64(a: vec2u, b: vec2u) -> vec2u {
  let sign = (a.y ^ b.y) & 0x80000000u;
  let p = vec2u(a.x, a.y & 0x7fffffffu);
  let q = vec2u(b.x, b.y & 0x7fffffffu);
  let by_zero = all(q == vec2u());
  if max(p.y, q.y) >= 0x7ff00000u || by_zero || all(p == vec2u()) {
    let none = all(p == q) || dnan64(p) || dnan64(q);
    let infinite = p.y >= 0x7ff00000u || by_zero;
    return vec2u(0u, select(select(sign, sign | 0x7ff00000u, infinite), 0x7ff80000u, none));
  }
  let x = dopen64(p);
  let y = dopen64(q);
  let divisor = shr64(y.xy, 1u);
  let less = uless64(x.xy, y.xy);
  var rest = select(shr64(x.xy, 1u), x.xy, less);
  var quotient = vec2u();
  for (var i = 0u; i < 55u; i++) {
    quotient = vec2u(quotient.x << 1u, (quotient.y << 1u) | (quotient.x >> 31u));
    if !uless64(rest, divisor) {
      rest = sub64(rest, divisor);
      quotient.x |= 1u;
    }
    rest = vec2u(rest.x << 1u, (rest.y << 1u) | (rest.x >> 31u));
  }
  quotient = shl64(quotient, 8u);
  quotient.x |= u32(any(rest != vec2u()));
  return dpack64(sign, i32(x.z) - i32(y.z) + 1023i - i32(less), quotient);
}
""", ("dnan64", "dopen64", "shr64", "shl64", "uless64", "sub64", "dpack64")),
    "dsqrt64": ("""\
fn dsqrt64(a: vec2u) -> vec2u {
  if (a.x | (a.y & 0x7fffffffu)) == 0u || dnan64(a) || all(a == vec2u(0u, 0x7ff00000u)) {
    return a;
  }
  if i32(a.y) < 0i {
    return vec2u(0u, 0x7ff80000u);
  }
  let x = dopen64(a);
  // Two bits a step, of which the first hold an even power of two.
  var digits = select(x.xy, shr64(x.xy, 1u), (x.z & 1u) != 0u);
  var rest = vec2u();
  var root = vec2u();
  for (var i = 0u; i < 55u; i++) {
    rest = vec2u((rest.x << 2u) | (digits.y >> 30u), (rest.y << 2u) | (rest.x >> 30u));
    digits = vec2u(digits.x << 2u, (digits.y << 2u) | (digits.x >> 30u));
    let step = vec2u((root.x << 2u) | 1u, (root.y << 2u) | (root.x >> 30u));
    root = vec2u(root.x << 1u, (root.y << 1u) | (root.x >> 31u));
    if !uless64(rest, step) {
      rest = sub64(rest, step);
      root.x |= 1u;
    }
  }
  root = shl64(root, 8u);
  root.x |= u32(any(rest != vec2u()));
  return dpack64(0u, ((i32(x.z) - 1023i) >> 1u) + 1023i, root);
}
""", ("dnan64", "dopen64", "shr64", "shl64", "uless64", "sub64", "dpack64")),
    "drem64": ("""\
// The remainder of the quotient that is rounded towards zero; it is exact.
fn drem64(a: vec2u, b: vec2u) -> vec2u {
  let p = vec2u(a.x, a.y & 0x7fffffffu);
  let q = vec2u(b.x, b.y & 0x7fffffffu);
  if p.y >= 0x7ff00000u || dnan64(q) || all(q == vec2u()) {
    return vec2u(0u, 0x7ff80000u);
  }
  if uless64(p, q) {
    return a;
  }
  let x = dopen64(p);
  let y = dopen64(q);
  let divisor = shr64(y.xy, 1u);
  var rest = shr64(x.xy, 1u);
  let steps = x.z - y.z;
  for (var i = 0u; i < steps; i++) {
    rest = select(rest, sub64(rest, divisor), !uless64(rest, divisor));
    rest = vec2u(rest.x << 1u, (rest.y << 1u) | (rest.x >> 31u));
  }
  rest = select(rest, sub64(rest, divisor), !uless64(rest, divisor));
  return dnorm64(a.y & 0x80000000u, i32(y.z), rest);
}
""", ("dnan64", "uless64", "dopen64", "shr64", "sub64", "dnorm64")),
    "dmod64": ("""\
// The remainder with the sign of the divisor.
fn dmod64(a: vec2u, b: vec2u) -> vec2u {
  let rest = drem64(a, b);
  if (rest.x | (rest.y & 0x7fffffffu)) == 0u || i32(rest.y ^ b.y) >= 0i {
    return rest;
  }
  return dadd64(rest, b);
}
""", ("drem64", "dadd64")),
    "dless64": ("""\
fn dless64(a: vec2u, b: vec2u) -> bool {
  let zeros = (a.x | b.x | ((a.y | b.y) & 0x7fffffffu)) == 0u;
  if zeros || dnan64(a) || dnan64(b) {
    return false;
  }
  let negative = i32(a.y) < 0i;
  return select(select(uless64(a, b), uless64(b, a), negative), negative, i32(a.y ^ b.y) < 0i);
}
""", ("dnan64", "uless64")),
    "dequal64": ("""\
fn dequal64(a: vec2u, b: vec2u) -> bool {
  let zeros = (a.x | b.x | ((a.y | b.y) & 0x7fffffffu)) == 0u;
  return zeros || (all(a == b) && !dnan64(a));
}
""", ("dnan64",)),
    "dnotmore64": ("""\
fn dnotmore64(a: vec2u, b: vec2u) -> bool {
  return dless64(a, b) || dequal64(a, b);
}
""", ("dless64", "dequal64")),
    "dtrunc64": ("""\
fn dtrunc64(a: vec2u) -> vec2u {
  let exponent = (a.y >> 20u) & 0x7ffu;
  if exponent < 1023u {
    return vec2u(0u, a.y & 0x80000000u);
  }
  return select(a & shl64(vec2u(0xffffffffu), (1075u - exponent) & 63u), a, exponent > 1074u);
}
""", ("shl64",)),
    "dfloor64": ("""\
fn dfloor64(a: vec2u) -> vec2u {
  let whole = dtrunc64(a);
  if all(whole == a) || i32(a.y) >= 0i {
    return whole;
  }
  return dadd64(whole, vec2u(0u, 0xbff00000u));
}
""", ("dtrunc64", "dadd64")),
    "dround64": ("""\
// Halves to even: what is below one gets lost beside 2^52.
fn dround64(a: vec2u) -> vec2u {
  if ((a.y >> 20u) & 0x7ffu) > 1074u {
    return a;
  }
  let whole = dadd64(dadd64(vec2u(a.x, a.y & 0x7fffffffu), vec2u(0u, 0x43300000u)), vec2u(0u, 0xc3300000u));
  return vec2u(whole.x, whole.y | (a.y & 0x80000000u));
}
""", ("dadd64",)),
    "dsign64": ("""\
fn dsign64(a: vec2u) -> vec2u {
  let same = (a.x | (a.y & 0x7fffffffu)) == 0u || dnan64(a);
  return select(vec2u(0u, (a.y & 0x80000000u) | 0x3ff00000u), a, same);
}
""", ("dnan64",)),
    "dclamp64": ("""\
fn dclamp64(a: vec2u, low: vec2u, high: vec2u) -> vec2u {
  let most = select(a, low, dless64(a, low));
  return select(most, high, dless64(high, most));
}
""", ("dless64",)),
    "dldexp64": ("""\
fn dldexp64(a: vec2u, by: i32) -> vec2u {
  if (a.y & 0x7ff00000u) == 0x7ff00000u || (a.x | (a.y & 0x7fffffffu)) == 0u {
    return a;
  }
  let x = dopen64(a);
  return dpack64(a.y & 0x80000000u, i32(x.z) + clamp(by, -4096i, 4096i), shr64(x.xy, 1u));
}
""", ("dopen64", "dpack64", "shr64")),
    "dsigned64": ("""\
fn dsigned64(a: vec2u) -> vec2u {
  return dnorm64(a.y & 0x80000000u, 1085i, abs64(a));
}
""", ("dnorm64", "abs64")),
    "dfix64": ("""\
// The whole part of the size as u64, or the largest; 0 for NaN.
fn dfix64(a: vec2u) -> vec2u {
  let exponent = (a.y >> 20u) & 0x7ffu;
  if exponent < 1023u || dnan64(a) {
    return vec2u();
  }
  return select(shr64(dopen64(a).xy, (1086u - exponent) & 63u), vec2u(0xffffffffu), exponent > 1086u);
}
""", ("dnan64", "dopen64", "shr64")),
    "dufix64": ("""\
fn dufix64(a: vec2u) -> vec2u {
  return select(dfix64(a), vec2u(), i32(a.y) < 0i);
}
""", ("dfix64",)),
    "dsfix64": ("""\
fn dsfix64(a: vec2u) -> vec2u {
  let size = dfix64(a);
  let negative = i32(a.y) < 0i;
  let end = select(vec2u(0xffffffffu, 0x7fffffffu), vec2u(0u, 0x80000000u), negative);
  return select(select(size, sub64(vec2u(), size), negative), end, i32(size.y) < 0i);
}
""", ("dfix64", "sub64")),
    "duint64": ("""\
fn duint64(a: vec2u) -> u32 {
  let size = dufix64(a);
  return select(size.x, 0xffffffffu, size.y != 0u);
}
""", ("dufix64",)),
    "dint64": ("""\
fn dint64(a: vec2u) -> i32 {
  let size = dfix64(a);
  let negative = i32(a.y) < 0i;
  let inside = select(i32(size.x), -i32(size.x), negative);
  return select(inside, select(0x7fffffffi, i32(-2147483648), negative), size.y != 0u || size.x > 0x7fffffffu);
}
""", ("dfix64",)),
    "dwiden64": ("""\
fn dwiden64(a: f32) -> vec2u {
  let bits = bitcast<u32>(a);
  let sign = bits & 0x80000000u;
  let exponent = (bits >> 23u) & 0xffu;
  let fraction = bits & 0x7fffffu;
  if exponent == 0u {
    return dnorm64(sign, 936i, vec2u(fraction, 0u));
  }
  let wide = select(exponent + 896u, 0x7ffu, exponent == 0xffu);
  return vec2u(fraction << 29u, sign | (wide << 20u) | (fraction >> 3u));
}
""", ("dnorm64",)),
    "dnarrow64": ("""\
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
""", ("dnan64", "dopen64")),
    "dodd64": ("""\
// To 24 bits of which the last says whether there were more: what is rounded again afterwards is rounded once.
fn dodd64(a: vec2u) -> vec2u {
  return vec2u((a.x & 0xe0000000u) | (u32((a.x & 0x1fffffffu) != 0u) << 29u), a.y);
}
""", ()),
}  # fmt: skip

_SIGN = "vec2u(0u, 0x80000000u)"
_ONE = "vec2u(0u, 0x3ff00000u)"
_MIN, _MAX = "select($0, $1, dless64($1, $0))", "select($0, $1, dless64($0, $1))"

# Instruction, or number's name in GLSL.std.450 -> its form, as in wide_instructions; all operands are doubles.
FORMS = {
    "FAdd": "dadd64($0, $1)", "FSub": f"dadd64($0, $1 ^ {_SIGN})", "FMul": "dmul64($0, $1)", "FDiv": "ddiv64($0, $1)",
    "FRem": "drem64($0, $1)", "FMod": "dmod64($0, $1)", "FNegate": f"($0 ^ {_SIGN})",
    "VectorTimesScalar": "dmul64($0, $1)", "IsNan": "dnan64($0)",
    "IsInf": "all(($0 & vec2u(0xffffffffu, 0x7fffffffu)) == vec2u(0u, 0x7ff00000u))",
    "FOrdEqual": "dequal64($0, $1)", "FUnordNotEqual": "(!dequal64($0, $1))",
    "FOrdNotEqual": "(dless64($0, $1) || dless64($1, $0))",
    "FUnordEqual": "(!(dless64($0, $1) || dless64($1, $0)))",
    "FOrdLessThan": "dless64($0, $1)", "FOrdGreaterThan": "dless64($1, $0)",
    "FOrdLessThanEqual": "dnotmore64($0, $1)", "FOrdGreaterThanEqual": "dnotmore64($1, $0)",
    "FUnordLessThan": "(!dnotmore64($1, $0))", "FUnordGreaterThan": "(!dnotmore64($0, $1))",
    "FUnordLessThanEqual": "(!dless64($1, $0))", "FUnordGreaterThanEqual": "(!dless64($0, $1))",
    "FAbs": "($0 & vec2u(0xffffffffu, 0x7fffffffu))", "FSign": "dsign64($0)", "Trunc": "dtrunc64($0)",
    "Floor": "dfloor64($0)", "Ceil": f"(dfloor64($0 ^ {_SIGN}) ^ {_SIGN})", "Round": "dround64($0)",
    "RoundEven": "dround64($0)", "Fract": f"dadd64($0, dfloor64($0) ^ {_SIGN})", "Sqrt": "dsqrt64($0)",
    "InverseSqrt": f"ddiv64({_ONE}, dsqrt64($0))", "Fma": "dadd64(dmul64($0, $1), $2)", "FMin": _MIN, "FMax": _MAX,
    "NMin": f"select({_MIN}, $1, dnan64($0))", "NMax": f"select({_MAX}, $1, dnan64($0))",
    "FClamp": "dclamp64($0, $1, $2)", "NClamp": "dclamp64($0, $1, $2)",
    "FMix": f"dadd64(dmul64($0, dadd64({_ONE}, $2 ^ {_SIGN})), dmul64($1, $2))",
    "Step": f"select({_ONE}, vec2u(), dless64($1, $0))", "Ldexp": "dldexp64($0, i32(#1))",
    "PackDouble2x32": "vec2u($0)",
}  # fmt: skip
