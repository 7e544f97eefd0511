"""How any instruction is written: by a row of the operator tables, or by the method that has its name.

The state of an instance is State's; the methods stand in the mixins that FunctionWriter joins, one for each family.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tvm_webgpu.codegen.wgsl import check, expr, grammar, types
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Instruction, at, invalid, unsupported
from tvm_webgpu.codegen.wgsl.operators import GLSL_ROWS, ROWS, SCALAR_ROWS, SUBGROUP_MOVES, WRAPPING, Row
from tvm_webgpu.codegen.wgsl.state import State
from tvm_webgpu.codegen.wgsl.types import Type
from tvm_webgpu.errors import UnsupportedError

# Calls whose constant operands WGSL looks at although another one is not constant: which ones, and what must hold.
_BOUNDS: dict[str, tuple[tuple[int, ...], Callable[..., bool]]] = {
    "clamp()": ((1, 2), lambda low, high: low <= high),
    "smoothstep()": ((0, 1), lambda low, high: low != high),
    "ldexp()": ((1,), lambda exponent: exponent <= 15),
}
_SPLAT = re.compile(r"(?:\w+\()?(-?[\d.]+(?:e-?\d+)?)[iufh]\)?")
_LITERAL = re.compile(r"(?:i32\()?(-?\d+)[iu)]")
_COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}


class Instructions(State):
    """Writes instructions, those of the tables by itself."""

    def instruction(self, inst: Instruction) -> None:
        """Writes one instruction."""
        try:
            self._instruction(inst)
        except UnsupportedError as error:
            raise at(inst, error) from error

    def check(self, inst: Instruction, rule: check.Rule, ids: tuple[int, ...]) -> None:
        """Refuses operands of types that the instruction does not take."""
        given = [self.m.type_of(id, inst) for id in ids]
        key = _signature(inst, rule, given)
        if key in self.t.plans:
            return
        result = self.result_type(inst)
        if not rule(result, given):
            texts = ", ".join(map(describe, given))
            raise invalid(inst, f"the types do not fit: {texts} to {describe(result)}")
        self.t.plans[key] = given, result

    def _instruction(self, inst: Instruction) -> None:
        rule = check.RULES.get(inst.op)
        if rule is not None:
            self.check(inst, rule, inst.ids)
        if inst.op == "ExtInst" and self.m.imports.get(inst.args[0]) == "GLSL.std.450":
            self._check_extended(inst)
        if self.m.wide and self.wide(inst):
            return
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

    def wide(self, inst: Instruction) -> bool:
        """Writes an instruction on 64-bit integers; False for any other."""
        raise NotImplementedError

    def single(self, value: Expr) -> Expr:
        """The value as text that may be repeated."""
        return value if value.simple and not self.mutable(value.reads) else self.keep(value)

    def part(self, value: Expr, type: Type, i: int) -> Expr:
        """A part of a composite value."""
        match type:
            case types.Struct():
                return expr.member(value, self.d.members(type)[i])
            case types.Vector(elem=elem) if not types.is_wide(elem):
                return expr.member(value, "xyzw"[i])
            case types.Array() if self.d.layout.padded(type):
                return expr.member(expr.index(value, Expr(str(i))), "value")
        return expr.index(value, Expr(str(i), const=True))

    def construct(self, type: Type, parts: list[Expr]) -> Expr:
        """A composite of these parts."""
        name = self.d.type(type)
        if isinstance(type, types.Array) and self.d.layout.padded(type):
            wrapper = self.d.padding_struct(type)
            parts = [expr.call(wrapper, part) for part in parts]
        if isinstance(type, types.Vector) and not types.is_wide(type) and len({p.text for p in parts}) == 1:
            parts = parts[:1]
        return expr.call(name, *parts)

    # Rows

    def result_type(self, inst: Instruction) -> Type:
        return self.m.type_at(inst.type, inst)

    def typed(self, id: int, inst: Instruction) -> tuple[Expr, Type]:
        type = self.m.type_of(id, inst)
        return self.operand(id, inst), type

    def cast(self, value: Expr, source: Type, target: Type) -> Expr:
        """Integers of the other signedness, bits kept; any other type as it is."""
        if source is target:
            return value
        scalar, wanted = types.scalar_of(source), types.scalar_of(target)
        if scalar is None or wanted is None or scalar == wanted or scalar.kind != "int" or wanted.kind != "int":
            return value
        if scalar.width != wanted.width or types.is_wide(source):
            return value
        literal = _LITERAL.fullmatch(value.text)
        if literal is not None:
            return expr.integer(int(literal[1]), wanted)
        wanted_type = types.with_scalar(source, wanted)
        return self.wrap(expr.call(self.d.type(wanted_type), value), wanted_type)

    def index(self, id: int, where: Instruction, unsigned: bool) -> Expr:
        value, type = self.typed(id, where)
        if not isinstance(type, types.Scalar) or type.kind != "int":
            raise invalid(where, f"the index %{id} is no integer")
        return self.unsigned(value, type) if unsigned or types.is_wide(type) else value

    def wrap(self, value: Expr, type: Type) -> Expr:
        """Brings a number that left the range of a narrow integer type back, as its bits say."""
        scalar = types.scalar_of(type)
        if scalar is None or not types.is_narrow(type):
            return value
        return expr.call("extractBits", value, Expr("0u"), Expr(f"{scalar.width}u"))

    def unsigned(self, value: Expr, type: Type) -> Expr:
        """Any integer as u32, or a vector of them: the low word of a wide one, a narrow one extended by its sign."""
        if types.is_wide(type):
            if not isinstance(type, types.Vector):
                return expr.member(value, "x")
            value = self.single(value)
            parts = [expr.member(self.part(value, type, i), "x") for i in range(type.count)]
            return expr.call(f"vec{type.count}u", *parts)
        scalar = types.scalar_of(type)
        if types.is_narrow(type) and scalar is not None:
            return self.cast(value, types.with_scalar(type, types.I32 if scalar.signed else types.U32),
                             types.with_scalar(type, types.U32))  # fmt: skip
        return self.cast(value, type, types.with_scalar(type, types.U32))

    def apply(self, inst: Instruction, row: Row, ids: tuple[int, ...]) -> Expr:
        """The expression of a row for these operands."""
        result = self.result_type(inst)
        given = [self.m.type_of(id, inst) for id in ids]
        key = _signature(inst, row, given)
        if key not in self.t.plans:
            self.t.plans[key] = self._plan(inst, row, given, result)
        kinds, computed = self.t.plans[key]
        args = [self.cast(self.operand(id, inst), kind, wanted) for id, kind, wanted in zip(ids, given, kinds)]
        form = "subgroupMatrixScalarMultiply()" if isinstance(result, types.SubgroupMatrix) else row.form
        made = self.form(form, self.runtime(form, args), kinds, result)
        if inst.op in WRAPPING:
            made = self.wrap(made, computed)
        return self.cast(made, computed, result)

    def _plan(self, inst: Instruction, row: Row, given: list[Type], result: Type) -> tuple[list[Type], Type]:
        """What the operands are computed as, and what that gives."""
        kinds: list[Type] = []
        for i, kind in enumerate(given):
            kinds.append(self._wanted(row.operands[min(i, len(row.operands) - 1)], kind, result, kinds))
        self._check(inst, row, kinds, result)
        return kinds, types.with_sign(result, row.result == "s") if row.result in "su" else result

    def _wanted(self, letter: str, kind: Type, result: Type, before: list[Type]) -> Type:
        if letter in "su":
            return types.with_sign(kind, letter == "s")
        if letter in "=r":
            pattern = types.scalar_of(before[0] if letter == "=" else result)
            if pattern is not None and pattern.kind == "int":
                return types.with_sign(kind, pattern.signed)
        return kind

    def _check(self, inst: Instruction, row: Row, kinds: list[Type], result: Type) -> None:
        """Refuses operands that WGSL has no value for; the names of their types say so."""
        for kind in (*kinds, result):
            self.d.type(kind)
            if isinstance(kind, types.SubgroupMatrix) and inst.op != "MatrixTimesScalar":
                raise unsupported(inst, "this operation on a subgroup matrix has no form in WGSL")
            if types.is_narrow(kind) and inst.op in ("BitReverse", "BitCount"):
                raise unsupported(inst, f"this operation on {describe(kind)}")
            if types.is_wide(kind) and inst.op not in SUBGROUP_MOVES:
                raise unsupported(inst, f"this operation on {describe(kind)}")

    def runtime(self, form: str, args: list[Expr]) -> list[Expr]:
        """Keeps WGSL from evaluating at creation what would be an error there: overflow, division by zero."""
        if (args and all(a.const for a in args)) or (form in ("/", "%") and args[-1].const and "0" in args[-1].text):
            at = len(args) - 1 if form in ("/", "%") else 0
            if form in ("/", "%") and not all(a.const for a in args) and not _may_be_zero(args[-1].text):
                return args
            args = [*args[:at], self.keep(args[at]), *args[at + 1 :]]
        bounds, holds = _BOUNDS.get(form, ((), None))
        if holds is not None and all(args[i].const for i in bounds):
            numbers = [_number(args[i].text) for i in bounds]
            if None in numbers or not holds(*numbers):
                args = [self.keep(arg) if i == bounds[0] else arg for i, arg in enumerate(args)]
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

    def _check_extended(self, inst: Instruction) -> None:
        name, ids = grammar.GLSL.get(inst.args[1], ""), inst.ids[1:]
        if not name:
            raise unsupported(inst, f"GLSL.std.450 number {inst.args[1]} is not known")
        if len(ids) != check.GLSL_COUNTS.get(name, 1):
            raise invalid(inst, f"GLSL.std.450 {name} with {len(ids)} operands")
        if name != "MatrixInverse":
            self.check(inst, check.GLSL_RULES.get(name, check.GLSL_RULE), ids)

    def op_ExtInst(self, inst: Instruction) -> None:
        library = self.m.imports.get(inst.args[0], "")
        if library.startswith("NonSemantic."):
            return
        if library != "GLSL.std.450":
            raise unsupported(inst, f"the instruction set {library!r} is not known")
        name = grammar.GLSL[inst.args[1]]
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


def _number(text: str) -> float | None:
    """The value of a literal, or of a vector of one literal."""
    found = _SPLAT.fullmatch(text)
    return float(found[1]) if found is not None else None


def _signature(inst: Instruction, rule: check.Rule | Row, given: list[Type]) -> tuple:
    """What decides how an instruction's types are dealt with; the types are the module's, which live as long as it."""
    return inst.op, inst.type, rule, *map(id, given)


def _may_be_zero(text: str) -> bool:
    """Whether a constant's text may hold a zero component."""
    inner = text[text.find("(") + 1 :].rstrip(")") if "(" in text else text
    return not inner or any(part.strip().rstrip("iufh").strip("-0.") == "" for part in inner.split(","))
