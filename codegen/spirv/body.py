"""Typed SPIR-V instructions in, appended where they best stand; the ids of their values out.

Pure instructions are numbered by value within the structured scopes that enclose them, so an index that TIR spells
out ten times is computed once; integer arithmetic worth it moves in front of the loops it does not depend on.
"""

from __future__ import annotations

from tvm_webgpu.codegen.spirv.declarations import Declarations
from tvm_webgpu.codegen.spirv.instructions import Function, Id, Instruction, Region
from tvm_webgpu.codegen.spirv.opcodes import BuiltIn, Decoration, Ext, Op, Storage

# Integer operations moved out of loops. Sums with a constant stay: they fold into the access and cost a register
# each when moved. At most HOIST_LIMIT values move to one place, for the same reason.
HOISTED = frozenset({Op.IMul, Op.SDiv, Op.UDiv, Op.ShiftRightLogical, Op.ShiftRightArithmetic, Op.ShiftLeftLogical,
                     Op.BitwiseAnd, Op.IAdd, Op.ISub})
KEEP_WITH_CONSTANT = frozenset({Op.IAdd, Op.ISub})
HOIST_LIMIT = 32
# Doubles are computed exactly, so optimisers must not reassociate or fuse them.
ROUNDED = frozenset({Op.FAdd, Op.FSub, Op.FMul, Op.FDiv, Op.FRem})


class Body(Declarations):
    """Declarations, and the function under construction."""

    def __init__(self) -> None:
        super().__init__()
        self._depth: dict[int, int] = {}
        self._definitions: dict[int, Instruction] = {}
        self.functions: list[Function] = []
        self.fn: Function = None  # type: ignore[assignment]  # set by the first `function`

    @property
    def region(self) -> Region:
        return self.fn.regions[-1]

    def raw(self, op: Op, type: Id, *operands: int) -> Id:
        """An instruction with a result that has to stand at this place."""
        result = self.new_id()
        self._append(len(self.fn.regions) - 1, Instruction(op, type, result, list(operands)))
        return result

    def effect(self, op: Op, *operands: int) -> None:
        """An instruction without result, at this place."""
        self._append(len(self.fn.regions) - 1, Instruction(op, None, None, list(operands)))

    def _append(self, depth: int, instruction: Instruction) -> None:
        self.fn.regions[depth].block.code.append(instruction)
        if instruction.result is not None and instruction.type is not None:
            self._depth[instruction.result] = depth
            self._types[instruction.result] = instruction.type
            self._definitions[instruction.result] = instruction

    def op(self, op: Op, type: Id, *operands: int) -> Id:
        """A pure instruction: the value that already stands for it, or a new one where it best stands."""
        key = (op, type, *operands)
        regions = self.fn.regions
        for region in reversed(regions):
            if key in region.values:
                return region.values[key]
        depth = len(regions) - 1
        if op in HOISTED and not (op in KEEP_WITH_CONSTANT and any(w in self._constants for w in operands)):
            depth = self._place(depth, operands)
        result = self.new_id()
        self._append(depth, Instruction(op, type, result, list(operands)))
        if op in ROUNDED and self.is_double(type):
            self.decorate(result, Decoration.NoContraction)
        regions[depth].values[key] = result
        return result

    def _place(self, depth: int, operands: tuple[int, ...]) -> int:
        """The outermost loop entry that the operands dominate."""
        lowest = max((self._depth.get(w, 0) for w in operands if isinstance(w, Id)), default=0)
        best = depth
        for d in range(depth, lowest, -1):
            region = self.fn.regions[d - 1]
            if self.fn.regions[d].loop and region.hoisted < HOIST_LIMIT:
                best = d - 1
        if best != depth:
            self.fn.regions[best].hoisted += 1
        return best

    def ext(self, op: Ext, type: Id, *operands: Id) -> Id:
        return self.op(Op.ExtInst, type, self.glsl, op, *operands)

    def opaque_float(self, bits: int) -> Id:
        """An f32 from its bits that no compiler folds: WGSL has no constants that are infinite or NaN.

        The top bit of a workgroup's index, which is never set, is what hides it.
        """
        index = self.load(self.vector(self.u32, 3), self.builtin(BuiltIn.WorkgroupId, "workgroup_id"))
        zero = self.op(Op.ShiftRightLogical, self.u32, self.op(Op.CompositeExtract, self.u32, index, 0),
                       self.constant(self.u32, 31))
        return self.op(Op.Bitcast, self.f32, self.op(Op.BitwiseOr, self.u32, zero, self.constant(self.u32, bits)))

    def definition(self, value: Id) -> tuple[Op, list[int]] | None:
        """Opcode and operands of the instruction that gives a value; None for constants."""
        made = self._definitions.get(value)
        return (made.op, made.operands) if made else None

    def load(self, type: Id, pointer: Id) -> Id:
        return self.raw(Op.Load, type, pointer)

    def store(self, pointer: Id, value: Id) -> None:
        self.effect(Op.Store, pointer, value)

    def local_variable(self, pointee: Id, name: str) -> Id:
        result = self.new_id()
        self.fn.variables.append(
            Instruction(Op.Variable, self.pointer(Storage.Function, pointee), result, [Storage.Function]))
        self._depth[result] = 0
        self.name(result, name)
        return result
