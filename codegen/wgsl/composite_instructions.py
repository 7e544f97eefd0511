"""How instructions on composite values are written: construction, parts, shuffles, selection."""

from __future__ import annotations

from tvm_webgpu.codegen.wgsl import expr, types
from tvm_webgpu.codegen.wgsl.constants import count_of
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.instructions import Instructions
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.types import Type

MAX_SPREAD = 256  # elements of an array that is rebuilt element by element


class CompositeInstructions(Instructions):
    """Writes the instructions that make, take apart or choose values."""

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

    def op_CompositeConstruct(self, inst: Instruction) -> None:
        type = self.result_type(inst)
        values = [self.typed(id, inst) for id in inst.args]
        if isinstance(type, types.Vector):
            width = sum(t.count if isinstance(t, types.Vector) else 1 for _, t in values)
            parts = [t.elem if isinstance(t, types.Vector) else t for _, t in values]
            if width != type.count or any(t != type.elem for t in parts):
                raise invalid(inst, "the constituents do not fit the type")
            if any(isinstance(t, types.Vector) for _, t in values):
                self.define(inst, expr.call(self.d.type(type), *(v for v, _ in values)))
                return
        elif isinstance(type, types.SubgroupMatrix):
            if [t for _, t in values] != [type.elem]:
                raise invalid(inst, "a subgroup matrix is made of one number")
        elif count_of(type) != len(values) or any(types.child(type, i) != t for i, (_, t) in enumerate(values)):
            raise invalid(inst, "the constituents do not fit the type")
        self.define(inst, self.construct(type, [v for v, _ in values]))

    def op_CompositeExtract(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[0], inst)
        for i in inst.args[1:]:
            inner = types.child(type, i)
            if inner is None:
                raise invalid(inst, f"no part {i} in a {describe(type)}")
            value, type = self.part(value, type, i), inner
        self._is_result(inst, type)
        self.define(inst, value)

    def _is_result(self, inst: Instruction, type: Type) -> None:
        if type != self.result_type(inst):
            raise invalid(inst, f"the result is a {describe(type)}")

    def op_CompositeInsert(self, inst: Instruction) -> None:
        new, new_type = self.typed(inst.args[0], inst)
        base, type = self.typed(inst.args[1], inst)
        self._is_result(inst, type)
        path, at = inst.args[2:], type
        for i in path:
            inner = types.child(at, i)
            if inner is None:
                raise invalid(inst, f"no part {i} in a {describe(at)}")
            at = inner
        if at != new_type:
            raise invalid(inst, f"the part is a {describe(at)}")
        if isinstance(type, types.Vector) and len(path) == 1:
            base = self.single(base)
            parts = [new if i == path[0] else self.part(base, type, i) for i in range(type.count)]
            self.define(inst, self.construct(type, parts))
            return
        name = self._changed(inst, base)
        target = Expr(name)
        for i in path:
            inner = types.child(type, i)
            assert inner is not None
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
        if a.elem != b.elem or a.elem != result.elem:
            raise invalid(inst, "the components' types differ")
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
        lane = self._lane(type, inst.args[1], inst)
        self._is_result(inst, getattr(type, "elem", type))
        self.define(inst, expr.index(value, lane))

    def _lane(self, type: Type, id: int, inst: Instruction) -> Expr:
        if not isinstance(type, types.Vector):
            raise invalid(inst, "the operand is not a vector")
        constant = self.t.constants.integer(id)
        if constant is None:
            return self.vary(self.index(id, inst, False))
        return Expr(str(min(constant, type.count - 1)))

    def op_VectorInsertDynamic(self, inst: Instruction) -> None:
        base, type = self.typed(inst.args[0], inst)
        new, new_type = self.typed(inst.args[1], inst)
        self._is_result(inst, type)
        if new_type != getattr(type, "elem", None):
            raise invalid(inst, "the component's type differs")
        lane = self._lane(type, inst.args[2], inst)
        self.emit(f"{self._changed(inst, base)}[{lane.text}] = {new.text};")

    def op_Select(self, inst: Instruction) -> None:
        test = self.operand(inst.args[0], inst)
        yes, type = self.typed(inst.args[1], inst)
        no, _ = self.typed(inst.args[2], inst)
        if types.scalar_of(type) is not None and not isinstance(type, types.Matrix):
            self.define(inst, expr.call("select", no, yes, test))
            return
        name = self._changed(inst, no)
        self.emit(f"if {test.text} {{ {name} = {yes.text}; }}")

    def op_LogicalAnd(self, inst: Instruction) -> None:
        self._logical(inst, "&")

    def op_LogicalOr(self, inst: Instruction) -> None:
        self._logical(inst, "|")

    def _logical(self, inst: Instruction, operator: str) -> None:
        # Not the short-circuit form, which compilers make a branch of: SwiftShader takes minutes for some dozens.
        args = self.runtime("", [self.operand(id, inst) for id in inst.args])
        self.define(inst, expr.binary(operator, *args))
