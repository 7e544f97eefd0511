"""The emitter's values: ids together with what they stand for.

A `Val` is one SPIR-V value (a scalar, or a vector of up to 4) or a 64-bit integer as two u32 (`rep` "i64" or "u64",
low word first). Every other vector is `Lanes`: its scalars one by one. An int64 whose range is known to fit is a Val of
rep "i32" (uint64: "u32").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Op

WIDE = ("i64", "u64")
UNVECTORED = (*WIDE, "f64")  # held lane by lane: WGSL has no vectors of them
MAX_VECTOR = 4


@dataclass(frozen=True, slots=True)
class Val:
    """A value held in one id, or in two when `rep` is i64 or u64."""

    rep: str
    ids: tuple[Id, ...]
    lanes: int = 1

    @property
    def id(self) -> Id:
        (only,) = self.ids
        return only


@dataclass(frozen=True, slots=True)
class Lanes:
    """A vector held lane by lane."""

    elems: tuple[Val, ...]

    @property
    def rep(self) -> str:
        return self.elems[0].rep

    @property
    def lanes(self) -> int:
        return len(self.elems)


Value = Val | Lanes


def rep_type(b: Builder, rep: str, lanes: int = 1) -> Id:
    """The SPIR-V type of a one-id value."""
    return b.vector(getattr(b, rep), lanes)


def split(b: Builder, value: Value) -> tuple[Val, ...]:
    """The lanes of a value, each a scalar."""
    if isinstance(value, Lanes):
        return value.elems
    if value.lanes == 1:
        return (value,)
    scalar = rep_type(b, value.rep)
    return tuple(Val(value.rep, (b.op(Op.CompositeExtract, scalar, value.id, i),)) for i in range(value.lanes))


def join(b: Builder, elems: Sequence[Val]) -> Value:
    """A vector of scalars, in one id where SPIR-V has such a vector."""
    reps = {e.rep for e in elems}
    if len(elems) == 1:
        return elems[0]
    if len(elems) > MAX_VECTOR or len(reps) > 1 or reps & set(UNVECTORED):
        return Lanes(tuple(elems))
    rep = elems[0].rep
    known = {b.constant_value(e.id) for e in elems}
    if len({e.id for e in elems}) == 1 and None not in known:
        return const(b, rep, known.pop(), len(elems))  # type: ignore[arg-type]
    vector = b.op(Op.CompositeConstruct, rep_type(b, rep, len(elems)), *[e.id for e in elems])
    return Val(rep, (vector,), len(elems))


def lanewise(b: Builder, f: Callable[..., Val], *values: Value, rep: str = "") -> Value:
    """f on whole vectors where every operand is one and what it gives, `rep`, may be one; else on each lane."""
    apart = rep in UNVECTORED or any(isinstance(v, Lanes) or (v.rep in WIDE and v.lanes > 1) for v in values)
    if not apart:
        return f(*values)
    return join(b, [f(*lane) for lane in zip(*(split(b, v) for v in values))])


def const(b: Builder, rep: str, value: int | float, lanes: int = 1) -> Val:
    """A constant; 64-bit ones are scalars."""
    if rep in WIDE:
        return Val(rep, (b.constant(b.u32, int(value)), b.constant(b.u32, int(value) >> 32)))
    return Val(rep, (b.splat(getattr(b, rep), lanes, value),), lanes)
