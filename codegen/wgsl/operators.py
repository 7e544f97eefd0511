"""The tables of operators: SPIR-V instruction -> how its WGSL is written and which signedness it computes in.

A row is ``(form, operands, result)``. A form is an operator, ``name()`` for a call, or a template with ``$0``, ``$1``.
``operands`` and ``result`` say what integers count as: ``r`` as the result type, ``s`` signed, ``u`` unsigned,
``=`` as the first operand, ``.`` as they are. ``$T`` in a template is the result type, ``$S`` its component type,
``$A`` the type of the first operand.
"""

from typing import NamedTuple


class Row(NamedTuple):
    form: str
    operands: str = "r"  # one letter per operand; the last one counts for the rest
    result: str = "r"  # what the form yields: r, s, u, or "." (not an integer, or already right)


_R = Row
ROWS = {
    "IAdd": _R("+"), "ISub": _R("-"), "IMul": _R("*"), "FAdd": _R("+"), "FSub": _R("-"), "FMul": _R("*"),
    "FDiv": _R("/"), "FRem": _R("%"), "FMod": _R("($0 - $1 * floor($0 / $1))"),
    "UDiv": _R("/", "u", "u"), "UMod": _R("%", "u", "u"), "SDiv": _R("/", "s", "s"), "SRem": _R("%", "s", "s"),
    "SNegate": _R("-x", "s", "s"), "FNegate": _R("-x"), "Not": _R("~x"), "LogicalNot": _R("!x"),
    "BitwiseAnd": _R("&"), "BitwiseOr": _R("|"), "BitwiseXor": _R("^"),
    "VectorTimesScalar": _R("*", "."), "MatrixTimesScalar": _R("*", "."), "VectorTimesMatrix": _R("*", "."),
    "MatrixTimesVector": _R("*", "."), "MatrixTimesMatrix": _R("*", "."),
    "Dot": _R("dot()", "."), "Transpose": _R("transpose()", "."),
    "Any": _R("any()", "."), "All": _R("all()", "."),
    "LogicalEqual": _R("==", "."), "LogicalNotEqual": _R("!=", "."),
    "IEqual": _R("==", ".="), "INotEqual": _R("!=", ".="),
    "UGreaterThan": _R(">", "u"), "UGreaterThanEqual": _R(">=", "u"), "ULessThan": _R("<", "u"),
    "ULessThanEqual": _R("<=", "u"),
    "SGreaterThan": _R(">", "s"), "SGreaterThanEqual": _R(">=", "s"), "SLessThan": _R("<", "s"),
    "SLessThanEqual": _R("<=", "s"),
    "FOrdEqual": _R("==", "."), "FOrdLessThan": _R("<", "."), "FOrdGreaterThan": _R(">", "."),
    "FOrdLessThanEqual": _R("<=", "."), "FOrdGreaterThanEqual": _R(">=", "."), "FUnordNotEqual": _R("!=", "."),
    # An unordered comparison is the negation of the ordered opposite.
    "FUnordLessThan": _R("!($0 >= $1)", "."), "FUnordGreaterThan": _R("!($0 <= $1)", "."),
    "FUnordLessThanEqual": _R("!($0 > $1)", "."), "FUnordGreaterThanEqual": _R("!($0 < $1)", "."),
    "FOrdNotEqual": _R("(($0 < $1) | ($0 > $1))", "."), "FUnordEqual": _R("!(($0 < $1) | ($0 > $1))", "."),
    "BitReverse": _R("reverseBits()"), "BitCount": _R("countOneBits()"),
}  # fmt: skip

# Instructions that a whole subgroup runs; the scope of the GroupNonUniform ones is no operand here.
SUBGROUP_ROWS = {
    "GroupNonUniformElect": _R("subgroupElect()"), "GroupNonUniformAll": _R("subgroupAll()", "."),
    "GroupNonUniformAny": _R("subgroupAny()", "."), "GroupNonUniformBroadcastFirst": _R("subgroupBroadcastFirst()"),
    "GroupNonUniformBallot": _R("subgroupBallot()", ".", "u"),
    "GroupNonUniformBroadcast": _R("subgroupBroadcast()", "ru"),
    "GroupNonUniformShuffle": _R("subgroupShuffle()", "ru"),
    "GroupNonUniformShuffleXor": _R("subgroupShuffleXor()", "ru"),
    "GroupNonUniformShuffleUp": _R("subgroupShuffleUp()", "ru"),
    "GroupNonUniformShuffleDown": _R("subgroupShuffleDown()", "ru"),
    "GroupNonUniformQuadBroadcast": _R("quadBroadcast()", "ru"),
    "SubgroupBallotKHR": _R("subgroupBallot()", ".", "u"), "SubgroupAllKHR": _R("subgroupAll()", "."),
    "SubgroupAnyKHR": _R("subgroupAny()", "."), "SubgroupFirstInvocationKHR": _R("subgroupBroadcastFirst()"),
    "SubgroupReadInvocationKHR": _R("subgroupShuffle()", "ru"),
}  # fmt: skip

