"""SPIR-V binary in; a Module out.

The reader accepts hostile input: it allocates in proportion to the input's size, follows no cycle, and raises
InvalidModuleError for whatever is malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from tvm_webgpu.codegen.wgsl import grammar, types
from tvm_webgpu.codegen.wgsl.constants import Constants
from tvm_webgpu.codegen.wgsl.module import Block, EntryPoint, Function, Instruction, Module, invalid, unsupported
from tvm_webgpu.codegen.wgsl.types import Type
from tvm_webgpu.errors import InvalidModuleError, UnsupportedError

MAGIC = 0x07230203
MAX_BOUND = 0x3FFFFF  # universal limit, SPIR-V specification 2.17
MAX_TYPE_DEPTH = 64
MAX_ARRAY_LENGTH = 1 << 31

TERMINATORS = {
    "Branch", "BranchConditional", "Switch", "Return", "ReturnValue", "Unreachable", "Kill", "TerminateInvocation",
}  # fmt: skip
# How many of the leading ids are values, where the rest are labels.
_VALUES = {"Phi": 0, "Branch": 0, "BranchConditional": 1, "Switch": 1, "LoopMerge": 0, "SelectionMerge": 0}
_SKIPPED = {"Nop", "Line", "NoLine"}


def read(data: bytes, spec: Mapping[int, int | float | bool] | None = None) -> tuple[Module, Constants]:
    """Reads a SPIR-V binary of either byte order, with values for spec constants by SpecId.

    Raises InvalidModuleError, UnsupportedError.
    """
    module = Module()
    constants = Constants(module, spec or {})
    _Builder(module, constants).run(_instructions(data))
    return module, constants


def _instructions(data: bytes) -> Iterator[Instruction]:
    if len(data) < 20 or len(data) % 4:
        raise InvalidModuleError(f"not a SPIR-V module: {len(data)} bytes is no whole number of words with a header")
    order = "<" if struct.unpack_from("<I", data)[0] == MAGIC else ">"
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    if words[0] != MAGIC:
        raise InvalidModuleError(f"not a SPIR-V module: the magic number is {words[0]:#010x}, not {MAGIC:#010x}")
    if words[1] >> 16 != 1 or (words[1] >> 8 & 0xFF) > 6:
        raise UnsupportedError(f"SPIR-V version {words[1] >> 16}.{words[1] >> 8 & 0xFF}: 1.0 to 1.6 are read")
    bound = words[3]
    if not 0 < bound <= MAX_BOUND:
        raise InvalidModuleError(f"invalid SPIR-V: id bound {bound}")
    at = 5
    selector_width: dict[int, int] = {}  # result id -> words of one case literal, for 64-bit selectors
    wide_types: set[int] = set()
    while at < len(words):
        count, opcode = words[at] >> 16, words[at] & 0xFFFF
        if count == 0 or at + count > len(words):
            raise InvalidModuleError(f"invalid SPIR-V: the instruction at word {at} has the length {count}")
        inst = _decode(opcode, words[at + 1 : at + count], at, bound)
        if inst.op == "TypeInt" and inst.args[0] == 64:
            wide_types.add(inst.id)
        elif inst.type in wide_types:
            selector_width[inst.id] = 2
        if inst.op == "Switch":
            _split_cases(inst, selector_width.get(inst.args[0], 1), bound)
        elif inst.op == "Phi" and len(inst.args) % 2:
            raise invalid(inst, "an odd number of operands")
        yield inst
        at += count


def _split_cases(inst: Instruction, width: int, bound: int) -> None:
    rest = inst.args[2:]
    if len(rest) % (width + 1):
        raise invalid(inst, "a case without a label")
    labels, literals = rest[width :: width + 1], rest[:: width + 1]
    if width == 2:
        literals = tuple(low | high << 32 for low, high in zip(literals, rest[1::3]))
    if any(not 0 < label < bound for label in labels):
        raise invalid(inst, "a label is out of the id bound")
    inst.args, inst.cases = inst.args[:2], tuple(zip(literals, labels))


def _decode(opcode: int, words: tuple[int, ...], offset: int, bound: int) -> Instruction:
    rule = grammar.RULES.get(opcode)
    if rule is None:
        return Instruction(f"#{opcode}", 0, 0, words, offset)
    if rule.plain is not None:
        return _decode_plain(rule, rule.plain, words, offset, bound)
    inst = Instruction(rule.name, 0, 0, (), offset)
    args: list[int] = []
    ids: list[int] = []
    at = 0
    for kind, quantifier in rule.operands:
        repeat = True
        while repeat:
            repeat = quantifier == "*"
            if at >= len(words):
                if quantifier:
                    break
                raise invalid(inst, "too few operands")
            word = words[at]
            if kind == "s":
                text, used = _string(words[at:], inst)
                inst.text = inst.text or text
                at += used
                continue
            at += 1
            if kind in "tri" and not 0 < word < bound:
                raise invalid(inst, f"the id {word} is out of the bound {bound}")
            if kind == "t":
                inst.type = word
            elif kind == "r":
                inst.id = word
            else:
                args.append(word)
                if kind == "i":
                    ids.append(word)
    if at != len(words):
        raise invalid(inst, "too many operands")
    inst.args, inst.ids = tuple(args), tuple(ids[: _VALUES.get(inst.op, len(ids))])
    return inst


def _decode_plain(
    rule: grammar.Rule, plain: tuple[bool, bool, str], words: tuple[int, ...], offset: int, bound: int
) -> Instruction:
    typed, named, kinds = plain
    head, count = typed + named, len(words)
    inst = Instruction(rule.name, 0, 0, words[head:], offset)
    fixed = head + len(kinds) - rule.repeats
    if count < fixed or (count > fixed and not rule.repeats):
        raise invalid(inst, "too few operands" if count < fixed else "too many operands")
    if kinds and rule.repeats:
        kinds += kinds[-1] * (count - fixed - 1)
    ids = inst.args if "n" not in kinds else tuple(word for word, kind in zip(inst.args, kinds) if kind == "i")
    if typed:
        inst.type = words[0]
    if named:
        inst.id = words[head - 1]
    for word in (*words[:head], *ids):
        if not 0 < word < bound:
            raise invalid(inst, f"the id {word} is out of the bound {bound}")
    inst.ids = ids[: _VALUES[rule.name]] if rule.name in _VALUES else ids
    return inst


def _string(words: tuple[int, ...], inst: Instruction) -> tuple[str, int]:
    raw = struct.pack(f"<{len(words)}I", *words)
    end = raw.find(b"\0")
    if end < 0:
        raise invalid(inst, "a string without an end")
    return raw[:end].decode("utf-8", "replace"), end // 4 + 1


class _Builder:
    """Sorts the instructions of a module into its parts."""

    def __init__(self, module: Module, constants: Constants):
        self.m = module
        self.constants = constants
        self.function: Function | None = None
        self.block: Block | None = None
        self.defined: set[int] = set()

    def run(self, instructions: Iterator[Instruction]) -> None:
        for inst in instructions:
            if inst.op in _SKIPPED:
                continue
            if inst.id:
                if inst.id in self.defined:
                    raise invalid(inst, f"%{inst.id} is defined twice")
                self.defined.add(inst.id)
            if self.function is not None:
                self._in_function(inst)
            elif inst.op == "Function":
                self._function(inst)
            else:
                self._global(inst)
        if self.function is not None:
            raise InvalidModuleError("invalid SPIR-V: the last function has no OpFunctionEnd")

    def _global(self, inst: Instruction) -> None:
        m, args = self.m, inst.args
        match inst.op:
            case "Name":
                m.names[args[0]] = inst.text
            case "MemberName":
                m.member_names[args[0], args[1]] = inst.text
            case "Decorate" | "DecorateId":
                self._decorate(m.decorations.setdefault(args[0], {}), args[1], args[2:])
            case "MemberDecorate":
                self._decorate(m.member_decorations.setdefault((args[0], args[1]), {}), args[2], args[3:])
            case "GroupDecorate":
                for target in args[1:]:
                    m.decorations.setdefault(target, {}).update(m.decorations.get(args[0], {}))
            case "GroupMemberDecorate":
                for target, member in zip(args[1::2], args[2::2]):
                    m.member_decorations.setdefault((target, member), {}).update(m.decorations.get(args[0], {}))
            case "ExtInstImport":
                m.imports[inst.id] = inst.text
            case "EntryPoint":
                m.entry_points.append(EntryPoint(args[0], args[1], inst.text, inst.offset))
            case "ExecutionMode" | "ExecutionModeId":
                m.modes.setdefault(args[0], []).append(inst)
            case "MemoryModel":
                if args[0] != 0:
                    raise unsupported(inst, "the addressing model has pointers as numbers", "use Logical addressing")
            case "Variable":
                self._typed(inst)
                pointer = m.value_types[inst.id]
                if not isinstance(pointer, types.Pointer):
                    raise invalid(inst, "the type is not a pointer")
                if pointer.storage != grammar.STORAGE_CLASSES.get(args[0]):
                    raise invalid(inst, "the storage class differs from the type's")
                m.variables[inst.id] = inst
            case "Undef":
                self._typed(inst)
                m.constants[inst.id] = Instruction("ConstantNull", inst.type, inst.id, (), inst.offset)
                self.constants.add(m.constants[inst.id])
            case op if op.startswith("Type"):
                self._type(inst)
            case op if op.startswith(("Constant", "SpecConstant")):
                self._typed(inst)
                for id in inst.ids:
                    if id not in m.constants:
                        raise invalid(inst, f"%{id} is not a constant defined before")
                m.constants[inst.id] = inst
                self.constants.add(inst)

    def _is_comment(self, inst: Instruction) -> bool:
        """Whether an instruction says nothing about what the module does, and so may stand anywhere."""
        return inst.op == "ExtInst" and self.m.imports.get(inst.args[0], "").startswith("NonSemantic.")

    def _decorate(self, target: dict[str, tuple[int, ...]], number: int, operands: tuple[int, ...]) -> None:
        name = grammar.DECORATIONS.get(number)
        if name is not None:
            target[name] = operands

    def _typed(self, inst: Instruction) -> None:
        type = self.m.type_at(inst.type, inst)
        if not types.sized(type):
            raise invalid(inst, "a value whose size is not known")
        self.m.value_types[inst.id] = type

    def _type(self, inst: Instruction) -> None:
        m, args = self.m, inst.args
        at = lambda id: m.type_at(id, inst)  # noqa: E731
        made: Type
        match inst.op:
            case "TypeVoid":
                made = types.Void()
            case "TypeBool":
                made = types.BOOL
            case "TypeInt":
                if args[0] not in (8, 16, 32, 64):
                    raise invalid(inst, f"{args[0]} bits")
                made = types.Scalar("int", args[0], bool(args[1]))
                m.wide = m.wide or args[0] == 64
            case "TypeFloat":
                if args[0] not in (16, 32, 64) or len(args) > 1:
                    raise unsupported(inst, "only IEEE floats of 16, 32 and 64 bits are known")
                made = types.Scalar("float", args[0])
                m.wide = m.wide or args[0] == 64
            case "TypeVector":
                elem = at(args[0])
                if not isinstance(elem, types.Scalar) or not 2 <= args[1] <= 16:
                    raise invalid(inst, "the component type or count is wrong")
                if args[1] > 4:
                    raise unsupported(inst, f"a vector of {args[1]} components", "WGSL has vectors of 2, 3 and 4")
                made = types.Vector(elem, args[1])
            case "TypeMatrix":
                column = at(args[0])
                if not isinstance(column, types.Vector) or column.elem.kind != "float" or not 2 <= args[1] <= 4:
                    raise invalid(inst, "the column type or count is wrong")
                made = types.Matrix(column, args[1])
            case "TypeArray" | "TypeRuntimeArray":
                elem, length, length_id = at(args[0]), None, 0
                if inst.op == "TypeArray":
                    length_id = args[1]
                    length = self._length(inst, length_id)
                if not types.sized(elem):
                    raise invalid(inst, "elements whose size is not known")
                made = types.Array(elem, length, length_id, m.decoration(inst.id, "ArrayStride"), elem.depth + 1)
            case "TypeStruct":
                members = tuple(at(id) for id in args)
                inner = [type for type in members if isinstance(type, types.Struct)]
                if not all(map(types.sized, (*members[:-1], *inner))):
                    raise invalid(inst, "a runtime array that is not the last member of a buffer's block")
                made = types.Struct(inst.id, members, 1 + max((t.depth for t in members), default=0))
            case "TypePointer":
                pointee = at(args[1])
                storage = grammar.STORAGE_CLASSES.get(args[0], f"StorageClass{args[0]}")
                made = types.Pointer(storage, pointee, pointee.depth + 1)
            case "TypeCooperativeMatrixKHR":
                made = self._subgroup_matrix(inst)
            case "TypeFunction":
                made = types.FunctionType(at(args[0]), tuple(at(id) for id in args[1:]), 1)
            case _:
                made = types.Opaque(inst.op)
        if made.depth > MAX_TYPE_DEPTH:
            raise unsupported(inst, f"types nested deeper than {MAX_TYPE_DEPTH}")
        m.types[inst.id] = made

    def _subgroup_matrix(self, inst: Instruction) -> types.SubgroupMatrix:
        elem = self.m.type_at(inst.args[0], inst)
        scope, rows, columns, use = (self.m.constant_int(id) for id in inst.args[1:])
        if not isinstance(elem, types.Scalar) or scope is None or rows is None or columns is None or use is None:
            raise unsupported(inst, "a component that is no number, or a size, scope or use that is no plain constant")
        if scope != 3 or use > 2 or not 0 < rows <= 256 or not 0 < columns <= 256:
            raise unsupported(inst, f"the scope {scope} (only Subgroup is known), the use {use} or {rows} x {columns}")
        return types.SubgroupMatrix(elem, rows, columns, use)

    def _length(self, inst: Instruction, id: int) -> int:
        length = self.constants.integer(id)
        if length is None:
            raise invalid(inst, f"the length %{id} is not an integer constant")
        if not 0 < length <= MAX_ARRAY_LENGTH:
            raise invalid(inst, f"an array of {length} elements")
        return length

    def _function(self, inst: Instruction) -> None:
        type = self.m.type_at(inst.args[1], inst)
        if not isinstance(type, types.FunctionType):
            raise invalid(inst, f"%{inst.args[1]} is not a function type")
        self.function = Function(inst.id, type, inst.offset)
        self.m.functions[inst.id] = self.function

    def _in_function(self, inst: Instruction) -> None:
        function, block = self.function, self.block
        assert function is not None
        if self._is_comment(inst):
            return
        if inst.type:
            self._typed(inst)
        if block is None:
            if inst.op == "FunctionParameter" and not function.blocks:
                function.params.append(inst)
            elif inst.op == "Label":
                self.block = function.blocks[inst.id] = Block(inst.id, inst.offset)
            elif inst.op == "FunctionEnd":
                if len(function.params) != len(function.type.params):
                    raise invalid(inst, "the number of parameters differs from the function's type")
                self.function = None
            else:
                raise invalid(inst, "outside of a block")
            return
        if inst.op in TERMINATORS:
            block.end = inst
            self.block = None
        elif inst.op in ("LoopMerge", "SelectionMerge"):
            block.merge = inst
        elif inst.op == "Phi":
            if block.body:
                raise invalid(inst, "after another instruction of its block")
            block.phis.append(inst)
        elif inst.op in ("Label", "Function", "FunctionEnd"):
            raise invalid(inst, "a block without a terminator")
        else:
            block.body.append(inst)
