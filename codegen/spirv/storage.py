"""Loads and stores of elements of any dtype, by the layout its memory has; `fields` has what is packed into words.

A single element narrower than a word that several invocations may store beside each other is stored by clearing and
setting its bits atomically, which leaves its neighbours alone whatever the order.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_webgpu.codegen.spirv import wide
from tvm_webgpu.codegen.spirv.arith import binary, bitcast, convert, double_of, double_words
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.dtypes import BYTES, PACKED
from tvm_webgpu.codegen.spirv.fields import FIELDS
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Decoration, Op, Scope, Storage
from tvm_webgpu.codegen.spirv.rounding import WHOLE
from tvm_webgpu.codegen.spirv.scan import ELEMENT_BYTES, Layout, Memory, declared_elements
from tvm_webgpu.codegen.spirv.values import Val, Value, const, join, rep_type, split

STORAGE_CLASS = {"global": Storage.StorageBuffer, "shared": Storage.Workgroup, "local": Storage.Function}


@dataclass(slots=True)
class Place:
    """Declared memory; `single`: a variable of the element itself, which optimisers keep in a register."""

    memory: Memory
    layout: Layout
    variable: Id
    array_type: Id
    single: bool = False


def declare(b: Builder, memory: Memory, layout: Layout) -> Place:
    """Declares the variable of a piece of memory; argument buffers get set 0 and their binding."""
    element = rep_type(b, layout.element, layout.width)
    stride = ELEMENT_BYTES[layout.element] * layout.width
    if memory.scope == "global":
        array = b.runtime_array(element, stride)
        access = "rw" if memory.written else "r"
        lanes = f"x{layout.width}" if layout.width > 1 else ""
        struct = b.block_struct(f"{layout.element}{lanes}_{access}", [(array, 0, "data")], not memory.written)
        variable = b.global_variable(Storage.StorageBuffer, struct, memory.name)
        b.kept.add(variable)
        b.decorate(variable, Decoration.DescriptorSet, 0)
        b.decorate(variable, Decoration.Binding, memory.binding or 0)
        if not memory.written:
            b.decorate(variable, Decoration.NonWritable)  # glslang decorates the member, naga reads it here
    elif memory.scope == "local" and declared_elements(memory, layout) == 1:
        return Place(memory, layout, b.local_variable(element, memory.name), element, single=True)
    else:
        array = b.array(element, declared_elements(memory, layout))
        if memory.scope == "shared":
            variable = b.global_variable(Storage.Workgroup, array, memory.name)
        else:
            variable = b.local_variable(array, memory.name)
    return Place(memory, layout, variable, element)


def _pointer(b: Builder, place: Place, index: Val, component: Val | None = None) -> Id:
    storage = STORAGE_CLASS[place.memory.scope]
    path = [] if place.single else [index.id] if place.memory.scope != "global" else [b.constant(b.i32, 0), index.id]
    pointee = place.array_type
    if component is not None:
        path.append(component.id)
        pointee = getattr(b, place.layout.element)
    return b.op(Op.AccessChain, b.pointer(storage, pointee), place.variable, *path) if path else place.variable


def _exact_quotient(b: Builder, x: Id, divisor: int) -> Val | None:
    """x / divisor, where the form of x (constants, products and sums of them) shows that it leaves no rest."""
    value, made = b.int_value(x), b.definition(x)
    if value is not None:
        return const(b, "i32", value // divisor) if value % divisor == 0 else None
    if made is None:
        return None
    op, (left, right) = made[0], (made[1] * 2)[:2]
    factor = b.int_value(Id(right))
    if op == Op.IMul and factor is not None and factor % divisor == 0:
        return _shifted(b, Val("i32", (Id(left),)), "Mul", factor // divisor)
    if op == Op.IAdd:
        a, c = _exact_quotient(b, Id(left), divisor), _exact_quotient(b, Id(right), divisor)
        return binary(b, "Add", a, c) if a and c else None
    return None


def _split_multiple(b: Builder, index: Val, divisor: int) -> tuple[Val, Val]:
    """index = divisor * first + second, with as much in the first as the form of the index shows."""
    whole = _exact_quotient(b, index.id, divisor)
    if whole is not None:
        return whole, const(b, "i32", 0)
    made = b.definition(index.id)
    if made is None or made[0] != Op.IAdd:
        return const(b, "i32", 0), index
    (first, rest), (other, more) = (_split_multiple(b, Val("i32", (Id(x),)), divisor) for x in made[1])
    return binary(b, "Add", first, other), binary(b, "Add", rest, more)


def _plus(b: Builder, index: Val, n: int) -> Val:
    return binary(b, "Add", index, const(b, "i32", n))


def _shifted(b: Builder, index: Val, kind: str, n: int) -> Val:
    return binary(b, kind, index, const(b, "i32", n))


# packed elements -------------------------------------------------------------------------------------------------


def _bit_offset(b: Builder, index: Val, per_word: int) -> Val:
    _, rest = _split_multiple(b, index, per_word)
    within = bitcast(b, "u32", _shifted(b, rest, "BitwiseAnd", per_word - 1))
    return binary(b, "LShift", within, wide.u32(b, 5 - (per_word.bit_length() - 1)))


def _word_index(b: Builder, index: Val, per_word: int) -> Val:
    words, rest = _split_multiple(b, index, per_word)
    return binary(b, "Add", words, _shifted(b, rest, "RShift", per_word.bit_length() - 1))


def _load_packed(b: Builder, place: Place, dtype: str, index: Val, lanes: int, whole: bool) -> Value:
    per_word, get = PACKED[dtype], FIELDS[dtype][0]
    bits = 32 // per_word
    if not whole:
        return join(b, [_load_field(b, place, dtype, _plus(b, index, i)) for i in range(lanes)])
    first = _word_index(b, index, per_word)
    base = const(b, "u32", 0) if lanes >= per_word else _bit_offset(b, index, per_word)
    elems = []
    for i in range(lanes):
        if i % per_word == 0:
            word = Val("u32", (b.load(b.u32, _pointer(b, place, _plus(b, first, i // per_word))),))
        elems.append(get(b, word, binary(b, "Add", base, wide.u32(b, i % per_word * bits))))
    return join(b, elems)


def _load_field(b: Builder, place: Place, dtype: str, index: Val) -> Val:
    per_word = PACKED[dtype]
    word = Val("u32", (b.load(b.u32, _pointer(b, place, _word_index(b, index, per_word))),))
    return FIELDS[dtype][0](b, word, _bit_offset(b, index, per_word))


def _store_packed(b: Builder, place: Place, dtype: str, index: Val, elems: tuple[Val, ...], whole: bool) -> None:
    per_word, put = PACKED[dtype], FIELDS[dtype][1]
    bits = 32 // per_word
    if not whole or len(elems) % per_word:
        for i, x in enumerate(elems):
            _store_field(b, place, per_word, _plus(b, index, i), put(b, x))
        return
    first = _word_index(b, index, per_word)
    for start in range(0, len(elems), per_word):
        word = put(b, elems[start])
        for i in range(1, per_word):
            field = binary(b, "LShift", put(b, elems[start + i]), wide.u32(b, i * bits))
            word = binary(b, "BitwiseOr", word, field)
        b.store(_pointer(b, place, _plus(b, first, start // per_word)), word.id)


def _store_field(b: Builder, place: Place, per_word: int, index: Val, field: Val) -> None:
    bits = 32 // per_word
    pointer = _pointer(b, place, _word_index(b, index, per_word))
    offset = _bit_offset(b, index, per_word)
    hole = Val("u32", (b.op(Op.Not, b.u32, binary(b, "LShift", wide.u32(b, 2**bits - 1), offset).id),))
    placed = binary(b, "LShift", field, offset)
    if place.memory.scope == "local":
        old = Val("u32", (b.load(b.u32, pointer),))
        b.store(pointer, binary(b, "BitwiseOr", binary(b, "BitwiseAnd", old, hole), placed).id)
        return
    scope, relaxed = _atomic_scope(b, place)
    b.raw(Op.AtomicAnd, b.u32, pointer, scope, relaxed, hole.id)
    b.raw(Op.AtomicOr, b.u32, pointer, scope, relaxed, placed.id)


def _atomic_scope(b: Builder, place: Place) -> tuple[Id, Id]:
    """Scope and (relaxed) semantics of atomics on a piece of memory."""
    scope = Scope.Device if place.memory.scope == "global" else Scope.Workgroup
    return b.constant(b.u32, scope), b.constant(b.u32, 0)


ATOMIC_OPS = {("Add", "i32"): Op.AtomicIAdd, ("Add", "u32"): Op.AtomicIAdd, ("Min", "i32"): Op.AtomicSMin,
              ("Min", "u32"): Op.AtomicUMin, ("Max", "i32"): Op.AtomicSMax, ("Max", "u32"): Op.AtomicUMax}


def atomic(b: Builder, place: Place, kind: str, index: Val, value: Val) -> Val:
    """Updates an i32, u32 or f32 element to `kind` (Add, Min, Max) of it and the value; gives what it was before."""
    scope, relaxed = _atomic_scope(b, place)
    pointer = _pointer(b, place, index)
    if value.rep != "f32":
        op = ATOMIC_OPS[kind, value.rep]
        return Val(value.rep, (b.raw(op, getattr(b, value.rep), pointer, scope, relaxed, value.id),))
    before = b.local_variable(b.u32, "before")
    b.store(before, b.load(b.u32, pointer))
    with b.while_loop():
        expected = Val("u32", (b.load(b.u32, before),))
        wanted = bitcast(b, "u32", binary(b, kind, bitcast(b, "f32", expected), value))
        found = Val("u32", (b.raw(Op.AtomicCompareExchange, b.u32, pointer, scope, relaxed, relaxed, wanted.id,
                                  expected.id),))
        b.store(before, found.id)
        b.break_unless(binary(b, "NE", found, expected).id)
    return bitcast(b, "f32", Val("u32", (b.load(b.u32, before),)))


# other layouts ---------------------------------------------------------------------------------------------------


def _to_element(b: Builder, place: Place, x: Val) -> Val:
    """A computed value as the element that native memory holds."""
    return convert(b, x, place.layout.element, "") if x.rep != place.layout.element else x


def _from_element(b: Builder, x: Val, dtype: str, rep: str) -> Val:
    return convert(b, x, "bool", "") if dtype == "bool" else bitcast(b, rep, x)


def element_pointer(b: Builder, place: Place, index: Val) -> Id:
    """Pointer to a scalar element of native memory."""
    width = place.layout.width
    if width == 1:
        return _pointer(b, place, index)
    _, rest = _split_multiple(b, index, width)
    return _pointer(b, place, _word_index(b, index, width), _shifted(b, rest, "BitwiseAnd", width - 1))


def array_place(b: Builder, place: Place, index: Val, stride: Val) -> tuple[Id, Val]:
    """Pointer to an element of native memory's array, scalar or vector, and a stride in such elements.

    Both are given in scalars; where the array has vectors, they are multiples of those.
    """
    width = place.layout.width
    if width > 1:
        index, stride = (_word_index(b, number, width) for number in (index, stride))
    return _pointer(b, place, index), stride


def _load_native(b: Builder, place: Place, index: Val, lanes: int, whole: bool) -> Value:
    element, width = place.layout.element, place.layout.width
    if whole and width > 1 and lanes % width == 0:
        first = _word_index(b, index, width)
        parts = [Val(element, (b.load(place.array_type, _pointer(b, place, _plus(b, first, i))),), width)
                 for i in range(lanes // width)]
        return parts[0] if len(parts) == 1 else join(b, [e for p in parts for e in split(b, p)])
    scalar = getattr(b, element)
    return join(b, [Val(element, (b.load(scalar, element_pointer(b, place, _plus(b, index, i))),))
                    for i in range(lanes)])


def _store_native(b: Builder, place: Place, index: Val, value: Value, lanes: int, whole: bool) -> None:
    width = place.layout.width
    if whole and width > 1 and lanes % width == 0:
        first, elems = _word_index(b, index, width), split(b, value)
        for i in range(lanes // width):
            part = value if lanes == width else join(b, elems[i * width:(i + 1) * width])
            b.store(_pointer(b, place, _plus(b, first, i)), part.id)  # type: ignore[union-attr]
        return
    for i, x in enumerate(split(b, value)):
        b.store(element_pointer(b, place, _plus(b, index, i)), x.id)


def _load_word_view(b: Builder, place: Place, dtype: str, rep: str, index: Val) -> Val:
    def word(n: int) -> Id:
        at = _shifted(b, index, "Mul", BYTES[dtype] // 4)
        return b.load(b.u32, _pointer(b, place, _plus(b, at, n)))

    if rep == "f64":
        return double_of(b, Val("u32", (word(0),)), Val("u32", (word(1),)))
    return Val(rep, (word(0), word(1))) if BYTES[dtype] == 8 else bitcast(b, rep, Val("u32", (word(0),)))


def rounds(place: Place) -> bool:
    """Whether a store itself rounds to the dtype: what only this invocation or workgroup sees may be held in more."""
    return place.layout.packing != "native" or place.layout.element == "f16"


def load(b: Builder, place: Place, dtype: str, rep: str, index: Val, lanes: int, whole: bool) -> Value:
    """`lanes` consecutive elements from `index`, an i32 in elements of `dtype`; `whole` says it is a multiple of lanes.

    `rep` is what the dtype is computed as.
    """
    packing = place.layout.packing
    if packing == "native":
        raw = _load_native(b, place, index, lanes, whole)
        if raw.rep == rep and dtype != "bool":
            return raw
        return join(b, [_from_element(b, x, dtype, rep) for x in split(b, raw)])
    if packing == "pair":
        vec2 = b.vector(b.u32, 2)
        elems = []
        for i in range(lanes):
            both = b.load(vec2, _pointer(b, place, _plus(b, index, i)))
            elems.append(Val(rep, tuple(b.op(Op.CompositeExtract, b.u32, both, k) for k in (0, 1))))
        return join(b, elems)
    if dtype in PACKED:
        value = _load_packed(b, place, dtype, index, lanes, whole)
        return value if value.rep == rep else join(b, [convert(b, x, rep, dtype) for x in split(b, value)])
    return join(b, [_load_word_view(b, place, dtype, rep, _plus(b, index, i)) for i in range(lanes)])


def store(b: Builder, place: Place, dtype: str, index: Val, value: Value, whole: bool) -> None:
    """Stores the lanes of `value` to consecutive elements from `index`; 64-bit values come as pairs."""
    packing, lanes = place.layout.packing, value.lanes
    elems = split(b, value)
    if packing == "native":
        if value.rep != place.layout.element:
            value = join(b, [_to_element(b, place, x) for x in elems])
        _store_native(b, place, index, value, lanes, whole)
    elif packing == "pair":
        for i, x in enumerate(elems):
            both = b.op(Op.CompositeConstruct, b.vector(b.u32, 2), *x.ids)
            b.store(_pointer(b, place, _plus(b, index, i)), both)
    elif dtype in PACKED:
        if dtype in WHOLE:
            elems = tuple(convert(b, x, "f32", "float32") for x in elems)
        _store_packed(b, place, dtype, index, elems, whole)
    else:
        size = BYTES[dtype] // 4
        for i, x in enumerate(elems):
            at = _shifted(b, _plus(b, index, i), "Mul", size)
            parts = double_words(b, x) if x.rep == "f64" else (x,) if size == 2 else (bitcast(b, "u32", x),)
            words = [i for part in parts for i in part.ids]
            for k, w in enumerate(words):
                b.store(_pointer(b, place, _plus(b, at, k)), w)