# Those of them that move values without looking at them, so that the values may be of any type.
SUBGROUP_MOVES = {
    op for op in SUBGROUP_ROWS if any(word in op for word in ("Broadcast", "Shuffle", "Invocation"))
} | {"GroupNonUniformQuadSwap"}  # fmt: skip

# Instructions whose result may leave the range of a narrow integer type.
WRAPPING = {
    "IAdd", "ISub", "IMul", "SNegate", "Not", "SDiv", "GroupNonUniformIAdd", "GroupNonUniformIMul",
}  # fmt: skip

# Group operation -> (reduce, inclusive scan, exclusive scan), and what the integers count as.
GROUP_ROWS = {
    "IAdd": ("subgroupAdd", "subgroupInclusiveAdd", "subgroupExclusiveAdd", "r"),
    "FAdd": ("subgroupAdd", "subgroupInclusiveAdd", "subgroupExclusiveAdd", "r"),
    "IMul": ("subgroupMul", "subgroupInclusiveMul", "subgroupExclusiveMul", "r"),
    "FMul": ("subgroupMul", "subgroupInclusiveMul", "subgroupExclusiveMul", "r"),
    "SMin": ("subgroupMin", "", "", "s"), "UMin": ("subgroupMin", "", "", "u"), "FMin": ("subgroupMin", "", "", "r"),
    "SMax": ("subgroupMax", "", "", "s"), "UMax": ("subgroupMax", "", "", "u"), "FMax": ("subgroupMax", "", "", "r"),
    "BitwiseAnd": ("subgroupAnd", "", "", "r"), "BitwiseOr": ("subgroupOr", "", "", "r"),
    "BitwiseXor": ("subgroupXor", "", "", "r"), "LogicalAnd": ("subgroupAll", "", "", "r"),
    "LogicalOr": ("subgroupAny", "", "", "r"),
}  # fmt: skip

_SAME = {
    "RoundEven": "round", "Trunc": "trunc", "FAbs": "abs", "FSign": "sign", "Floor": "floor", "Ceil": "ceil",
    "Fract": "fract", "Radians": "radians", "Degrees": "degrees", "Sin": "sin", "Cos": "cos", "Tan": "tan",
    "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh", "Atan2": "atan2", "Pow": "pow", "Exp": "exp", "Log": "log", "Exp2": "exp2",
    "Log2": "log2", "Sqrt": "sqrt", "InverseSqrt": "inverseSqrt", "Determinant": "determinant", "FMin": "min",
    "FMax": "max", "FClamp": "clamp", "FMix": "mix", "Step": "step", "SmoothStep": "smoothstep", "Fma": "fma",
    "NMin": "min", "NMax": "max", "NClamp": "clamp", "Length": "length", "Distance": "distance", "Cross": "cross",
    "PackSnorm4x8": "pack4x8snorm", "PackUnorm4x8": "pack4x8unorm", "PackSnorm2x16": "pack2x16snorm",
    "PackUnorm2x16": "pack2x16unorm", "PackHalf2x16": "pack2x16float", "UnpackSnorm2x16": "unpack2x16snorm",
    "UnpackUnorm2x16": "unpack2x16unorm", "UnpackHalf2x16": "unpack2x16float", "UnpackSnorm4x8": "unpack4x8snorm",
    "UnpackUnorm4x8": "unpack4x8unorm",
}  # fmt: skip

_PACKS = {
    name: _R(f"{wgsl}()", "u" if name.startswith("Un") else ".", "u") for name, wgsl in _SAME.items() if "ack" in name
}
GLSL_ROWS = {name: _R(f"{wgsl}()") for name, wgsl in _SAME.items()} | _PACKS | {
    # GLSL's Round may round halves either way; away from zero is what most drivers do not do, to even what they do.
    "Round": _R("round()"),
    "SAbs": _R("abs()", "s", "s"), "SSign": _R("sign()", "s", "s"),
    "SMin": _R("min()", "s", "s"), "SMax": _R("max()", "s", "s"), "SClamp": _R("clamp()", "s", "s"),
    "UMin": _R("min()", "u", "u"), "UMax": _R("max()", "u", "u"), "UClamp": _R("clamp()", "u", "u"),
    "Ldexp": _R("ldexp()", "rs"),
    "FindILsb": _R("firstTrailingBit()", "r"), "FindUMsb": _R("firstLeadingBit()", "u", "u"),
    "FindSMsb": _R("firstLeadingBit()", "s", "s"),
    "Normalize": _R("normalize()"), "FaceForward": _R("faceForward()"), "Reflect": _R("reflect()"),
    "Refract": _R("refract()", "r"),
}  # fmt: skip

# WGSL has these for vectors only; the scalar forms follow their definitions in GLSL.std.450.
SCALAR_ROWS = {
    "Normalize": _R("sign()"),
    "FaceForward": _R("select(-$0, $0, ($1 * $2 < $S(0)))"),
    "Reflect": _R("($0 - $S(2) * $1 * $1 * $0)"),
}
