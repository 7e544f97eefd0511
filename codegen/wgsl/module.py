"""A SPIR-V module as plain data: its types, constants, variables, functions and decorations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tvm_webgpu.codegen.wgsl import grammar, types
from tvm_webgpu.codegen.wgsl.types import Type
from tvm_webgpu.errors import InvalidModuleError, UnsupportedError


@dataclass(slots=True)
class Instruction:
    """``args`` are the operands after result type and result id, less strings; ``offset`` is in words.

    ``ids`` are the operands that name values, in order. A switch has (literal, label) pairs as ``cases``.
    """

    op: str
    type: int
    id: int
    args: tuple[int, ...]
    offset: int
    ids: tuple[int, ...] = ()
    text: str = ""
    cases: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Block:
    label: int
    offset: int
    phis: list[Instruction] = field(default_factory=list)
    body: list[Instruction] = field(default_factory=list)
    merge: Instruction | None = None
    end: Instruction | None = None

    @property
    def successors(self) -> tuple[int, ...]:
        end = self.end
        assert end is not None
        match end.op:
            case "Branch":
                return (end.args[0],)
            case "BranchConditional":
                return end.args[1:3]
            case "Switch":
                return tuple(dict.fromkeys((end.args[1], *(label for _, label in end.cases))))
        return ()


@dataclass(slots=True)
class Function:
    id: int
    type: types.FunctionType
    offset: int
    params: list[Instruction] = field(default_factory=list)
    blocks: dict[int, Block] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntryPoint:
    model: int
    function: int
    name: str
    offset: int


@dataclass
class Module:
    entry_points: list[EntryPoint] = field(default_factory=list)
    modes: dict[int, list[Instruction]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    member_names: dict[tuple[int, int], str] = field(default_factory=dict)
    decorations: dict[int, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    member_decorations: dict[tuple[int, int], dict[str, tuple[int, ...]]] = field(default_factory=dict)
    imports: dict[int, str] = field(default_factory=dict)
    types: dict[int, Type] = field(default_factory=dict)
    constants: dict[int, Instruction] = field(default_factory=dict)
    variables: dict[int, Instruction] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)
    value_types: dict[int, Type] = field(default_factory=dict)  # of every result id that has a type
    wide: bool = False  # whether there are numbers of 64 bits

    def type_at(self, id: int, where: Instruction) -> Type:
        """The type with this id."""
        found = self.types.get(id)
        if found is None:
            raise invalid(where, f"%{id} is not a type defined before")
        return found

    def type_of(self, id: int, where: Instruction) -> Type:
        """The type of the value with this id."""
        found = self.value_types.get(id)
        if found is None:
            raise invalid(where, f"%{id} is not a value")
        return found

    def decoration(self, id: int, name: str) -> int | None:
        """The first operand of a decoration (0 if it has none), or None where the id is not so decorated."""
        found = self.decorations.get(id, {}).get(name)
        return None if found is None else (found[0] if found else 0)

    def member_decoration(self, struct_id: int, member: int, name: str) -> int | None:
        found = self.member_decorations.get((struct_id, member), {}).get(name)
        return None if found is None else (found[0] if found else 0)

    def constant_int(self, id: int) -> int | None:
        """The value of an integer constant as its bits (unsigned), None if it is none or may be specialised."""
        inst = self.constants.get(id)
        if inst is None or not isinstance(inst_type := self.value_types.get(id), types.Scalar):
            return None
        if inst_type.kind != "int":
            return None
        if inst.op == "Constant":
            return literal(inst, inst_type)
        return 0 if inst.op == "ConstantNull" else None


def _name(inst: Instruction) -> str:
    return grammar.NAMES.get(int(inst.op[1:]), inst.op) if inst.op.startswith("#") else inst.op


def invalid(where: Instruction, why: str) -> InvalidModuleError:
    """The error for a malformed instruction."""
    return InvalidModuleError(f"invalid SPIR-V: Op{_name(where)} at word {where.offset}: {why}")


def unsupported(where: Instruction, why: str, hint: str = "") -> UnsupportedError:
    """The error for an instruction that has no form in WGSL here: what, where, why, and what to do."""
    return UnsupportedError(f"Op{_name(where)} at word {where.offset}: {why}{'; ' + hint if hint else ''}")


def literal(inst: Instruction, type: types.Scalar) -> int:
    """A numeric constant's bits as an unsigned number of the type's width."""
    words = inst.args
    if len(words) != (2 if type.width > 32 else 1):
        raise invalid(inst, f"a literal of {type.width} bits has {len(words)} words")
    bits = words[0] | (words[1] << 32 if len(words) > 1 else 0)
    return bits & ((1 << type.width) - 1)


@contextmanager
def located(where: Instruction) -> Iterator[None]:
    """Says of what is unsupported inside that it was met at this instruction, unless it says where itself."""
    try:
        yield
    except UnsupportedError as error:
        raise at(where, error) from error


def at(where: Instruction, error: UnsupportedError) -> UnsupportedError:
    """The same error, met at this instruction unless it says where itself."""
    return error if str(error).startswith("Op") else unsupported(where, str(error))
