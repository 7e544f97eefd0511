"""How instructions on numbers of 64 bits are written: on pairs of u32, low word first, by the helpers of wide_helpers
for integers and of double_helpers for floats.

A vector of them is an array of pairs, and its instructions are written for each component.
"""

from __future__ import annotations

import re

from tvm_webgpu.codegen.wgsl import double_helpers, expr, grammar, types, wide_helpers
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.number_instructions import NumberInstructions
from tvm_webgpu.codegen.wgsl.operators import SUBGROUP_MOVES
from tvm_webgpu.codegen.wgsl.types import Type

HELPERS = wide_helpers.HELPERS | double_helpers.HELPERS
# Instruction, or number's name in GLSL.std.450 -> its form; an operand $n means a pair, #n any integer as u32.
_FORMS = {
    "IAdd": "add64($0, $1)", "ISub": "sub64($0, $1)", "IMul": "mul64($0, $1)", "SNegate": "sub64(vec2u(), $0)",
    "UDiv": "divide64($0, $1).xy", "UMod": "divide64($0, $1).zw", "SDiv": "sdiv64($0, $1)",
    "SRem": "srem64($0, $1)", "SMod": "smod64($0, $1)", "Not": "(~$0)", "BitwiseAnd": "($0 & $1)",
    "BitwiseOr": "($0 | $1)", "BitwiseXor": "($0 ^ $1)", "IEqual": "all($0 == $1)", "INotEqual": "any($0 != $1)",
    "ULessThan": "uless64($0, $1)", "UGreaterThan": "uless64($1, $0)", "ULessThanEqual": "(!uless64($1, $0))",
    "UGreaterThanEqual": "(!uless64($0, $1))", "SLessThan": "sless64($0, $1)", "SGreaterThan": "sless64($1, $0)",
    "SLessThanEqual": "(!sless64($1, $0))", "SGreaterThanEqual": "(!sless64($0, $1))",
    "ShiftLeftLogical": "shl64($0, #1)", "ShiftRightLogical": "shr64($0, #1)", "ShiftRightArithmetic": "sar64($0, #1)",
    "Select": "select($2, $1, $0)", "CopyObject": "$0",
    "SAbs": "abs64($0)", "SSign": "sign64($0)", "UMin": "select($1, $0, uless64($0, $1))",
    "UMax": "select($0, $1, uless64($0, $1))", "SMin": "select($1, $0, sless64($0, $1))",
    "SMax": "select($0, $1, sless64($0, $1))",
    "UClamp": "select(select($0, $1, uless64($0, $1)), $2, uless64($2, $0))",
    "SClamp": "select(select($0, $1, sless64($0, $1)), $2, sless64($2, $0))",
} | double_helpers.FORMS  # fmt: skip
# Conversions of one component: of integers as pairs from and to other floats, then from and to doubles.
_FROM = {"ConvertUToF": "f32(float64($0))", "ConvertSToF": "sfloat64($0)"}
_TO = {"ConvertFToU": "ufix64($0)", "ConvertFToS": "sfix64($0)"}
_WHOLE = {
    ("ConvertFToU", True): "dufix64($0)", ("ConvertFToS", True): "dsfix64($0)",
    ("ConvertFToU", False): "duint64($0)", ("ConvertFToS", False): "dint64($0)",
}  # fmt: skip
_DOUBLE = {"ConvertUToF": "dnorm64(0u, 1085i, $0)", "ConvertSToF": "dsigned64($0)"}
_CONVERSIONS = {"UConvert", "SConvert", "FConvert", "ConvertUToF", "ConvertSToF", "ConvertFToU", "ConvertFToS"}
# Instructions whose usual forms do for pairs and arrays of them.
_PLAIN = {
    "Load", "Store", "CopyMemory", "CopyLogical", "AccessChain", "InBoundsAccessChain", "CompositeExtract",
    "CompositeInsert", "FunctionCall", "Undef", "VectorExtractDynamic", "VectorInsertDynamic", "ArrayLength", "Bitcast",
} | SUBGROUP_MOVES  # fmt: skip
_CALLS = re.compile(r"\w+64")


