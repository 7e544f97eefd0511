"""WGSL expressions as text with what their placement needs: precedence, and the variables whose values they read."""

import math
import struct
from dataclasses import dataclass

from tvm_webgpu.codegen.wgsl import types
from tvm_webgpu.codegen.wgsl.types import Type

# Precedence, loosest first. WGSL lets few operators mix: operands of shifts and bit operators are unary expressions.
BITS, COMPARE, SHIFT, ADD, MULTIPLY, UNARY, PRIMARY = range(7)

# operator -> (its precedence, the loosest left operand, the loosest right operand)
OPERATORS = {
    "*": (MULTIPLY, MULTIPLY, UNARY), "/": (MULTIPLY, MULTIPLY, UNARY), "%": (MULTIPLY, MULTIPLY, UNARY),
    "+": (ADD, ADD, MULTIPLY), "-": (ADD, ADD, MULTIPLY),
    "<<": (SHIFT, UNARY, UNARY), ">>": (SHIFT, UNARY, UNARY),
    "<": (COMPARE, SHIFT, SHIFT), ">": (COMPARE, SHIFT, SHIFT), "<=": (COMPARE, SHIFT, SHIFT),
    ">=": (COMPARE, SHIFT, SHIFT), "==": (COMPARE, SHIFT, SHIFT), "!=": (COMPARE, SHIFT, SHIFT),
    "&": (BITS, UNARY, UNARY), "|": (BITS, UNARY, UNARY), "^": (BITS, UNARY, UNARY),
}  # fmt: skip

NOTHING: frozenset[object] = frozenset()


@dataclass(frozen=True, slots=True)
class Expr:
    """``reads`` are the mutable places the text reads: it may not move across a write to one of them.

    ``const`` says that WGSL would evaluate it when the shader is created, where overflow and such are errors.
    ``operator`` is the outermost one, of a chain that needs no parentheses when continued.
    ``inverse`` is the text of the negation where that is as simple, as for comparisons of integers.
    """

    text: str
    prec: int = PRIMARY
    reads: frozenset[object] = NOTHING
    const: bool = False
    operator: str = ""
    inverse: str = ""

    @property
    def simple(self) -> bool:
        """Whether repeating the text costs nothing: a name, a literal, a member of those."""
        return (self.const and len(self.text) < 24) or all(c.isalnum() or c in "_." for c in self.text)

    def at(self, prec: int) -> str:
        """The text as an operand that must bind at least so tightly."""
        return self.text if self.prec >= prec else f"({self.text})"


def binary(operator: str, a: Expr, b: Expr) -> Expr:
    """``a operator b``."""
    prec, left, right = OPERATORS[operator]
    chained = a.operator == operator and operator in ("&", "|", "^")
    if operator == "<" and b.operator == ">>":  # WGSL reads `a < b >> c` as a template's list
        right = PRIMARY
    text = f"{a.text if chained else a.at(left)} {operator} {b.at(right)}"
    return Expr(text, prec, a.reads | b.reads, a.const and b.const, operator)


INVERSES = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


def compare(operator: str, a: Expr, b: Expr, total: bool) -> Expr:
    """A comparison; ``total`` says that the order is (integers), so that its negation is a comparison too."""
    made = binary(operator, a, b)
    if not total:
        return made
    inverse = binary(INVERSES[operator], a, b).text
    return Expr(made.text, made.prec, made.reads, made.const, made.operator, inverse)


def negate(a: Expr) -> Expr:
    """Logical not."""
    if a.inverse:
        return Expr(a.inverse, COMPARE, a.reads, a.const, inverse=a.text)
    if a.text.startswith("!") and a.prec == UNARY:
        return Expr(a.text[1:], UNARY, a.reads, a.const)
    made = unary("!", a)
    return Expr(made.text, UNARY, a.reads, a.const)


def unary(operator: str, a: Expr) -> Expr:
    # "- -x" and "--x" are different tokens; parentheses keep them apart.
    text = f"{operator}({a.text})" if a.text.startswith("-") or a.prec < UNARY else f"{operator}{a.text}"
    return Expr(text, UNARY, a.reads, a.const)


def call(name: str, *args: Expr) -> Expr:
    """``name(args)``. A comparison among several arguments is parenthesised: ``f(a < b, c > d)`` is a template list."""
    if len(args) > 1:
        texts = [f"({a.text})" if a.prec <= COMPARE and ("<" in a.text or ">" in a.text) else a.text for a in args]
    else:
        texts = [a.text for a in args]
    reads = frozenset().union(*(a.reads for a in args))
    return Expr(f"{name}({', '.join(texts)})", PRIMARY, reads, all(a.const for a in args))


