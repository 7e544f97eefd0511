"""Operators and casts on values of up to 32 bits, with TVM's semantics.

`Div` and `Mod` truncate towards zero, `FloorDiv` and `FloorMod` round down; a division whose operands are known not to
be negative needs no fix-up. Vulkan leaves SRem undefined for negative operands, so remainders come from the quotient.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.facts import Fact
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Val, const, rep_type

FLOATS = ("f32", "f16", "f64")
COMPARISONS = ("EQ", "NE", "LT", "LE", "GT", "GE")
ORDERS = ("LT", "LE", "GT", "GE")
# Results depend on the operands' low bits only: computed in 32 bits whenever the result fits.
RING = ("Add", "Sub", "Mul", "BitwiseAnd", "BitwiseOr", "BitwiseXor")

_INT: dict[str, Op | Ext] = {
    "Add": Op.IAdd, "Sub": Op.ISub, "Mul": Op.IMul, "BitwiseAnd": Op.BitwiseAnd, "BitwiseOr": Op.BitwiseOr,
    "BitwiseXor": Op.BitwiseXor, "LShift": Op.ShiftLeftLogical, "EQ": Op.IEqual, "NE": Op.INotEqual,
}
_FLOAT: dict[str, Op | Ext] = {
    "Add": Op.FAdd, "Sub": Op.FSub, "Mul": Op.FMul, "Div": Op.FDiv,
    "EQ": Op.FOrdEqual, "LT": Op.FOrdLessThan, "LE": Op.FOrdLessThanEqual,
    "GT": Op.FOrdGreaterThan, "GE": Op.FOrdGreaterThanEqual,
}
OPS: dict[str, Mapping[str, Op | Ext]] = {
    "bool": {"And": Op.LogicalAnd, "Or": Op.LogicalOr, "EQ": Op.LogicalEqual, "NE": Op.LogicalNotEqual,
             "BitwiseAnd": Op.LogicalAnd, "BitwiseOr": Op.LogicalOr, "BitwiseXor": Op.LogicalNotEqual,
             "Min": Op.LogicalAnd, "Max": Op.LogicalOr, "Add": Op.LogicalOr, "Mul": Op.LogicalAnd},
    "i32": _INT | {"RShift": Op.ShiftRightArithmetic, "Min": Ext.SMin, "Max": Ext.SMax, "LT": Op.SLessThan,
                   "LE": Op.SLessThanEqual, "GT": Op.SGreaterThan, "GE": Op.SGreaterThanEqual},
    "u32": _INT | {"RShift": Op.ShiftRightLogical, "Min": Ext.UMin, "Max": Ext.UMax, "LT": Op.ULessThan,
                   "LE": Op.ULessThanEqual, "GT": Op.UGreaterThan, "GE": Op.UGreaterThanEqual,
                   "Div": Op.UDiv, "FloorDiv": Op.UDiv, "Mod": Op.UMod, "FloorMod": Op.UMod},
    "f32": _FLOAT,
    "f16": _FLOAT,
    "f64": _FLOAT,
}
# Bits kept, for the integers narrower than the register they live in.
SMALL = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}


def apply(b: Builder, op: Op | Ext, type: Id, *operands: Id) -> Id:
    return b.ext(op, type, *operands) if isinstance(op, Ext) else b.op(op, type, *operands)


def binary(b: Builder, kind: str, x: Val, y: Val, fx: Fact | None = None, fy: Fact | None = None) -> Val:
    """x `kind` y; comparisons give a bool. `fx` and `fy` are what is known of integer operands."""
    rep, lanes = x.rep, x.lanes
    out = "bool" if kind in COMPARISONS else rep
    if kind in DIVISIONS and kind not in OPS[rep]:
        return DIVISIONS[kind](b, x, y, fx, fy)
    if kind == "NE" and rep in FLOATS:
        # Some drivers' != is false for NaN; their == is right.
        return invert(b, binary(b, "EQ", x, y))
    if kind in ORDERS and rep == "bool":
        return binary(b, kind, convert(b, x, "u32", ""), convert(b, y, "u32", ""))
    if kind in ("Min", "Max") and rep in FLOATS:
        return _extreme(b, kind, x, y)
    op = OPS[rep][kind]
    folded = _identity(b, kind, x, y)
    return folded or Val(out, (apply(b, op, rep_type(b, out, lanes), x.id, y.id),), lanes)


def is_nan(b: Builder, x: Val) -> Val:
    """By the bits of an f32: compilers may assume that there is no NaN."""
    if x.rep != "f32":
        return invert(b, binary(b, "EQ", x, x))
    size = binary(b, "BitwiseAnd", bitcast(b, "u32", x), const(b, "u32", 0x7FFFFFFF, x.lanes))
    return binary(b, "GT", size, const(b, "u32", 0x7F800000, x.lanes))


def _extreme(b: Builder, kind: str, x: Val, y: Val) -> Val:
    """The smaller or larger float, or NaN where either is: WGSL's min and max may give the other one."""
    kept = select(b, binary(b, "LT" if kind == "Max" else "GT", x, y), y, x)  # x where it is NaN
    return kept if b.constant_value(y.id) is not None else select(b, is_nan(b, y), y, kept)


