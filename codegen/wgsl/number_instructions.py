"""How instructions on numbers that no row of the tables covers are written: bits, conversions, wide products."""

from __future__ import annotations

from tvm_webgpu.codegen.wgsl import expr, types
from tvm_webgpu.codegen.wgsl.composite_instructions import CompositeInstructions
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.operators import GLSL_ROWS
from tvm_webgpu.codegen.wgsl.types import Type


class NumberInstructions(CompositeInstructions):
    """Writes the instructions that compute numbers."""

    def shift(self, inst: Instruction, operator: str, signed: bool | None) -> None:
        value, type = self.typed(inst.args[0], inst)
        result = self.result_type(inst)
        computed = type if signed is None else types.with_sign(type, signed)
        amount_type = self.m.type_of(inst.args[1], inst)
        constant = self.t.constants.integer(inst.args[1])
        scalar = types.scalar_of(type)
        if scalar is None or scalar.kind != "int":
            raise invalid(inst, "the operand is no integer")
        if constant is not None:
            amount = expr.integer(constant & (scalar.width - 1), types.U32)
        else:
            amount = self.vary(self.unsigned(self.operand(inst.args[1], inst), amount_type))
        value = self.cast(value, type, computed)
        if value.const:
            value = self.keep(value)
        made = expr.binary(operator, value, amount)
        if operator == "<<":
            made = self.wrap(made, computed)
        self.define(inst, self.cast(made, computed, result))

    def op_ShiftLeftLogical(self, inst: Instruction) -> None:
        self.shift(inst, "<<", None)

    def op_ShiftRightLogical(self, inst: Instruction) -> None:
        self.shift(inst, ">>", False)

    def op_ShiftRightArithmetic(self, inst: Instruction) -> None:
        self.shift(inst, ">>", True)

    def op_BitFieldInsert(self, inst: Instruction) -> None:
        result = self.result_type(inst)
        args = [self.cast(*self.typed(id, inst), result) for id in inst.args[:2]]
        args += self._bits(inst.args[2:], inst)
        self.define(inst, self.wrap(expr.call("insertBits", *self.runtime("", args)), result))

    def _bits(self, ids: tuple[int, ...], inst: Instruction) -> list[Expr]:
        """Offset and count; constants that reach past the word are an error in WGSL, undefined in SPIR-V."""
        values = [self.unsigned(*self.typed(id, inst)) for id in ids]
        if sum(self.t.constants.integer(id) or 0 for id in ids) <= 32:
            return values
        return [self.keep(value) if value.const else value for value in values]

    def _extract(self, inst: Instruction, signed: bool) -> None:
        value, type = self.typed(inst.args[0], inst)
        computed = types.with_sign(type, signed)
        args = [self.cast(value, type, computed), *self._bits(inst.args[1:], inst)]
        made = expr.call("extractBits", *self.runtime("", args))
        self.define(inst, self.cast(made, computed, self.result_type(inst)))

    def op_BitFieldSExtract(self, inst: Instruction) -> None:
        self._extract(inst, True)

    def op_BitFieldUExtract(self, inst: Instruction) -> None:
        self._extract(inst, False)

    def _conversion(self, inst: Instruction, letter: str) -> None:
        value, type = self.typed(inst.args[0], inst)
        result = self.result_type(inst)
        if letter in "su":
            value = self.cast(value, type, types.with_sign(type, letter == "s"))
        target = result
        if inst.op in ("ConvertFToS", "ConvertFToU"):
            target = types.with_sign(result, inst.op == "ConvertFToS")
        if value.const:
            value = self.keep(value)
        made = self.wrap(expr.call(self.d.type(target), value), target)
        self.define(inst, self.cast(made, target, result))

    def _resize(self, inst: Instruction, signed: bool) -> None:
        value, type = self.typed(inst.args[0], inst)
        self.define(inst, self.resize(self.cast(value, type, types.with_sign(type, signed)), type, signed, inst))

    def resize(self, value: Expr, type: Type, signed: bool, inst: Instruction) -> Expr:
        """An integer of at most 32 bits, already extended as ``signed`` says, as the result's type."""
        result = self.result_type(inst)
        source, target = types.scalar_of(type), types.scalar_of(result)
        if source is None or target is None or target.kind != "int" or source.kind != "int":
            raise invalid(inst, "the operand or the result is no integer")
        if target.signed != signed:
            value = expr.call(self.d.type(result), value)
        return self.wrap(value, result) if target.width < source.width or target.signed != signed else value

    def op_UConvert(self, inst: Instruction) -> None:
        self._resize(inst, False)

    def op_SConvert(self, inst: Instruction) -> None:
        self._resize(inst, True)

    def op_ConvertFToU(self, inst: Instruction) -> None:
        self._conversion(inst, ".")

    def op_ConvertFToS(self, inst: Instruction) -> None:
        self._conversion(inst, ".")

    def op_ConvertSToF(self, inst: Instruction) -> None:
        self._conversion(inst, "s")

    def op_ConvertUToF(self, inst: Instruction) -> None:
        self._conversion(inst, "u")

    def op_FConvert(self, inst: Instruction) -> None:
        self._conversion(inst, ".")

    def op_QuantizeToF16(self, inst: Instruction) -> None:
        value = self.operand(inst.args[0], inst)
        self.define(inst, expr.call("quantizeToF16", *self.runtime("", [value])))

    def op_Bitcast(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[0], inst)
        result = self.result_type(inst)
        source, target = types.scalar_of(type), types.scalar_of(result)
        if source is None or target is None:
            raise unsupported(inst, f"a bit cast between {describe(type)} and {describe(result)}")
        if (source.kind == target.kind == "int" or source.width == 64) and source.width == target.width:
            self.define(inst, self.cast(value, type, result))
            return
        if any(types.is_wide(t) or types.is_narrow(t) for t in (type, result)):
            self.define(inst, self.from_words(self.to_words(self.single(value), type, inst), result, inst))
            return
        (value,) = self.runtime("", [value])
        if types.F16 in (source, target) and source != target:
            self.define(inst, self._halves(value, type, result, inst))
            return
        self.define(inst, expr.call(f"bitcast<{self.d.type(result)}>", value))

    def to_words(self, value: Expr, type: Type, inst: Instruction) -> list[Expr]:
        """The bits of a scalar or vector as u32 numbers, the lowest first; the last one's high bits are 0."""
        scalar = types.scalar_of(type)
        if scalar is None or scalar.kind == "bool" or scalar.width not in (8, 16, 32, 64):
            raise unsupported(inst, f"the bits of {describe(type)}")
        parts = [self.part(value, type, i) for i in range(type.count)] if isinstance(type, types.Vector) else [value]
        if scalar.width == 64:
            return [expr.member(part, word) for part in parts for word in "xy"]
        if scalar == types.F16:
            parts.append(Expr("0h", const=True))
            pairs = [expr.call("vec2f", expr.call("vec2h", *parts[i : i + 2])) for i in range(0, len(parts) - 1, 2)]
            return [expr.call("pack2x16float", pair) for pair in pairs]
        if scalar.width == 32:
            name = "bitcast<u32>" if scalar.kind == "float" else "u32"
            return [part if scalar == types.U32 else expr.call(name, part) for part in parts]
        unsigned = types.with_sign(scalar, False)
        parts = [self.cast(part, scalar, unsigned) for part in parts]
        each = 32 // scalar.width
        words = []
        for at in range(0, len(parts), each):
            word = parts[at]
            for i, part in enumerate(parts[at + 1 : at + each], 1):
                word = expr.binary("|", word, expr.binary("<<", part, Expr(f"{i * scalar.width}u")))
            words.append(word)
        return words

    def from_words(self, words: list[Expr], type: Type, inst: Instruction) -> Expr:
        """A scalar or vector from its bits as u32 numbers."""
        scalar = types.scalar_of(type)
        count = type.count if isinstance(type, types.Vector) else 1
        known = scalar is not None and scalar.kind != "bool"
        if scalar is None or not known or -(-count * scalar.width // 32) > len(words):
            raise unsupported(inst, f"{describe(type)} from bits")
        if scalar.width == 64:
            parts = [expr.call("vec2u", *words[2 * i : 2 * i + 2]) for i in range(count)]
        elif scalar.width == 32:
            name = "bitcast<f32>" if scalar.kind == "float" else "i32"
            parts = [word if scalar == types.U32 else expr.call(name, word) for word in words[:count]]
        else:
            words = [self.single(word) for word in words]
            starts = range(0, count * scalar.width, scalar.width)
            parts = [self.piece(words[at // 32], scalar, f"{at % 32}u") for at in starts]
        return self.construct(type, parts) if isinstance(type, types.Vector) else parts[0]

    def piece(self, word: Expr, scalar: types.Scalar, shift: str) -> Expr:
        """The number of 8 or 16 bits that begins at a bit of a word."""
        if scalar == types.F16:
            self.d.type(scalar)
            word = word if shift == "0u" else expr.binary(">>", word, Expr(shift))
            return expr.call("f16", expr.member(expr.call("unpack2x16float", word), "x"))
        word = expr.call("i32", word) if scalar.signed else word
        return expr.call("extractBits", word, Expr(shift), Expr(f"{scalar.width}u"))

    def _halves(self, value: Expr, type: Type, result: Type, inst: Instruction) -> Expr:
        """A bit cast between pairs of f16 and words, by (un)packing: naga has no ``bitcast<vec2h>``."""
        pair, word = types.Vector(types.F16, 2), types.with_scalar
        if types.scalar_of(result) == types.F16:
            words = self.cast(value, type, word(type, types.U32)) if types.scalar_of(type) == types.I32 else value
            if types.scalar_of(type) == types.F32:
                words = expr.call(f"bitcast<{self.d.type(word(type, types.U32))}>", value)
            if type == result or isinstance(type, types.Scalar):
                return expr.call(self.d.type(pair), expr.call("unpack2x16float", words))
            words = self.keep(words)
            parts = [expr.call(self.d.type(pair), expr.call("unpack2x16float", expr.member(words, c))) for c in "xy"]
            return expr.call(self.d.type(result), *parts)
        if isinstance(type, types.Vector) and type.count == 2:
            packed = expr.call("pack2x16float", expr.call("vec2f", value))
        elif isinstance(type, types.Vector) and type.count == 4:
            value = self.keep(value)
            parts = [expr.call("pack2x16float", expr.call("vec2f", expr.member(value, c))) for c in ("xy", "zw")]
            packed = expr.call("vec2u", *parts)
        else:
            raise unsupported(inst, f"a bit cast between {describe(type)} and {describe(result)}")
        unsigned = types.with_scalar(result, types.U32)
        if types.scalar_of(result) == types.F32:
            return expr.call(f"bitcast<{self.d.type(result)}>", packed)
        return self.cast(packed, unsigned, result)

    def op_IsNan(self, inst: Instruction) -> None:
        self._bit_test(inst, ">")

    def op_IsInf(self, inst: Instruction) -> None:
        self._bit_test(inst, "==")

    def _bit_test(self, inst: Instruction, operator: str) -> None:
        """By the bits, since WGSL lets an implementation assume that there are no NaNs and infinities."""
        value, type = self.typed(inst.args[0], inst)
        wide = types.with_scalar(type, types.F32)
        if types.scalar_of(type) == types.F16:
            value = expr.call(self.d.type(wide), value)
        bits = self.d.type(types.with_scalar(type, types.U32))
        vector = isinstance(type, types.Vector)
        mask, infinity = (f"{bits}({n})" if vector else n for n in ("0x7fffffffu", "0x7f800000u"))
        made = expr.fill(f"(bitcast<{bits}>($0) & {mask})", tuple(self.runtime("", [value])))
        self.define(inst, expr.binary(operator, made, Expr(infinity)))

    def op_SMod(self, inst: Instruction) -> None:
        """The remainder with the sign of the divisor."""
        result = self.result_type(inst)
        signed = types.with_sign(result, True)
        a, b = (self.single(self.cast(*self.typed(id, inst), signed)) for id in inst.args)
        b = b if not b.const else self.keep(b)
        rest = self.keep(expr.binary("%", a, b))
        zero = self.d.value(signed, None).text
        fix = f"({rest.text} != {zero}) & (({rest.text} ^ {b.text}) < {zero})"
        made = f"select({rest.text}, {rest.text} + {b.text}, {fix})"
        self.define(inst, self.cast(Expr(made), signed, result))

    def op_OuterProduct(self, inst: Instruction) -> None:
        a, _ = self.typed(inst.args[0], inst)
        b, type = self.typed(inst.args[1], inst)
        if not isinstance(type, types.Vector):
            raise invalid(inst, "the operand is not a vector")
        a, b = self.single(a), self.single(b)
        columns = [expr.binary("*", a, self.part(b, type, i)) for i in range(type.count)]
        self.define(inst, expr.call(self.d.type(self.result_type(inst)), *columns))

    def _pair(self, inst: Instruction, type: Type, low: Expr, high: Expr) -> None:
        """A struct result of two members, numbers of type ``type`` made one of the members' signedness."""
        result = self.result_type(inst)
        members = [types.child(result, i) for i in range(2)]
        parts = [self.cast(part, type, member or type) for part, member in zip((low, high), members)]
        self.define(inst, expr.call(self.d.type(result), *parts))

    def _members(self, inst: Instruction) -> tuple[Type, Expr, Expr]:
        """(operand type as unsigned, first, second) of an instruction on two unsigned numbers."""
        a, type = self.typed(inst.args[0], inst)
        b, second = self.typed(inst.args[1], inst)
        unsigned = types.with_scalar(type, types.U32)
        if types.is_narrow(type):
            raise unsupported(inst, f"this operation on {describe(type)}")
        return unsigned, self.keep(self.cast(a, type, unsigned)), self.keep(self.cast(b, second, unsigned))

    def op_IAddCarry(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        total = self.keep(expr.binary("+", a, b))
        self._pair(inst, type, total, Expr(f"{self.d.type(type)}({total.text} < {a.text})"))

    def op_ISubBorrow(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        self._pair(inst, type, expr.binary("-", a, b), Expr(f"{self.d.type(type)}({a.text} < {b.text})"))

    def op_UMulExtended(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        self._pair(inst, type, expr.binary("*", a, b), self._high(type, a, b))

    def _high(self, type: Type, a: Expr, b: Expr) -> Expr:
        """The high word of a product, from 16-bit halves."""
        t = self.d.type(type)
        half, mask = (f"{t}({n})" if isinstance(type, types.Vector) else n for n in ("16u", "0xffffu"))
        low_a, low_b = (self.keep(Expr(f"{x.text} & {mask}")).text for x in (a, b))
        high_a, high_b = (self.keep(Expr(f"{x.text} >> {half}")).text for x in (a, b))
        first = self.keep(Expr(f"{high_a} * {low_b} + (({low_a} * {low_b}) >> {half})")).text
        second = self.keep(Expr(f"{low_a} * {high_b} + ({first} & {mask})")).text
        return Expr(f"{high_a} * {high_b} + ({first} >> {half}) + ({second} >> {half})", expr.ADD)

    def op_SMulExtended(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        high = self.keep(self._high(type, a, b)).text
        zero = self.d.value(type, None).text
        signed = types.with_scalar(type, types.I32)
        test = [f"({self.cast(x, type, signed).text} < {self.d.value(signed, None).text})" for x in (a, b)]
        fixed = Expr(
            f"{high} - select({zero}, {b.text}, {test[0]}) - select({zero}, {a.text}, {test[1]})", expr.ADD
        )
        self._pair(inst, type, expr.binary("*", a, b), fixed)

    # GLSL.std.450 instructions without a row

    def split(self, inst: Instruction, id: int, name: str) -> tuple[Type, Expr, Expr]:
        """(the second part's type, first part, second part) of ``modf`` or ``frexp``."""
        type = self.m.type_of(id, inst)
        made = self.keep(expr.call(name, *self.runtime("", [self.operand(id, inst)])))
        if name == "modf":
            return type, expr.member(made, "fract"), expr.member(made, "whole")
        return types.with_scalar(type, types.I32), expr.member(made, "fract"), expr.member(made, "exp")

    def glsl_ModfStruct(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        self._pair(inst, *self.split(inst, ids[0], "modf"))

    def glsl_FrexpStruct(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        self._pair(inst, *self.split(inst, ids[0], "frexp"))

    def glsl_MatrixInverse(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        value, type = self.typed(ids[0], inst)
        if not isinstance(type, types.Matrix) or type.count != type.column.count or type != self.result_type(inst):
            raise invalid(inst, "the operand is no square matrix, or the result another")
        self.d.type(type)
        self.define(inst, expr.call(self.t.inverse(type), value))

    def _integer_dot(self, inst: Instruction, signs: tuple[bool, bool]) -> None:
        """A product of vectors of integers, or of four bytes packed in a word each."""
        (a, a_type), (b, b_type) = (self.typed(id, inst) for id in inst.ids)
        result = self.result_type(inst)
        scalar = types.scalar_of(a_type)
        if _components(a_type) != _components(b_type) or scalar is None or not isinstance(result, types.Scalar):
            raise invalid(inst, "the operands' types differ")
        if any(t is None or t.kind != "int" or t.width == 64 for t in (scalar, types.scalar_of(b_type), result)):
            raise unsupported(inst, f"a product of {describe(a_type)} and {describe(b_type)}")
        if isinstance(a_type, types.Vector):
            signed = any(signs)
            made, computed = [], types.Scalar("int", 32, signed)
            for value, type, sign in ((a, a_type, signs[0]), (b, b_type, signs[1])):
                value = self.cast(value, type, types.with_sign(type, sign))
                wide = self.d.type(types.with_scalar(type, computed))
                made.append(expr.call(wide, value) if sign != signed else value)
            total = expr.call("dot", *made)
        elif signs[0] == signs[1] and scalar.width == 32 and _same_width(a_type, b_type):
            name, computed = ("dot4I8Packed", types.I32) if signs[0] else ("dot4U8Packed", types.U32)
            total = expr.call(name, self.unsigned(a, a_type), self.unsigned(b, b_type))
        else:
            raise unsupported(inst, "a product of bytes of both signednesses")
        if result.signed != computed.signed:
            total = expr.call(self.d.type(result), total)
        self.define(inst, self.wrap(total, result))

    def op_SDot(self, inst: Instruction) -> None:
        self._integer_dot(inst, (True, True))

    def op_UDot(self, inst: Instruction) -> None:
        self._integer_dot(inst, (False, False))

    def op_SUDot(self, inst: Instruction) -> None:
        self._integer_dot(inst, (True, False))

    def glsl_Refract(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        type = self.result_type(inst)
        if isinstance(type, types.Vector):
            self.define(inst, self.apply(inst, GLSL_ROWS["Refract"], ids))
            return
        i, n, eta = (self.keep(self.operand(id, inst)).text for id in ids)
        one, zero = (self.d.value(type, None).text.replace("0", digit) for digit in "10")
        k = self.keep(Expr(f"{one} - {eta} * {eta} * ({one} - {n} * {i} * {n} * {i})")).text
        self.define(inst, Expr(f"select({zero}, {eta} * {i} - ({eta} * {n} * {i} + sqrt({k})) * {n}, {k} >= {zero})"))


def _same_width(a: Type, b: Type) -> bool:
    first, second = types.scalar_of(a), types.scalar_of(b)
    return first is not None and second is not None and first.width == second.width


def _components(type: Type) -> int:
    return type.count if isinstance(type, types.Vector) else 1
