"""SPIR-V types as immutable data, with the nesting depth and the number of scalars that bound the work on them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Void:
    depth = 0


@dataclass(frozen=True)
class Opaque:
    """An image, sampler or other type that compute shaders here can only mention, never use."""

    name: str
    depth = 0


@dataclass(frozen=True)
class Scalar:
    """``kind`` is bool, int or float."""

    kind: str
    width: int = 0
    signed: bool = False
    depth = 0


@dataclass(frozen=True)
class Vector:
    elem: Scalar
    count: int
    depth = 1


@dataclass(frozen=True)
class Matrix:
    column: Vector
    count: int
    depth = 2


@dataclass(frozen=True)
class SubgroupMatrix:
    """A matrix that the invocations of a subgroup hold together; ``use`` is 0 (left), 1 (right) or 2 (result)."""

    elem: Scalar
    rows: int
    columns: int
    use: int
    depth = 2


@dataclass(frozen=True, eq=False)
class Array:
    """``length`` is None for a runtime array; ``length_id`` names the constant it came from."""

    elem: "Type"
    length: int | None
    length_id: int
    stride: int | None
    depth: int


@dataclass(frozen=True, eq=False)
class Struct:
    id: int
    members: tuple["Type", ...]
    depth: int


@dataclass(frozen=True, eq=False)
class Pointer:
    storage: str
    pointee: "Type"
    depth: int


@dataclass(frozen=True, eq=False)
class FunctionType:
    result: "Type"
    params: tuple["Type", ...]
    depth: int


Type = Void | Opaque | Scalar | Vector | Matrix | SubgroupMatrix | Array | Struct | Pointer | FunctionType

BOOL = Scalar("bool")
I32 = Scalar("int", 32, True)
U32 = Scalar("int", 32, False)
F32 = Scalar("float", 32)
F16 = Scalar("float", 16)
F64 = Scalar("float", 64)


def sized(type: Type) -> bool:
    """Whether the size is known: neither a runtime array nor a struct that ends in one (it can't stand elsewhere)."""
    last = type.members[-1] if isinstance(type, Struct) and type.members else type
    return not isinstance(last, Array) or last.length is not None


def is_wide(type: Type) -> bool:
    """Whether it is, or is a vector of, numbers of 64 bits: pairs of u32 here, low word first."""
    scalar = type.elem if isinstance(type, Vector) else type
    return isinstance(scalar, Scalar) and scalar.width == 64


def is_narrow(type: Type) -> bool:
    """Whether it is, or is a vector of, integers of 8 or 16 bits: i32 or u32 here, extended by their signedness."""
    scalar = type.elem if isinstance(type, Vector) else type
    return isinstance(scalar, Scalar) and scalar.kind == "int" and scalar.width < 32


def with_sign(type: Type, signed: bool) -> Type:
    """An integer scalar or vector type with its signedness replaced; any other type as it is."""
    scalar = scalar_of(type)
    if scalar is None or scalar.kind != "int" or scalar.signed == signed:
        return type
    return with_scalar(type, Scalar("int", scalar.width, signed))


def scalar_of(type: Type) -> Scalar | None:
    """The component type of a scalar, vector or matrix; None for anything else."""
    if isinstance(type, Scalar):
        return type
    if isinstance(type, Vector):
        return type.elem
    if isinstance(type, Matrix):
        return type.column.elem
    return None


def with_scalar(type: Type, scalar: Scalar) -> Type:
    """A scalar or vector type with its component type replaced."""
    return Vector(scalar, type.count) if isinstance(type, Vector) else scalar


def child(type: Type, index: int | None) -> Type | None:
    """The type of a composite's part; ``index`` is None for one not known before run time. None if there is no such."""
    match type:
        case Vector(elem=elem, count=count):
            return elem if index is None or index < count else None
        case Matrix(column=column, count=count):
            return column if index is None or index < count else None
        case Array(elem=elem, length=length):
            return elem if index is None or length is None or index < length else None
        case Struct(members=members):
            return members[index] if index is not None and index < len(members) else None
    return None