def shift(b: Builder, kind: str, x: Val, y: Val) -> Val:
    """A shift by any amount: by the width or more, only the sign is left, as in NumPy."""
    amount, most = bitcast(b, "u32", y), const(b, "u32", 31, x.lanes)
    far = binary(b, "GT", amount, most)
    if kind == "RShift" and x.rep == "i32":
        return binary(b, kind, x, select(b, far, most, amount))
    return select(b, far, const(b, x.rep, 0, x.lanes), binary(b, kind, x, binary(b, "BitwiseAnd", amount, most)))


FOLDED: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "BitwiseAnd": operator.and_,
    "BitwiseOr": operator.or_, "LShift": operator.lshift, "RShift": operator.rshift,
}


def _identity(b: Builder, kind: str, x: Val, y: Val) -> Val | None:
    """Integer constants, x + 0, x * 1, shifts by 0, (x + c) + d: what lowering leaves behind."""
    if x.rep not in ("i32", "u32") or x.lanes != 1:
        return None
    m, n = b.int_value(x.id), b.int_value(y.id)
    if m is not None and n is not None and kind in FOLDED and (kind not in ("LShift", "RShift") or 0 <= n < 32):
        return const(b, x.rep, FOLDED[kind](m, n))
    if (n == 0 and kind in ("Add", "Sub", "LShift", "RShift", "BitwiseOr", "BitwiseXor")) or (n == 1 and kind == "Mul"):
        return x
    if (m == 0 and kind == "Add") or (m == 1 and kind == "Mul"):
        return y
    made = b.definition(x.id)
    if kind == "Add" and n is not None and made is not None and made[0] == Op.IAdd:
        inner = b.int_value(Id(made[1][1]))
        if inner is not None:
            return binary(b, "Add", Val(x.rep, (Id(made[1][0]),)), const(b, x.rep, inner + n))
    return const(b, x.rep, 0) if kind == "Mul" and 0 in (m, n) else None


def _power(b: Builder, y: Val) -> int | None:
    """k, where y is the constant 2**k."""
    n = b.int_value(y.id)
    return n.bit_length() - 1 if n is not None and n > 0 and n & (n - 1) == 0 else None


def _floordiv(b: Builder, x: Val, y: Val, fx: Fact | None, fy: Fact | None) -> Val:
    power = _power(b, y)
    if power is not None:
        return binary(b, "RShift", x, const(b, "i32", power))
    if _both_natural(fx, fy):
        return _divide(b, x, y)
    q = _divide(b, x, y)
    r = binary(b, "Sub", x, binary(b, "Mul", q, y))
    one, zero = const(b, "i32", 1, x.lanes), const(b, "i32", 0, x.lanes)
    return binary(b, "Sub", q, _select(b, _needs_fix(b, r, y), one, zero))


