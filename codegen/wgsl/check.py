"""The types that instructions ask of their operands, as tables; a module that breaks them would give WGSL that does.

A rule takes the result's type and the operands' and says whether they fit. Instructions without one check themselves.
"""

from collections.abc import Callable, Sequence

from tvm_webgpu.codegen.wgsl import types
from tvm_webgpu.codegen.wgsl.types import Matrix, Scalar, Type, Vector

Rule = Callable[[Type, Sequence[Type]], bool]


def _kind(type: Type) -> str:
    """bool, int or float for a scalar or vector of it; empty for any other type."""
    scalar = type.elem if isinstance(type, Vector) else type
    return scalar.kind if isinstance(scalar, Scalar) else ""


def _count(type: Type) -> int:
    return type.count if isinstance(type, Vector) else 1


def _width(type: Type) -> int:
    scalar = types.scalar_of(type)
    return scalar.width if scalar is not None else 0


def _all(kind: str, alike: Sequence[Type]) -> bool:
    """Whether all are of one kind, width and count; integers may differ in signedness."""
    first = alike[0]
    return all(_kind(t) == kind and _count(t) == _count(first) and _width(t) == _width(first) for t in alike)


def _same(kind: str) -> Rule:
    return lambda result, operands: _all(kind, (result, *operands))


def _compares(kind: str) -> Rule:
    def rule(result: Type, operands: Sequence[Type]) -> bool:
        return _kind(result) == "bool" and _count(result) == _count(operands[0]) and _all(kind, operands)

    return rule


def _converts(source: str, target: str) -> Rule:
    def rule(result: Type, operands: Sequence[Type]) -> bool:
        (operand,) = operands
        return _kind(result) == target and _kind(operand) == source and _count(result) == _count(operand)

    return rule


def _first_same(kind: str, rest: str) -> Rule:
    """The first operand is like the result, the others have as many components, of another kind."""

    def rule(result: Type, operands: Sequence[Type]) -> bool:
        others = all(_kind(t) == rest and _count(t) == _count(result) for t in operands[1:])
        return _all(kind, (result, operands[0])) and others

    return rule


def _shifts(result: Type, operands: Sequence[Type]) -> bool:
    value, amount = operands
    return _all("int", (result, value)) and _kind(amount) == "int" and _count(amount) == _count(result)


def _select(result: Type, operands: Sequence[Type]) -> bool:
    test, yes, no = operands
    fits = test == types.BOOL or (_kind(test) == "bool" and isinstance(result, Vector) and _count(test) == result.count)
    return fits and yes == no == result


def _inserts_bits(result: Type, operands: Sequence[Type]) -> bool:
    return _all("int", (result, *operands[:2])) and all(_kind(t) == "int" and _count(t) == 1 for t in operands[2:])


def _extracts_bits(result: Type, operands: Sequence[Type]) -> bool:
    return _all("int", (result, operands[0])) and all(_kind(t) == "int" and _count(t) == 1 for t in operands[1:])


def _count_bits(result: Type, operands: Sequence[Type]) -> bool:
    return _kind(result) == _kind(operands[0]) == "int" and _count(result) == _count(operands[0])


def _scales(result: Type, operands: Sequence[Type]) -> bool:
    value, scale = operands
    if isinstance(value, types.SubgroupMatrix):
        return value == result and scale == value.elem
    scalar = types.scalar_of(result)
    return value == result and scale == scalar and scalar is not None and scalar.kind == "float"


def _vector_times_matrix(result: Type, operands: Sequence[Type]) -> bool:
    vector, matrix = operands
    return isinstance(matrix, Matrix) and vector == matrix.column and result == Vector(vector.elem, matrix.count)


def _matrix_times_vector(result: Type, operands: Sequence[Type]) -> bool:
    matrix, vector = operands
    return isinstance(matrix, Matrix) and vector == Vector(matrix.column.elem, matrix.count) and result == matrix.column