def member(a: Expr, name: str) -> Expr:
    return Expr(f"{a.at(PRIMARY)}.{name}", PRIMARY, a.reads, a.const)


def index(a: Expr, i: Expr) -> Expr:
    return Expr(f"{a.at(PRIMARY)}[{i.text}]", PRIMARY, a.reads | i.reads, a.const and i.const)


def fill(template: str, args: tuple[Expr, ...]) -> Expr:
    """A template's ``$0``, ``$1``, ... replaced by operands; the whole binds as a primary expression."""
    text = template
    for i, arg in reversed(list(enumerate(args))):
        text = text.replace(f"${i}", arg.at(PRIMARY))
    reads = frozenset().union(*(a.reads for a in args))
    return Expr(text, PRIMARY, reads, all(a.const for a in args))


_SUFFIX = {types.I32: "i", types.U32: "u", types.F32: "f", types.F16: "h"}
_NAMES = {types.BOOL: "bool", types.I32: "i32", types.U32: "u32", types.F32: "f32", types.F16: "f16"}
for _narrow in (8, 16):
    for _full in (types.I32, types.U32):
        _SUFFIX[types.Scalar("int", _narrow, _full.signed)] = _SUFFIX[_full]
        _NAMES[types.Scalar("int", _narrow, _full.signed)] = _NAMES[_full]


def type_name(type: Type) -> str | None:
    """The WGSL name of a scalar, vector or matrix type; None if WGSL has no such."""
    match type:
        case types.Scalar():
            return "vec2u" if types.is_wide(type) else _NAMES.get(type)
        case types.Vector(elem=elem, count=count):
            if types.is_wide(elem):
                return f"array<vec2u, {count}>"
            if elem == types.BOOL:
                return f"vec{count}<bool>"
            return f"vec{count}{_SUFFIX[elem]}" if elem in _SUFFIX else None
        case types.Matrix(column=column, count=count):
            suffix = _SUFFIX.get(column.elem)
            return f"mat{count}x{column.count}{suffix}" if suffix in ("f", "h") else None
        case types.SubgroupMatrix(elem=elem, rows=rows, columns=columns, use=use):
            return f"subgroup_matrix_{('left', 'right', 'result')[use]}<{_NAMES[elem]}, {columns}, {rows}>"
    return None


def integer(value: int, type: types.Scalar) -> Expr:
    """An integer literal; ``value`` is taken modulo the type's range."""
    value &= (1 << type.width) - 1
    if type.width == 64:
        words = (value & 0xFFFFFFFF, value >> 32)
        return Expr(f"vec2u({words[0]}u, {words[1]}u)" if value else "vec2u()", PRIMARY, const=True)
    if not type.signed:
        return Expr(f"{value}u", PRIMARY, const=True)
    value -= (value >> (type.width - 1)) << type.width
    if value == -(1 << 31):
        # The literal 2147483648i does not exist.
        return Expr("i32(-2147483648)", PRIMARY, const=True)
    return Expr(f"{value}i", PRIMARY if value >= 0 else UNARY, const=True)


def floating(bits: int, width: int) -> Expr | None:
    """The shortest float literal that has exactly these bits; None for NaN and infinities, which WGSL lacks."""
    code, suffix = ("<e", "h") if width == 16 else ("<f", "f")
    value: float = struct.unpack(code, bits.to_bytes(width // 8, "little"))[0]
    if math.isnan(value) or math.isinf(value):
        return None
    text = _shortest(value, bits, code)
    negative = text.startswith("-")
    return Expr(text + suffix, UNARY if negative else PRIMARY, const=True)


def _shortest(value: float, bits: int, code: str) -> str:
    if value == int(value) and abs(value) < 1e7:
        return ("-" if bits >> (15 if code == "<e" else 31) and value == 0 else "") + str(int(value))
    largest = 65504.0 if code == "<e" else 3.4028234663852886e38
    for digits in range(1, 18):
        text = f"{value:.{digits}g}"
        try:
            # Tint refuses a literal above the largest finite value, even one that rounds to it.
            if abs(float(text)) <= largest and int.from_bytes(struct.pack(code, float(text)), "little") == bits:
                break
        except OverflowError:
            continue
    mantissa, _, exponent = text.partition("e")
    if exponent:
        text = f"{mantissa}e{int(exponent)}"
    return text