def _floormod(b: Builder, x: Val, y: Val, fx: Fact | None, fy: Fact | None) -> Val:
    power = _power(b, y)
    if power is not None:
        known = b.int_value(x.id)
        if known is not None:
            return const(b, "i32", known % 2**power, x.lanes)
        # As a remainder, not as a mask: Tint then knows the range of an index and leaves out the clamp. On an H100 that
        # is 45 instead of 40 TFLOP/s for a matrix product, 263 instead of 172 on matrix units.
        modulus = const(b, "u32", 2**power, x.lanes)
        rest = b.op(Op.UMod, rep_type(b, "u32", x.lanes), bitcast(b, "u32", x).id, modulus.id)
        return bitcast(b, "i32", Val("u32", (rest,), x.lanes))
    if _both_natural(fx, fy):
        return Val("i32", (b.op(Op.SRem, rep_type(b, "i32", x.lanes), x.id, y.id),), x.lanes)
    r = binary(b, "Sub", x, binary(b, "Mul", _divide(b, x, y), y))
    return binary(b, "Add", r, _select(b, _needs_fix(b, r, y), y, const(b, "i32", 0, x.lanes)))


def _truncdiv(b: Builder, x: Val, y: Val, fx: Fact | None, fy: Fact | None) -> Val:
    power = _power(b, y)
    if power is not None and fx is not None and fx.lo >= 0:
        return binary(b, "RShift", x, const(b, "i32", power))
    return _divide(b, x, y)


def _truncmod(b: Builder, x: Val, y: Val, fx: Fact | None, fy: Fact | None) -> Val:
    if _both_natural(fx, fy):
        return _floormod(b, x, y, fx, fy)
    return binary(b, "Sub", x, binary(b, "Mul", _divide(b, x, y), y))


DIVISIONS = {"Div": _truncdiv, "Mod": _truncmod, "FloorDiv": _floordiv, "FloorMod": _floormod}


def _divide(b: Builder, x: Val, y: Val) -> Val:
    return Val("i32", (b.op(Op.SDiv, rep_type(b, "i32", x.lanes), x.id, y.id),), x.lanes)


def _both_natural(fx: Fact | None, fy: Fact | None) -> bool:
    return fx is not None and fy is not None and fx.lo >= 0 and fy.lo >= 0


def _needs_fix(b: Builder, r: Val, y: Val) -> Val:
    """Whether a truncated quotient with remainder r is one above the floor: r != 0 and its sign is not y's."""
    zero = const(b, "i32", 0, r.lanes)
    opposite = binary(b, "LT", binary(b, "BitwiseXor", r, y), zero)
    return binary(b, "And", binary(b, "NE", r, zero), opposite)


def _select(b: Builder, condition: Val, x: Val, y: Val) -> Val:
    return Val(x.rep, (b.op(Op.Select, rep_type(b, x.rep, x.lanes), condition.id, x.id, y.id),), x.lanes)


def select(b: Builder, condition: Val, x: Val, y: Val) -> Val:
    """x where the condition holds, else y; works on 64-bit pairs too. A scalar condition serves vectors."""
    if condition.lanes < x.lanes:
        condition = Val("bool", (b.op(Op.CompositeConstruct, rep_type(b, "bool", x.lanes),
                                      *[condition.id] * x.lanes),), x.lanes)
    type = b.u32 if len(x.ids) == 2 else rep_type(b, x.rep, x.lanes)
    return Val(x.rep, tuple(b.op(Op.Select, type, condition.id, i, j) for i, j in zip(x.ids, y.ids)), x.lanes)


def invert(b: Builder, x: Val) -> Val:
    """Logical or bitwise not."""
    return Val(x.rep, (b.op(Op.LogicalNot if x.rep == "bool" else Op.Not, rep_type(b, x.rep, x.lanes), x.id),), x.lanes)


