"""How instructions that compute values are written: by a row of the operator tables, or by a method of their name."""

from __future__ import annotations

import re

from tvm_webgpu.codegen.wgsl import expr, grammar, types
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.operators import GLSL_ROWS, ROWS, SCALAR_ROWS, Row
from tvm_webgpu.codegen.wgsl.state import State
from tvm_webgpu.codegen.wgsl.types import Type
from tvm_webgpu.errors import UnsupportedError

MAX_SPREAD = 256  # elements of an array that is rebuilt element by element

_LITERAL = re.compile(r"(?:i32\()?(-?\d+)[iu)]")
_COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}


class ValueInstructions(State):
    """Writes the instructions that compute values."""

    def instruction(self, inst: Instruction) -> None:
        """Writes one instruction."""
        try:
            self._instruction(inst)
        except UnsupportedError as error:
            if str(error).startswith("Op"):
                raise
            raise unsupported(inst, str(error)) from error

    def _instruction(self, inst: Instruction) -> None:
        row = ROWS.get(inst.op)
        if row is not None:
            self.define(inst, self.apply(inst, row, inst.ids))
            return
        if self.subgroup(inst):
            return
        method = getattr(self, f"op_{inst.op}", None)
        if method is None:
            raise unsupported(inst, "this instruction has no form in WGSL here")
        method(inst)

    def subgroup(self, inst: Instruction) -> bool:
        """Writes an instruction of a subgroup; False for any other."""
        raise NotImplementedError

    # Rows

    def result_type(self, inst: Instruction) -> Type:
        return self.m.type_at(inst.type, inst)

    def typed(self, id: int, inst: Instruction) -> tuple[Expr, Type]:
        type = self.m.type_of(id, inst)
        return self.operand(id, inst), type

    def cast(self, value: Expr, source: Type, target: Type) -> Expr:
        """Integers of the other signedness, bits kept; any other type as it is."""
        if source == target or types.scalar_of(source) == types.scalar_of(target):
            return value
        scalar, wanted = types.scalar_of(source), types.scalar_of(target)
        if scalar is None or wanted is None or scalar.kind != "int" or wanted.kind != "int":
            return value
        literal = _LITERAL.fullmatch(value.text)
        if literal is not None:
            return expr.integer(int(literal[1]), wanted)
        return expr.call(self.d.type(types.with_scalar(source, wanted)), value)

    def apply(self, inst: Instruction, row: Row, ids: tuple[int, ...]) -> Expr:
        """The expression of a row for these operands."""
        result = self.result_type(inst)
        args: list[Expr] = []
        kinds: list[Type] = []
        for i, id in enumerate(ids):
            value, kind = self.typed(id, inst)
            wanted = self._wanted(row.operands[min(i, len(row.operands) - 1)], kind, result, kinds)
            args.append(self.cast(value, kind, wanted))
            kinds.append(wanted)
        self._check(inst, row, kinds, result)
        form = "subgroupMatrixScalarMultiply()" if isinstance(result, types.SubgroupMatrix) else row.form
        made = self.form(form, self.runtime(form, args), kinds, result)
        if row.result in "su":
            scalar = types.scalar_of(result)
            if scalar is not None and scalar.kind == "int":
                computed = types.with_scalar(result, types.I32 if row.result == "s" else types.U32)
                return self.cast(made, computed, result)
        return made

    def _wanted(self, letter: str, kind: Type, result: Type, before: list[Type]) -> Type:
        scalar = types.scalar_of(kind)
        if scalar is None or scalar.kind != "int" or scalar.width != 32:
            return kind
        match letter:
            case "s":
                return types.with_scalar(kind, types.I32)
            case "u":
                return types.with_scalar(kind, types.U32)
            case "=":
                return types.with_scalar(kind, types.scalar_of(before[0]) or scalar)
            case "r":
                wanted = types.scalar_of(result)
                return types.with_scalar(kind, wanted) if wanted is not None and wanted.kind == "int" else kind
        return kind

    def _check(self, inst: Instruction, row: Row, kinds: list[Type], result: Type) -> None:
        """Refuses operands that WGSL has no value for; the names of their types say so."""
        for kind in (*kinds, result):
            self.d.type(kind)
            if isinstance(kind, types.SubgroupMatrix) and inst.op != "MatrixTimesScalar":
                raise unsupported(inst, "this operation on a subgroup matrix has no form in WGSL")

    def runtime(self, form: str, args: list[Expr]) -> list[Expr]:
        """Keeps WGSL from evaluating at creation what would be an error there: overflow, division by zero."""
        if (args and all(a.const for a in args)) or (form in ("/", "%") and args[-1].const and "0" in args[-1].text):
            at = len(args) - 1 if form in ("/", "%") else 0
            if form in ("/", "%") and not all(a.const for a in args) and not _may_be_zero(args[-1].text):
                return args
            args = [*args[:at], self.keep(args[at]), *args[at + 1 :]]
        return args

    def form(self, form: str, args: list[Expr], kinds: list[Type], result: Type) -> Expr:
        if form.endswith("()"):
            return expr.call(form[:-2], *args)
        if form[1:] == "x":
            return expr.negate(args[0]) if form == "!x" else expr.unary(form[0], args[0])
        if "$" in form:
            scalar = types.scalar_of(result)
            args = [a if form.count(f"${i}") < 2 or a.simple else self.keep(a) for i, a in enumerate(args)]
            text = form.replace("$T", self.d.type(result))
            if scalar is not None:
                text = text.replace("$S", self.d.type(scalar))
            return expr.fill(text, tuple(args))
        if form in _COMPARISONS:
            scalar = types.scalar_of(kinds[0])
            total = isinstance(kinds[0], types.Scalar) and scalar is not None and scalar.kind == "int"
            return expr.compare(form, args[0], args[1], total)
        return expr.binary(form, args[0], args[1])

    def op_ExtInst(self, inst: Instruction) -> None:
        library = self.m.imports.get(inst.args[0], "")
        if library.startswith("NonSemantic."):
            return
        if library != "GLSL.std.450":
            raise unsupported(inst, f"the instruction set {library!r} is not known")
        name = grammar.GLSL.get(inst.args[1], f"number {inst.args[1]}")
        ids = inst.ids[1:]
        method = getattr(self, f"glsl_{name}", None)
        if method is not None:
            method(inst, ids)
            return
        row = GLSL_ROWS.get(name)
        if row is None:
            raise unsupported(inst, f"GLSL.std.450 {name} has no form in WGSL here")
        if isinstance(self.result_type(inst), types.Scalar) and name in SCALAR_ROWS:
            row = SCALAR_ROWS[name]
        self.define(inst, self.apply(inst, row, ids))

    # Values

    def op_Undef(self, inst: Instruction) -> None:
        self.values[inst.id] = self.d.value(self.result_type(inst), None)

    def op_CopyObject(self, inst: Instruction) -> None:
        self.define(inst, self.operand(inst.args[0], inst))

    def op_CopyLogical(self, inst: Instruction) -> None:
        value, source = self.typed(inst.args[0], inst)
        target = self.result_type(inst)
        if self.d.type(source) == self.d.type(target):
            self.define(inst, value)
            return
        self.define(inst, self.convert(self.single(value), source, target, inst))

    def convert(self, value: Expr, source: Type, target: Type, inst: Instruction) -> Expr:
        """A composite rebuilt as another type of the same shape."""
        if self.d.type(source) == self.d.type(target):
            return value
        count = len(self.parts(target, inst))
        parts = []
        for i in range(count):
            inner, wanted = types.child(source, i), types.child(target, i)
            if inner is None or wanted is None:
                raise invalid(inst, "the types differ in shape")
            parts.append(self.convert(self.part(value, source, i), inner, wanted, inst))
        return self.construct(target, parts)

    def parts(self, type: Type, inst: Instruction) -> range:
        match type:
            case types.Struct(members=members):
                return range(len(members))
            case types.Array(length=length) if length is not None and length <= MAX_SPREAD:
                return range(length)
            case types.Vector(count=count) | types.Matrix(count=count):
                return range(count)
        raise unsupported(inst, f"{describe(type)} would have to be rebuilt element by element")

    def single(self, value: Expr) -> Expr:
        """The value as text that may be repeated."""
        return value if value.simple and not self.mutable(value.reads) else self.keep(value)

    def part(self, value: Expr, type: Type, i: int) -> Expr:
        """A part of a composite value."""
        match type:
            case types.Struct():
                return expr.member(value, self.d.members(type)[i])
            case types.Vector():
                return expr.member(value, "xyzw"[i])
            case types.Array() if self.d.padded(type):
                return expr.member(expr.index(value, Expr(str(i))), "value")
        return expr.index(value, Expr(str(i), const=True))

    def construct(self, type: Type, parts: list[Expr]) -> Expr:
        """A composite of these parts."""
        name = self.d.type(type)
        if isinstance(type, types.Array) and self.d.padded(type):
            wrapper = self.d.padding_struct(type)
            parts = [expr.call(wrapper, part) for part in parts]
        if isinstance(type, types.Vector) and len(parts) > 1 and len({p.text for p in parts}) == 1:
            parts = parts[:1]
        return expr.call(name, *parts)

    def op_CompositeConstruct(self, inst: Instruction) -> None:
        type = self.result_type(inst)
        values = [self.typed(id, inst) for id in inst.args]
        if isinstance(type, types.Vector):
            width = sum(t.count if isinstance(t, types.Vector) else 1 for _, t in values)
            if width != type.count or any(types.scalar_of(t) != type.elem for _, t in values):
                raise invalid(inst, "the constituents do not fit the type")
            if any(isinstance(t, types.Vector) for _, t in values):
                self.define(inst, expr.call(self.d.type(type), *(v for v, _ in values)))
                return
        elif isinstance(type, types.SubgroupMatrix):
            if [t for _, t in values] != [type.elem]:
                raise invalid(inst, "a subgroup matrix is made of one number")
        elif any(types.child(type, i) != t for i, (_, t) in enumerate(values)) or not values:
            raise invalid(inst, "the constituents do not fit the type")
        self.define(inst, self.construct(type, [v for v, _ in values]))

    def op_CompositeExtract(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[0], inst)
        for i in inst.args[1:]:
            inner = types.child(type, i)
            if inner is None:
                raise invalid(inst, f"no part {i} in a {describe(type)}")
            value, type = self.part(value, type, i), inner
        self.define(inst, value)

    def op_CompositeInsert(self, inst: Instruction) -> None:
        new, _ = self.typed(inst.args[0], inst)
        base, type = self.typed(inst.args[1], inst)
        path = inst.args[2:]
        if isinstance(type, types.Vector) and len(path) == 1:
            base = self.single(base)
            parts = [new if i == path[0] else self.part(base, type, i) for i in range(type.count)]
            self.define(inst, self.construct(type, parts))
            return
        name = self._changed(inst, base)
        target = Expr(name)
        for i in path:
            inner = types.child(type, i)
            if inner is None:
                raise invalid(inst, f"no part {i} in a {describe(type)}")
            target, type = self.part(target, type, i), inner
        self.emit(f"{target.text} = {new.text};")

    def _changed(self, inst: Instruction, base: Expr) -> str:
        """A variable that starts as ``base`` and becomes the instruction's value once it is changed."""
        name = self.hoisted.get(inst.id)
        if name is None:
            name = self.names.make(self.m.names.get(inst.id, ""), "v")
            self.emit(f"var {name} = {base.text};")
            self.values[inst.id] = Expr(name)
        else:
            self.emit(f"{name} = {base.text};")
            self.values[inst.id] = Expr(name, reads=frozenset([inst.id]))
        return name

    def op_VectorShuffle(self, inst: Instruction) -> None:
        first, a = self.typed(inst.args[0], inst)
        second, b = self.typed(inst.args[1], inst)
        result = self.result_type(inst)
        if not isinstance(a, types.Vector) or not isinstance(b, types.Vector) or not isinstance(result, types.Vector):
            raise invalid(inst, "the operands are not vectors")
        lanes = [(0, i) if i < a.count else (1, i - a.count) if i != 0xFFFFFFFF else (-1, 0) for i in inst.args[2:]]
        if len(lanes) != result.count or any(side == 1 and i >= b.count for side, i in lanes):
            raise invalid(inst, "the components do not fit the vectors")
        if inst.args[0] == inst.args[1]:
            lanes = [(min(side, 0), i) for side, i in lanes]
        used = {side for side, _ in lanes if side >= 0}
        if len(used) <= 1:
            source = second if used == {1} else first
            made = expr.member(source, "".join("xyzw"[i] for _, i in lanes))
            self.define(inst, made)
            return
        values = (self.single(first), self.single(second))
        parts: list[Expr] = []
        at = 0
        while at < len(lanes):
            side, end = lanes[at][0], at + 1
            while end < len(lanes) and lanes[end][0] == side:
                end += 1
            if side < 0:
                parts += [self.d.value(result.elem, None)] * (end - at)
            else:
                swizzle = "".join("xyzw"[i] for _, i in lanes[at:end])
                whole = swizzle == "xyzw"[: (a, b)[side].count]
                parts.append(values[side] if whole else expr.member(values[side], swizzle))
            at = end
        self.define(inst, expr.call(self.d.type(result), *parts))

    def op_VectorExtractDynamic(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[0], inst)
        self.define(inst, expr.index(value, self._lane(type, inst.args[1], inst)))

    def _lane(self, type: Type, id: int, inst: Instruction) -> Expr:
        if not isinstance(type, types.Vector):
            raise invalid(inst, "the operand is not a vector")
        constant = self.t.constants.integer(id)
        return self.operand(id, inst) if constant is None else Expr(str(min(constant, type.count - 1)))

    def op_VectorInsertDynamic(self, inst: Instruction) -> None:
        base, type = self.typed(inst.args[0], inst)
        new = self.operand(inst.args[1], inst)
        lane = self._lane(type, inst.args[2], inst)
        self.emit(f"{self._changed(inst, base)}[{lane.text}] = {new.text};")

    def op_Select(self, inst: Instruction) -> None:
        test, test_type = self.typed(inst.args[0], inst)
        yes, type = self.typed(inst.args[1], inst)
        no, _ = self.typed(inst.args[2], inst)
        if types.scalar_of(type) is not None and not isinstance(type, types.Matrix):
            if isinstance(type, types.Scalar) and isinstance(test_type, types.Vector):
                raise invalid(inst, "a vector condition for scalars")
            self.define(inst, expr.call("select", no, yes, test))
            return
        name = self._changed(inst, no)
        self.emit(f"if {test.text} {{ {name} = {yes.text}; }}")

    def op_LogicalAnd(self, inst: Instruction) -> None:
        self._logical(inst, "&")

    def op_LogicalOr(self, inst: Instruction) -> None:
        self._logical(inst, "|")

    def _logical(self, inst: Instruction, operator: str) -> None:
        # Scalars take the short-circuit form: the right side has no effects, and it chains without parentheses.
        scalar = isinstance(self.result_type(inst), types.Scalar)
        args = self.runtime("", [self.operand(id, inst) for id in inst.args])
        if "subgroup" in args[1].reads:
            args[1] = self.keep(args[1])
        self.define(inst, expr.binary(operator * 2 if scalar else operator, args[0], args[1]))

    # Bits and conversions

    def shift(self, inst: Instruction, operator: str, scalar: types.Scalar | None) -> None:
        value, type = self.typed(inst.args[0], inst)
        result = self.result_type(inst)
        computed = type if scalar is None else types.with_scalar(type, scalar)
        amount_type = self.m.type_of(inst.args[1], inst)
        constant = self.t.constants.integer(inst.args[1])
        if constant is not None:
            amount = expr.integer(constant & 31, types.U32)
        else:
            amount = self.cast(
                self.operand(inst.args[1], inst), amount_type, types.with_scalar(amount_type, types.U32)
            )
            if amount.const:
                amount = self.keep(amount)
        value = self.cast(value, type, computed)
        if value.const:
            value = self.keep(value)
        self.define(inst, self.cast(expr.binary(operator, value, amount), computed, result))

    def op_ShiftLeftLogical(self, inst: Instruction) -> None:
        self.shift(inst, "<<", None)

    def op_ShiftRightLogical(self, inst: Instruction) -> None:
        self.shift(inst, ">>", types.U32)

    def op_ShiftRightArithmetic(self, inst: Instruction) -> None:
        self.shift(inst, ">>", types.I32)

    def op_BitFieldInsert(self, inst: Instruction) -> None:
        result = self.result_type(inst)
        args = [self.cast(*self.typed(id, inst), result) for id in inst.args[:2]]
        args += [self._unsigned(id, inst) for id in inst.args[2:]]
        self.define(inst, expr.call("insertBits", *self.runtime("", args)))

    def _unsigned(self, id: int, inst: Instruction) -> Expr:
        value, type = self.typed(id, inst)
        return self.cast(value, type, types.with_scalar(type, types.U32))

    def _extract(self, inst: Instruction, scalar: types.Scalar) -> None:
        value, type = self.typed(inst.args[0], inst)
        computed = types.with_scalar(type, scalar)
        args = [self.cast(value, type, computed), *(self._unsigned(id, inst) for id in inst.args[1:])]
        made = expr.call("extractBits", *self.runtime("", args))
        self.define(inst, self.cast(made, computed, self.result_type(inst)))

    def op_BitFieldSExtract(self, inst: Instruction) -> None:
        self._extract(inst, types.I32)

    def op_BitFieldUExtract(self, inst: Instruction) -> None:
        self._extract(inst, types.U32)

    def _conversion(self, inst: Instruction, letter: str) -> None:
        value, type = self.typed(inst.args[0], inst)
        result = self.result_type(inst)
        if letter in "su":
            value = self.cast(value, type, types.with_scalar(type, types.I32 if letter == "s" else types.U32))
        target = result
        if inst.op in ("ConvertFToS", "ConvertFToU"):
            target = types.with_scalar(result, types.I32 if inst.op == "ConvertFToS" else types.U32)
        if value.const:
            value = self.keep(value)
        self.define(inst, self.cast(expr.call(self.d.type(target), value), target, result))

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
        if source.kind == target.kind == "int" and source.width == target.width:
            self.define(inst, self.cast(value, type, result))
            return
        (value,) = self.runtime("", [value])
        if types.F16 in (source, target) and source != target:
            self.define(inst, self._halves(value, type, result, inst))
            return
        self.define(inst, expr.call(f"bitcast<{self.d.type(result)}>", value))

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
        signed = types.with_scalar(result, types.I32)
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

    def _pair(self, inst: Instruction, low: Expr, high: Expr) -> None:
        """A struct result of two members."""
        self.define(inst, expr.call(self.d.type(self.result_type(inst)), low, high))

    def _members(self, inst: Instruction) -> tuple[Type, Expr, Expr]:
        """(operand type as unsigned, first, second) of an instruction on two unsigned numbers."""
        a, type = self.typed(inst.args[0], inst)
        b, second = self.typed(inst.args[1], inst)
        unsigned = types.with_scalar(type, types.U32)
        return unsigned, self.keep(self.cast(a, type, unsigned)), self.keep(self.cast(b, second, unsigned))

    def op_IAddCarry(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        total = self.keep(expr.binary("+", a, b))
        self._pair(inst, total, Expr(f"{self.d.type(type)}({total.text} < {a.text})"))

    def op_ISubBorrow(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        self._pair(inst, expr.binary("-", a, b), Expr(f"{self.d.type(type)}({a.text} < {b.text})"))

    def op_UMulExtended(self, inst: Instruction) -> None:
        type, a, b = self._members(inst)
        self._pair(inst, expr.binary("*", a, b), self._high(type, a, b))

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
        result = self.result_type(inst)
        member = types.child(result, 0)
        if member is None:
            raise invalid(inst, "the result is not a struct of two")
        high = self.keep(self._high(type, a, b)).text
        zero = self.d.value(type, None).text
        signed = types.with_scalar(type, types.I32)
        test = [f"({self.cast(x, type, signed).text} < {self.d.value(signed, None).text})" for x in (a, b)]
        fixed = Expr(
            f"{high} - select({zero}, {b.text}, {test[0]}) - select({zero}, {a.text}, {test[1]})", expr.ADD
        )
        low = expr.binary("*", a, b)
        self._pair(inst, self.cast(low, type, member), self.cast(fixed, type, member))

    # GLSL.std.450 instructions without a row

    def _structured(self, inst: Instruction, ids: tuple[int, ...], name: str, second: str) -> Expr:
        value = self.operand(ids[0], inst)
        return self.keep(expr.call(name, *self.runtime("", [value])))

    def glsl_ModfStruct(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        made = self._structured(inst, ids, "modf", "whole")
        self._pair(inst, expr.member(made, "fract"), expr.member(made, "whole"))

    def glsl_FrexpStruct(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        made = self._structured(inst, ids, "frexp", "exp")
        exponent = types.child(self.result_type(inst), 1)
        source = self.m.type_of(ids[0], inst)
        if exponent is None:
            raise invalid(inst, "the result is not a struct of two")
        signed = types.with_scalar(source, types.I32)
        self._pair(inst, expr.member(made, "fract"), self.cast(expr.member(made, "exp"), signed, exponent))

    def glsl_Refract(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        type = self.result_type(inst)
        if isinstance(type, types.Vector):
            self.define(inst, self.apply(inst, GLSL_ROWS["Refract"], ids))
            return
        i, n, eta = (self.keep(self.operand(id, inst)).text for id in ids)
        one, zero = (self.d.value(type, None).text.replace("0", digit) for digit in "10")
        k = self.keep(Expr(f"{one} - {eta} * {eta} * ({one} - {n} * {i} * {n} * {i})")).text
        self.define(inst, Expr(f"select({zero}, {eta} * {i} - ({eta} * {n} * {i} + sqrt({k})) * {n}, {k} >= {zero})"))


def _may_be_zero(text: str) -> bool:
    """Whether a constant's text may hold a zero component."""
    inner = text[text.find("(") + 1 :].rstrip(")") if "(" in text else text
    return not inner or any(part.strip().rstrip("iufh").strip("-0.") == "" for part in inner.split(","))