def _matrix_times_matrix(result: Type, operands: Sequence[Type]) -> bool:
    a, b = operands
    fits = isinstance(a, Matrix) and isinstance(b, Matrix) and b.column == Vector(a.column.elem, a.count)
    return fits and isinstance(a, Matrix) and isinstance(b, Matrix) and result == Matrix(a.column, b.count)


def _outer(result: Type, operands: Sequence[Type]) -> bool:
    a, b = operands
    return isinstance(a, Vector) and isinstance(b, Vector) and a.elem == b.elem and result == Matrix(a, b.count)


def _transposes(result: Type, operands: Sequence[Type]) -> bool:
    (m,) = operands
    return isinstance(m, Matrix) and result == Matrix(Vector(m.column.elem, m.count), m.column.count)


def _dot(result: Type, operands: Sequence[Type]) -> bool:
    return isinstance(operands[0], Vector) and _all("float", operands) and result == operands[0].elem


def _votes(result: Type, operands: Sequence[Type]) -> bool:
    return result == types.BOOL and all(_kind(t) == "bool" for t in operands)


def _tests_bools(result: Type, operands: Sequence[Type]) -> bool:
    return result == types.BOOL and isinstance(operands[0], Vector) and _kind(operands[0]) == "bool"


def _extended(result: Type, operands: Sequence[Type]) -> bool:
    if not isinstance(result, types.Struct) or len(result.members) != 2 or result.members[0] != result.members[1]:
        return False
    return _all("int", (result.members[0], *operands))


def _copies(result: Type, operands: Sequence[Type]) -> bool:
    return operands[0] == result


def _casts(result: Type, operands: Sequence[Type]) -> bool:
    """Numbers of the same size in all; other casts say themselves why they are refused."""
    sizes = [_width(t) * _count(t) for t in (result, operands[0])]
    return isinstance(result, Scalar | Vector) and isinstance(operands[0], Scalar | Vector) and sizes[0] == sizes[1] > 0


def _word(result: Type, operands: Sequence[Type]) -> bool:
    return types.with_sign(result, False) == types.U32


def _quantizes(result: Type, operands: Sequence[Type]) -> bool:
    return result == operands[0] and types.scalar_of(result) == types.F32


def _numbers(result: Type, operands: Sequence[Type]) -> bool:
    return _kind(result) in ("int", "float") and _all(_kind(result), (result, *operands))


_ARITHMETIC: dict[Rule, str] = {
    _same("int"): "IAdd ISub IMul SDiv UDiv UMod SRem SMod SNegate Not BitwiseAnd BitwiseOr BitwiseXor BitReverse",
    _same("float"): "FAdd FSub FMul FDiv FRem FMod FNegate",
    _quantizes: "QuantizeToF16",
    _same("bool"): "LogicalAnd LogicalOr LogicalNot LogicalEqual LogicalNotEqual",
    _compares("int"): "IEqual INotEqual ULessThan ULessThanEqual UGreaterThan UGreaterThanEqual SLessThan "
    "SLessThanEqual SGreaterThan SGreaterThanEqual",
    _compares("float"): "FOrdEqual FOrdNotEqual FOrdLessThan FOrdLessThanEqual FOrdGreaterThan FOrdGreaterThanEqual "
    "FUnordEqual FUnordNotEqual FUnordLessThan FUnordLessThanEqual FUnordGreaterThan FUnordGreaterThanEqual IsNan "
    "IsInf",
    _shifts: "ShiftLeftLogical ShiftRightLogical ShiftRightArithmetic",
    _converts("float", "int"): "ConvertFToU ConvertFToS",
    _converts("int", "float"): "ConvertUToF ConvertSToF",
    _converts("int", "int"): "UConvert SConvert",
    _converts("float", "float"): "FConvert",
    _inserts_bits: "BitFieldInsert",
    _extracts_bits: "BitFieldSExtract BitFieldUExtract",
    _count_bits: "BitCount",
    _scales: "VectorTimesScalar MatrixTimesScalar",
    _vector_times_matrix: "VectorTimesMatrix",
    _matrix_times_vector: "MatrixTimesVector",
    _matrix_times_matrix: "MatrixTimesMatrix",
    _outer: "OuterProduct",
    _transposes: "Transpose",
    _dot: "Dot",
    _tests_bools: "Any All",
    _extended: "IAddCarry ISubBorrow UMulExtended SMulExtended",
    _copies: "CopyObject",
    _casts: "Bitcast",
    _word: "ArrayLength",
}
RULES: dict[str, Rule] = {op: rule for rule, ops in _ARITHMETIC.items() for op in ops.split()} | {"Select": _select}

