"""How the instructions of a subgroup are written: reductions, scans, votes, shuffles and matrices held together.

Their results read ``SUBGROUP``, so that none ends behind a short circuit, where fewer invocations take part.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_webgpu.codegen.wgsl import check, expr, types
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.memory_instructions import MemoryInstructions
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.operators import GROUP_ROWS, SUBGROUP_ROWS, Row
from tvm_webgpu.codegen.wgsl.place import Place
from tvm_webgpu.codegen.wgsl.types import Type

_LAYOUTS = ("row_major", "col_major")  # CooperativeMatrixLayout
_SIGNS = 0xF  # of CooperativeMatrixOperands: which operands are signed; the component types say so already
_Shape = tuple[str, Expr]  # layout, stride in elements
SUBGROUP = frozenset(["subgroup"])
_QUAD, _LANES = 4, 128  # what constants for lanes must be below
_QUADS = ("quadSwapX", "quadSwapY", "quadSwapDiagonal")


class SubgroupInstructions(MemoryInstructions):
    """Writes the instructions that invocations of a subgroup run together."""

    def together(self, inst: Instruction, made: Expr, tokens: frozenset[object] = frozenset()) -> None:
        """Gives a result that the subgroup computes together, reading ``tokens``."""
        self.define(inst, replace(made, reads=made.reads | tokens | SUBGROUP))

    def subgroup(self, inst: Instruction) -> bool:
        """Writes an instruction of the tables; False for any other."""
        name = inst.op.removeprefix("GroupNonUniform")
        row = SUBGROUP_ROWS.get(inst.op)
        ids = inst.ids[1:] if name != inst.op else inst.ids
        if row is None and name != inst.op and name in GROUP_ROWS:
            *forms, letter = GROUP_ROWS[name]
            operation = inst.args[1]
            if operation > 2 or not forms[operation]:
                raise unsupported(inst, "WGSL has no such scan or clustered reduction of a subgroup")
            row, ids = Row(f"{forms[operation]}()", letter, letter if letter in "su" else "r"), inst.ids[1:2]
        if inst.op in check.GROUP_RULES:
            self.check(inst, check.GROUP_RULES[inst.op], ids)
        if row is None:
            return False
        if len(ids) == 2:
            row = self._lane_row(inst, name, row, self.t.constants.integer(ids[1]))
        self.together(inst, self.apply(inst, row, ids))
        return True

    def _lane_row(self, inst: Instruction, name: str, row: Row, lane: int | None) -> Row:
        """The row for a lane, or a distance to one: WGSL bounds those that are constants, and wants some to be."""
        most = _QUAD if name == "QuadBroadcast" else _LANES
        if lane is None and name == "Broadcast":
            return SUBGROUP_ROWS["GroupNonUniformShuffle"]
        if lane is None and name == "QuadBroadcast":
            raise unsupported(inst, "a lane of a quad that is no constant")
        if lane is not None and lane >= most:
            raise unsupported(inst, f"the lane or distance {lane}: WGSL takes constants below {most}")
        return row

    def op_GroupNonUniformQuadSwap(self, inst: Instruction) -> None:
        direction = self.t.constants.integer(inst.args[2])
        if direction is None or direction > 2:
            raise invalid(inst, "the direction must be a constant 0, 1 or 2")
        self.together(inst, self.apply(inst, Row(f"{_QUADS[direction]}()"), inst.args[1:2]))

    def op_GroupNonUniformAllEqual(self, inst: Instruction) -> None:
        value, type = self.typed(inst.ids[-1], inst)
        value = self.single(value)
        equal = expr.binary("==", value, expr.call("subgroupBroadcastFirst", value))
        if isinstance(type, types.Vector):
            equal = expr.call("all", equal)
        self.together(inst, expr.call("subgroupAll", equal))

    op_SubgroupAllEqualKHR = op_GroupNonUniformAllEqual

    def op_GroupNonUniformBallotBitCount(self, inst: Instruction) -> None:
        value = self.operand(inst.args[2], inst)
        if inst.args[1] != 0:
            raise unsupported(inst, "only the count over a whole ballot has a form in WGSL")
        total = f"dot(countOneBits({value.text}), vec4u(1u))"
        self.define(inst, self.cast(Expr(total), types.U32, self.result_type(inst)))

    def op_GroupNonUniformBallotBitExtract(self, inst: Instruction) -> None:
        value = self.operand(inst.args[1], inst)
        lane = self.single(self.unsigned(*self.typed(inst.args[2], inst)))
        known = self.t.constants.integer(inst.args[2])
        if known is None or known >= _LANES:
            lane = self.vary(lane)  # past the ballot's end is undefined in SPIR-V but an error in WGSL
        made = expr.fill("(($0[$1 >> 5u] >> ($1 & 31u)) & 1u)", (self.single(value), lane))
        self.define(inst, expr.binary("!=", made, Expr("0u")))

    def op_GroupNonUniformBallotFindLSB(self, inst: Instruction) -> None:
        self._find_lane(inst, "firstTrailingBit", "xyzw")

    def op_GroupNonUniformBallotFindMSB(self, inst: Instruction) -> None:
        self._find_lane(inst, "firstLeadingBit", "wzyx")

    def _find_lane(self, inst: Instruction, call: str, words: str) -> None:
        """The first word with a bit, in the order of ``words``, and the bit's place in it."""
        value = self.single(self.operand(inst.args[1], inst))
        text = ""
        for word in reversed(words):
            found = f"{call}({value.text}.{word}) + {'xyzw'.index(word) * 32}u"
            text = f"select({text}, {found}, {value.text}.{word} != 0u)" if text else found
        self.define(inst, self.cast(Expr(text, expr.ADD), types.U32, self.result_type(inst)))

    def op_GroupNonUniformLogicalXor(self, inst: Instruction) -> None:
        value = self.operand(inst.ids[1], inst)
        if inst.args[1] != 0 or self.result_type(inst) != types.BOOL:
            raise unsupported(inst, "only the reduction of scalars has a form in WGSL")
        self.together(inst, expr.fill("((subgroupAdd(u32($0)) & 1u) != 0u)", (value,)))

    # Matrices

    def _memory(self, inst: Instruction, pointer: int, rest: tuple[int, ...], type: Type) -> tuple[Place, Expr, _Shape]:
        """(array, offset in elements, layout and stride) that a load or store of a matrix names."""
        if not isinstance(type, types.SubgroupMatrix):
            raise invalid(inst, "the type is no subgroup matrix")
        layout = self.t.constants.integer(rest[0])
        if layout is None or layout >= len(_LAYOUTS) or len(rest) < 2:
            raise unsupported(inst, "a layout that is not the constant RowMajor or ColumnMajor, or no stride")
        found = self.pointers.get(pointer)
        if found is None or not found.indices:
            raise unsupported(inst, "a pointer that is not an access chain to an array's element")
        array = self.place(pointer, inst, found.indices[:-1])
        element = array.type.elem if isinstance(array.type, types.Array) else None
        component, count = (element.elem, element.count) if isinstance(element, types.Vector) else (element, 1)
        if component not in (type.elem, types.U32) or array.raw is not None:
            raise unsupported(inst, f"a matrix in {describe(array.type)}", "use an array of its components or of words")
        row = (type.rows if layout else type.columns) * type.elem.width // (component.width * count)
        known = self.t.constants.integer(rest[1])
        if known is not None and known < row:
            raise unsupported(inst, f"the stride {known}: rows of {row} elements that overlap")
        offset, stride = (self.index(id, inst, True) for id in (found.indices[-1], rest[1]))
        return array, offset, (_LAYOUTS[layout], stride)

    def op_CooperativeMatrixLoadKHR(self, inst: Instruction) -> None:
        type = self.result_type(inst)
        array, offset, (layout, stride) = self._memory(inst, inst.args[0], inst.args[1:], type)
        name = f"subgroupMatrixLoad<{self.d.type(type)}, {layout}>"
        made = expr.call(name, Expr(f"&{array.text}", reads=array.reads), offset, stride)
        self.together(inst, made, self.t.variables.tokens(array.root))

    def op_CooperativeMatrixStoreKHR(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[1], inst)
        array, offset, (layout, stride) = self._memory(inst, inst.args[0], inst.args[2:], type)
        self.t.variables.check_writable(array.root, inst)
        self.flush_reading(self.t.variables.tokens(array.root) | {array.root})
        self.emit(f"subgroupMatrixStore<{layout}>(&{array.text}, {offset.text}, {value.text}, {stride.text});")

    def op_CooperativeMatrixMulAddKHR(self, inst: Instruction) -> None:
        if len(inst.args) > 3 and inst.args[3] & ~_SIGNS:
            raise unsupported(inst, "a product that saturates")
        operands = [self.typed(id, inst) for id in inst.args[:3]]
        if not all(isinstance(t, types.SubgroupMatrix) and t.use == i for i, (_, t) in enumerate(operands)):
            raise invalid(inst, "the operands must be matrices of the uses A, B and Accumulator")
        a, b, total = (t for _, t in operands if isinstance(t, types.SubgroupMatrix))
        if total != self.result_type(inst) or (a.rows, a.columns, b.columns) != (total.rows, b.rows, total.columns):
            raise invalid(inst, "the result's type differs from the accumulator's, or the shapes do not fit")
        self.together(inst, expr.call("subgroupMatrixMultiplyAccumulate", *(v for v, _ in operands)))