def bitcast(b: Builder, rep: str, x: Val) -> Val:
    if x.rep == rep:
        return x
    n = b.int_value(x.id) if x.lanes == 1 else None
    if n is not None and rep in ("i32", "u32"):
        return const(b, rep, n)
    return Val(rep, (b.op(Op.Bitcast, rep_type(b, rep, x.lanes), x.id),), x.lanes)


def wrap(b: Builder, x: Val, dtype: str) -> Val:
    """Keeps the bits of a small integer dtype, extended to the register."""
    bits = SMALL.get(dtype)
    if bits is None:
        return x
    if dtype.startswith("u"):
        return binary(b, "BitwiseAnd", x, const(b, "u32", 2**bits - 1, x.lanes))
    zero, count = b.constant(b.u32, 0), b.constant(b.u32, bits)
    return Val(x.rep, (b.op(Op.BitFieldSExtract, rep_type(b, x.rep, x.lanes), x.id, zero, count),), x.lanes)


def to_bool(b: Builder, x: Val) -> Val:
    return x if x.rep == "bool" else binary(b, "NE", x, const(b, x.rep, 0, x.lanes))


def _to_odd(b: Builder, x: Val) -> Val:
    """A double cut to 24 bits, the last of which says whether there were more: rounded again, it is rounded once."""
    words = double_words(b, x)
    cut = binary(b, "BitwiseAnd", words[0], const(b, "u32", 0xE0000000))
    more = binary(b, "NE", binary(b, "BitwiseAnd", words[0], const(b, "u32", 0x1FFFFFFF)), const(b, "u32", 0))
    last = select(b, more, const(b, "u32", 0x20000000), const(b, "u32", 0))
    return double_of(b, binary(b, "BitwiseOr", cut, last), words[1])


def double_words(b: Builder, x: Val) -> tuple[Val, Val]:
    """The bits of a double as u32, the low word first."""
    both = b.op(Op.Bitcast, b.vector(b.u32, 2), x.id)
    low, high = (Val("u32", (b.op(Op.CompositeExtract, b.u32, both, i),)) for i in (0, 1))
    return low, high


def double_of(b: Builder, low: Val, high: Val) -> Val:
    """A double from its bits."""
    both = b.op(Op.CompositeConstruct, b.vector(b.u32, 2), low.id, high.id)
    return Val("f64", (b.op(Op.Bitcast, b.f64, both),))


def convert(b: Builder, x: Val, rep: str, dtype: str) -> Val:
    """A cast among bool, i32, u32, f32, f16 and f64; `dtype` is what is meant: a small integer wraps to its bits."""
    if rep == "bool":
        return to_bool(b, x)
    if x.rep == "bool":
        return select(b, x, const(b, rep, 1, x.lanes), const(b, rep, 0, x.lanes))
    if x.rep in FLOATS and rep in FLOATS:
        if x.rep == rep:
            return x
        if x.rep == "f64" and rep == "f32" and dtype not in ("", "float32"):
            x = _to_odd(b, x)
        return Val(rep, (b.op(Op.FConvert, rep_type(b, rep, x.lanes), x.id),), x.lanes)
    if x.rep in FLOATS:
        # Small unsigned integers go through i32 so that a negative float wraps as it does in C.
        through = "i32" if dtype in SMALL else rep
        op = Op.ConvertFToS if through == "i32" else Op.ConvertFToU
        whole = Val(through, (b.op(op, rep_type(b, through, x.lanes), x.id),), x.lanes)
        # WGSL goes to the end of the range beyond it, but says nothing of NaN.
        whole = select(b, binary(b, "EQ", x, x), whole, const(b, through, 0, x.lanes))
        return wrap(b, bitcast(b, rep, whole), dtype)
    if rep in FLOATS:
        op = Op.ConvertSToF if x.rep == "i32" else Op.ConvertUToF
        return Val(rep, (b.op(op, rep_type(b, rep, x.lanes), x.id),), x.lanes)
    return wrap(b, bitcast(b, rep, x), dtype)