class WideInstructions(NumberInstructions):
    """Writes the instructions that compute with numbers of 64 bits."""

    def wide(self, inst: Instruction) -> bool:
        kinds = [self.m.value_types.get(id) for id in inst.ids]
        result = self.m.types.get(inst.type)
        if inst.op in _PLAIN or not any(kind is not None and types.is_wide(kind) for kind in (*kinds, result)):
            return False
        if inst.op.startswith("Atomic"):
            raise unsupported(inst, "an atomic operation on 64 bits: WGSL has atomics of i32 and u32 only")
        if result is None:
            return False
        match inst.op:
            case "CompositeConstruct" | "VectorShuffle":
                if not types.is_wide(result):
                    return False
                self._components(inst, result)
            case op if op in _CONVERSIONS:
                self._converted(inst, result)
            case "Dot":
                self._dot(inst)
            case _:
                name, ids = inst.op, inst.ids
                if name == "ExtInst" and self.m.imports.get(inst.args[0]) == "GLSL.std.450":
                    name, ids = grammar.GLSL.get(inst.args[1], ""), inst.ids[1:]
                if name == "UnpackDouble2x32":
                    bits = self.operand(ids[0], inst)
                    self.define(inst, self.cast(bits, types.Vector(types.U32, 2), result))
                    return True
                form = _FORMS.get(name)
                if form is None:
                    raise unsupported(inst, f"{name} of numbers of 64 bits has no form here")
                self.define(inst, self._each(form, [self.typed(id, inst) for id in ids], result))
        return True

    def helper(self, form: str) -> str:
        """Has the helpers that a form calls written out; the form again."""
        for name in _CALLS.findall(form):
            self.t.helper(name)
        return form

    def _each(self, form: str, operands: list[tuple[Expr, Type]], result: Type) -> Expr:
        self.helper(form)
        if not isinstance(result, types.Vector):
            return self._one(form, operands)
        kept = [(self.single(value), type) for value, type in operands]
        made = [self._one(form, [self._component(v, t, i) for v, t in kept]) for i in range(result.count)]
        return self.construct(result, made)

    def _component(self, value: Expr, type: Type, i: int) -> tuple[Expr, Type]:
        return (self.part(value, type, i), type.elem) if isinstance(type, types.Vector) else (value, type)

    def _one(self, form: str, operands: list[tuple[Expr, Type]]) -> Expr:
        values = []
        for i, (value, type) in enumerate(operands):
            if f"#{i}" in form:
                value = self.unsigned(value, type)
            if form.count(f"${i}") > 1 and not value.simple:
                value = self.keep(value)
            values.append(self.keep(value) if value.const else value)
        return expr.fill(form.replace("#", "$"), tuple(values))

    def _components(self, inst: Instruction, result: Type) -> None:
        """A vector of pairs from pairs and vectors of them."""
        if not isinstance(result, types.Vector):
            raise invalid(inst, f"the result is a {describe(result)}")
        parts: list[Expr] = []
        for value, type in [self.typed(id, inst) for id in inst.ids]:
            value = self.single(value)
            if types.scalar_of(type) != result.elem:
                raise invalid(inst, "the constituents do not fit the type")
            count = type.count if isinstance(type, types.Vector) else 1
            parts += [self._component(value, type, i)[0] for i in range(count)]
        if inst.op == "VectorShuffle":
            zero = self.d.value(result.elem, None)
            parts = [parts[i] if i < len(parts) else zero for i in inst.args[2:]]
        if len(parts) != result.count:
            raise invalid(inst, "the constituents do not fit the type")
        self.define(inst, self.construct(result, parts))

    def _converted(self, inst: Instruction, result: Type) -> None:
        value, type = self.typed(inst.args[0], inst)
        source, target = types.scalar_of(type), types.scalar_of(result)
        if source is None or target is None:
            raise unsupported(inst, f"a conversion from {describe(type)} to {describe(result)}")
        value = self.single(value)
        count = result.count if isinstance(result, types.Vector) else 1
        made = []
        for i in range(count):
            part, _ = self._component(value, type, i)
            made.append(self._number(inst, self.keep(part) if part.const else part, source, target))
        self.define(inst, self.construct(result, made) if isinstance(result, types.Vector) else made[0])

    def _dot(self, inst: Instruction) -> None:
        (a, type), (b, _) = (self.typed(id, inst) for id in inst.ids)
        assert isinstance(type, types.Vector)
        a, b = self.single(a), self.single(b)
        self.helper("dadd64 dmul64")
        total = ""
        for i in range(type.count):
            product = f"dmul64({self.part(a, type, i).text}, {self.part(b, type, i).text})"
            total = f"dadd64({total}, {product})" if total else product
        self.define(inst, Expr(total, reads=a.reads | b.reads))

    def _number(self, inst: Instruction, value: Expr, source: types.Scalar, target: types.Scalar) -> Expr:
        """One component converted."""
        if types.F64 in (source, target):
            return self._double(inst, value, source, target)
        if inst.op in _FROM:
            made = expr.fill(self.helper(_FROM[inst.op]), (value,))
            return expr.call("f16", made) if target == types.F16 else made
        if inst.op in _TO:
            value = expr.call("f32", value) if source == types.F16 else value
            return expr.fill(self.helper(_TO[inst.op]), (value,))
        if types.is_wide(source):
            return self._narrowed(value, target)
        return self._widened(value, source, inst.op == "SConvert")

    def _narrowed(self, value: Expr, target: types.Scalar) -> Expr:
        """An integer of 64 bits as another."""
        if types.is_wide(target):
            return value
        low = expr.member(value, "x")
        return self.wrap(expr.call("i32", low) if target.signed else low, target)

    def _widened(self, value: Expr, source: types.Scalar, signed: bool) -> Expr:
        """An integer as a pair, extended as ``signed`` says."""
        if types.is_wide(source):
            return value
        value = self.cast(value, source, types.with_sign(source, signed))
        if not signed:
            return expr.call("vec2u", value, Expr("0u", const=True))
        value = self.single(value)
        return expr.fill("vec2u(u32($0), u32($0 >> 31u))", (value,))

    def _double(self, inst: Instruction, value: Expr, source: types.Scalar, target: types.Scalar) -> Expr:
        """One component from a double, or to one."""
        if inst.op in _DOUBLE:
            value = self._widened(value, source, inst.op == "ConvertSToF")
            return expr.fill(self.helper(_DOUBLE[inst.op]), (value,))
        if inst.op in ("ConvertFToU", "ConvertFToS"):
            made = expr.fill(self.helper(_WHOLE[inst.op, types.is_wide(target)]), (value,))
            if types.is_wide(target):
                return made
            made_type = types.with_sign(types.U32, inst.op == "ConvertFToS")
            return self.wrap(self.cast(made, made_type, types.with_sign(made_type, target.signed)), target)
        if source == target:
            return value
        if target == types.F64:
            value = expr.call("f32", value) if source == types.F16 else value
            return expr.fill(self.helper("dwiden64($0)"), (value,))
        form = "f16(dnarrow64(dodd64($0)))" if target == types.F16 else "dnarrow64($0)"
        self.d.type(target)
        return expr.fill(self.helper(form), (value,))
