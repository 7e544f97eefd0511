"""Buffers that are declared as words: places by byte offset, and how values are read from and written to them.

Used where WGSL can't have a buffer's layout: integers of 8 or 16 bits, strides and offsets of other rules, matrices in
rows, uniform arrays of small elements, and two views of one binding. A storage buffer becomes `array<u32>`, and of
atomic words where a store changes a part of one: it clears and sets its own bits, so that stores of neighbours by other
invocations hold. A uniform buffer becomes an array of vec4u, since its arrays have a stride of 16.
"""

from __future__ import annotations

from tvm_webgpu.codegen.wgsl import expr, types
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.place import Place, Raw
from tvm_webgpu.codegen.wgsl.wide_instructions import WideInstructions


class RawMemory(WideInstructions):
    """Reads and writes raw places."""

    def raw_load(self, place: Place, inst: Instruction) -> Expr:
        """A scalar or vector."""
        type, raw = place.type, place.raw
        scalar = types.scalar_of(type)
        assert raw is not None
        if scalar is None or scalar.kind == "bool":
            raise unsupported(inst, f"a value of type {describe(type)} in a buffer")
        self.d.type(type)
        size = scalar.width // 8
        if not isinstance(type, types.Vector):
            return self._load_scalar(place, raw, scalar)
        lanes = _lanes(raw, size, type.count)
        if lanes and raw.uniform and size == 4:
            made = Expr(f"{self._vec4(place, raw)}.{lanes}", reads=place.reads)
            name = self.d.type(type)
            return made if scalar == types.U32 else expr.call(f"bitcast<{name}>", made)
        parts = [self._load_scalar(place, raw.moved(i * (raw.spread or size)), scalar) for i in range(type.count)]
        return self.construct(type, parts)

    def _load_scalar(self, place: Place, raw: Raw, scalar: types.Scalar) -> Expr:
        if scalar.width == 64:
            return expr.call("vec2u", *(self._word(place, raw.moved(n)) for n in (0, 4)))
        if scalar.width == 32:
            word = self._word(place, raw)
            if scalar == types.U32:
                return word
            return expr.call("bitcast<f32>" if scalar.kind == "float" else "i32", word)
        if raw.aligned(4):
            return self.piece(self._word(place, raw), scalar, f"{raw.constant % 4 * 8}u")
        at = self.single(raw.bytes())
        return self.piece(self._word_at(place, at), scalar, f"({at.at(expr.UNARY)} & 3u) * 8u")

    def _word(self, place: Place, raw: Raw) -> Expr:
        """The word that a place lies in."""
        if not raw.uniform:
            return self._read(place, f"{place.text}[{raw.units(4).text}]")
        if raw.aligned(16):
            lane = "xyzw"[raw.constant % 16 // 4]
            return Expr(f"{self._vec4(place, raw)}.{lane}", reads=place.reads | self.t.variables.tokens(place.root))
        return self._word_at(place, self.single(raw.bytes()))

    def _word_at(self, place: Place, at: Expr) -> Expr:
        byte = at.at(expr.UNARY)
        if place.raw is not None and place.raw.uniform:
            return self._read(place, f"{place.text}[{byte} >> 4u][({byte} >> 2u) & 3u]")
        return self._read(place, f"{place.text}[{byte} >> 2u]")

    def _vec4(self, place: Place, raw: Raw) -> str:
        return f"{place.text}[{raw.units(16).text}]"

    def _read(self, place: Place, text: str) -> Expr:
        if place.tree is True:
            return self.keep(Expr(f"atomicLoad(&{text})"))
        return Expr(text, reads=place.reads | self.t.variables.tokens(place.root))

    def raw_store(self, place: Place, value: Expr, inst: Instruction) -> None:
        """Stores a scalar or vector; what waits and reads the buffer has been flushed."""
        type, raw = place.type, place.raw
        scalar = types.scalar_of(type)
        assert raw is not None
        if scalar is None or scalar.kind == "bool":
            raise unsupported(inst, f"a value of type {describe(type)} in a buffer")
        size = scalar.width // 8
        value = self.single(value)
        count = type.count if isinstance(type, types.Vector) else 1
        packed = size * count % 4 == 0 and raw.aligned(4) and raw.constant % 4 == 0 and raw.spread in (0, size)
        if size >= 4 or packed:
            for i, word in enumerate(self.to_words(value, type, inst)):
                step = i * 4 if packed else i // (size // 4) * (raw.spread or size) + i % (size // 4) * 4
                self._write_word(place, f"{place.text}[{raw.moved(step).units(4).text}]", word)
            return
        for i in range(count):
            part = self.part(value, type, i) if isinstance(type, types.Vector) else value
            self._store_piece(place, raw.moved(i * (raw.spread or size)), part, scalar, inst)

    def _write_word(self, place: Place, target: str, word: Expr) -> None:
        self.emit(f"atomicStore(&{target}, {word.text});" if place.tree is True else f"{target} = {word.text};")

    def _store_piece(self, place: Place, raw: Raw, value: Expr, scalar: types.Scalar, inst: Instruction) -> None:
        """Replaces a part of a word, by two atomic operations on its own bits alone."""
        (bits,) = self.to_words(value, scalar, inst)
        mask = (1 << scalar.width) - 1
        if raw.aligned(4):
            shift = raw.constant % 4 * 8
            target = f"{place.text}[{raw.units(4).text}]"
            clear = f"{~(mask << shift) & 0xFFFFFFFF}u"
            bits = bits if shift == 0 else expr.binary("<<", bits, Expr(f"{shift}u"))
        else:
            at = self.single(raw.bytes())
            by = self.keep(Expr(f"({at.at(expr.UNARY)} & 3u) * 8u"))
            target = f"{place.text}[{at.at(expr.UNARY)} >> 2u]"
            clear = f"~({mask}u << {by.text})"
            bits = expr.binary("<<", bits, by)
        self.emit(f"atomicAnd(&{target}, {clear});")
        self.emit(f"atomicOr(&{target}, {bits.text});")

    def raw_word(self, place: Place, inst: Instruction) -> str:
        """The text of the atomic word that an atomic operation names."""
        raw = place.raw
        assert raw is not None
        if raw.uniform or place.type not in (types.I32, types.U32):
            raise unsupported(inst, f"an atomic operation on {describe(place.type)}")
        return f"{place.text}[{raw.units(4).text}]"

    def raw_length(self, place: Place, member: int, inst: Instruction) -> Expr:
        """The number of elements of the runtime array that is a block's member."""
        part = self.step(place, member, Expr(str(member)), inst)
        raw = part.raw
        assert raw is not None
        array = part.type if isinstance(part.type, types.Array) else None
        if array is None or array.length is not None or not array.stride or raw.uniform or raw.terms:
            raise invalid(inst, "the member is no runtime array")
        stride = array.stride
        if stride % 4 == 0 and raw.constant % 4 == 0:
            total, start, stride = f"arrayLength(&{place.text})", raw.constant // 4, stride // 4
        else:
            total, start = f"arrayLength(&{place.text}) * 4u", raw.constant
        made = Expr(total, expr.MULTIPLY if "*" in total else expr.PRIMARY)
        made = expr.binary("-", made, Expr(f"{start}u")) if start else made
        return made if stride == 1 else expr.binary("/", made, Expr(f"{stride}u"))


def _lanes(raw: Raw, size: int, count: int) -> str:
    """The lanes of one vec4 that a vector lies in, or nothing where it lies in several."""
    at = raw.constant % 16 // 4
    if not raw.aligned(16) or raw.constant % 4 or raw.spread not in (0, size) or at + count > 4:
        return ""
    return "xyzw"[at : at + count]