_BALLOT = Vector(types.U32, 4)


def _agrees(result: Type, operands: Sequence[Type]) -> bool:
    return result == types.BOOL and _kind(operands[0]) in ("int", "float")


def _moves(result: Type, operands: Sequence[Type]) -> bool:
    return _numbers(result, operands[:1]) and all(_kind(t) == "int" and _count(t) == 1 for t in operands[1:])


def _tests_lane(result: Type, operands: Sequence[Type]) -> bool:
    ballot, lane = operands
    return result == types.BOOL and ballot == _BALLOT and _kind(lane) == "int" and _count(lane) == 1


# Of a subgroup's instructions, without the scope: what is combined or moved comes first.
_GROUP: dict[Rule, str] = {
    _votes: "GroupNonUniformAll GroupNonUniformAny SubgroupAllKHR SubgroupAnyKHR",
    _same("int"): "GroupNonUniformIAdd GroupNonUniformIMul GroupNonUniformSMin GroupNonUniformUMin GroupNonUniformSMax "
    "GroupNonUniformUMax GroupNonUniformBitwiseAnd GroupNonUniformBitwiseOr GroupNonUniformBitwiseXor",
    _same("float"): "GroupNonUniformFAdd GroupNonUniformFMul GroupNonUniformFMin GroupNonUniformFMax",
    _same("bool"): "GroupNonUniformLogicalAnd GroupNonUniformLogicalOr GroupNonUniformLogicalXor",
    _numbers: "GroupNonUniformBroadcastFirst SubgroupFirstInvocationKHR",
    _agrees: "GroupNonUniformAllEqual SubgroupAllEqualKHR",
    _moves: (
        "GroupNonUniformBroadcast GroupNonUniformShuffle GroupNonUniformShuffleXor GroupNonUniformShuffleUp "
        "GroupNonUniformShuffleDown GroupNonUniformQuadBroadcast GroupNonUniformQuadSwap SubgroupReadInvocationKHR"
    ),
    lambda result, operands: result == _BALLOT and operands[0] == types.BOOL: (
        "GroupNonUniformBallot SubgroupBallotKHR"
    ),
    lambda result, operands: result == types.BOOL: "GroupNonUniformElect",
    lambda result, operands: _word(result, ()) and operands[0] == _BALLOT: (
        "GroupNonUniformBallotBitCount GroupNonUniformBallotFindLSB GroupNonUniformBallotFindMSB"
    ),
    _tests_lane: "GroupNonUniformBallotBitExtract",
}
GROUP_RULES: dict[str, Rule] = {op: rule for rule, ops in _GROUP.items() for op in ops.split()}


def _fixed(result: Type, *operands: Type) -> Rule:
    def rule(made: Type, given: Sequence[Type]) -> bool:
        return len(given) == len(operands) and all(
            types.with_sign(a, False) == types.with_sign(b, False) for a, b in zip((made, *given), (result, *operands))
        )

    return rule


def _shrinks(result: Type, operands: Sequence[Type]) -> bool:
    return _all("float", operands) and result == types.scalar_of(operands[0])


def _determinant(result: Type, operands: Sequence[Type]) -> bool:
    (m,) = operands
    return isinstance(m, Matrix) and m.count == m.column.count and result == m.column.elem


def _refracts(result: Type, operands: Sequence[Type]) -> bool:
    return _all("float", (result, *operands[:2])) and operands[2] == types.scalar_of(result)


def _cross(result: Type, operands: Sequence[Type]) -> bool:
    return _all("float", (result, *operands)) and isinstance(result, Vector) and result.count == 3


def _parts(result: Type, given: Type, second: str) -> bool:
    """Whether a number splits into one like itself and one of a kind: the whole part, or the exponent."""
    fits = _kind(given) == "float" and _kind(result) == second and _count(result) == _count(given)
    return fits and _width(result) == (32 if second == "int" else _width(given))


def _splits(second: str) -> Rule:
    def rule(result: Type, operands: Sequence[Type]) -> bool:
        if not isinstance(result, types.Struct) or len(result.members) != 2:
            return False
        return result.members[0] == operands[0] and _parts(result.members[1], operands[0], second)

    return rule


def _splits_to(second: str) -> Rule:
    """The second part goes to memory."""

    def rule(result: Type, operands: Sequence[Type]) -> bool:
        given, pointer = operands
        return result == given and isinstance(pointer, types.Pointer) and _parts(pointer.pointee, given, second)

    return rule


def _vec(elem: Scalar, count: int) -> Vector:
    return Vector(elem, count)


_BITS = _vec(types.U32, 2)
_F2, _F4 = _vec(types.F32, 2), _vec(types.F32, 4)
_GLSL: dict[Rule, str] = {
    _same("int"): "SAbs SSign SMin SMax SClamp UMin UMax UClamp FindILsb FindUMsb FindSMsb",
    _first_same("float", "int"): "Ldexp",
    _shrinks: "Length Distance",
    _cross: "Cross",
    _determinant: "Determinant",
    _refracts: "Refract",
    _splits("float"): "ModfStruct",
    _splits("int"): "FrexpStruct",
    _fixed(types.U32, _F4): "PackSnorm4x8 PackUnorm4x8",
    _fixed(types.U32, _F2): "PackSnorm2x16 PackUnorm2x16 PackHalf2x16",
    _fixed(types.F64, _BITS): "PackDouble2x32",
    _fixed(_BITS, types.F64): "UnpackDouble2x32",
    _fixed(_F2, types.U32): "UnpackSnorm2x16 UnpackUnorm2x16 UnpackHalf2x16",
    _fixed(_F4, types.U32): "UnpackSnorm4x8 UnpackUnorm4x8",
    _splits_to("float"): "Modf",
    _splits_to("int"): "Frexp",
}
# All others take and give floats of one type.
GLSL_RULES: dict[str, Rule] = {name: rule for rule, names in _GLSL.items() for name in names.split()}
GLSL_RULE = _same("float")
# Operands in GLSL.std.450, where not one.
GLSL_COUNTS = {
    name: count
    for count, names in (
        (2, "Atan2 Pow Modf FMin UMin SMin FMax UMax SMax Step Frexp Ldexp Distance Cross Reflect NMin NMax"),
        (3, "FClamp UClamp SClamp FMix SmoothStep Fma FaceForward Refract NClamp"),
    )
    for name in names.split()
}

# Instructions whose methods check more than types: paths into composites, pointers, calls, atomics, matrices' shapes.
_OWN = """
AccessChain InBoundsAccessChain Load FunctionCall Undef ExtInst CopyLogical CompositeConstruct CompositeExtract
CompositeInsert VectorShuffle VectorExtractDynamic VectorInsertDynamic SDot UDot SUDot AtomicLoad AtomicExchange
AtomicCompareExchange AtomicIIncrement AtomicIDecrement AtomicIAdd AtomicISub AtomicSMin AtomicUMin AtomicSMax
AtomicUMax AtomicAnd AtomicOr AtomicXor CooperativeMatrixLoadKHR CooperativeMatrixMulAddKHR
"""
OWN = frozenset(_OWN.split())
