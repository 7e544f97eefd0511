"""Module variables in; their WGSL declarations, the places that name them, and the reflection of bindings out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from tvm_webgpu.codegen.wgsl import module, types
from tvm_webgpu.codegen.wgsl.constants import Constants
from tvm_webgpu.codegen.wgsl.declare import MAX_PARTS, Declarations
from tvm_webgpu.codegen.wgsl.interface import Binding, Options, PushConstants, PushMember
from tvm_webgpu.codegen.wgsl.layout import round_up
from tvm_webgpu.codegen.wgsl.memory import Memory, subtree
from tvm_webgpu.codegen.wgsl.module import Instruction, Module, invalid, located, unsupported
from tvm_webgpu.codegen.wgsl.names import Names
from tvm_webgpu.codegen.wgsl.place import Place, Raw

MAX_GROUPS, MAX_BINDINGS = 4, 1000  # of every WebGPU device
_BUFFERS = ("StorageBuffer", "Uniform")


class Variables:
    """Declares each variable on first use."""

    def __init__(
        self, m: Module, options: Options, declarations: Declarations, constants: Constants, memory: Memory,
        names: Names, entries: list[module.EntryPoint],
    ):  # fmt: skip
        self.module = m
        self.options = options
        self.declarations = declarations
        self.constants = constants
        self.memory = memory
        self.names = names
        self.single = len(entries) == 1
        self.lines: list[str] = []
        self.bindings: list[Binding] = []
        self.places: dict[int, Place] = {}
        self.views = self._views()  # variables that share a binding -> all that do
        self.raw = self._raw()
        self.unwrapped = self._unwrapped() - self.raw
        self._push: tuple[int, str] | None = None

    def place(self, id: int, where: Instruction) -> Place:
        """The place of a module variable."""
        if id not in self.places:
            inst = self.module.variables.get(id)
            if inst is None:
                raise invalid(where, f"%{id} is not a variable or is used before it is defined")
            with located(inst):
                self.places[id] = self._declare(inst)
        return self.places[id]

    def tokens(self, root: int) -> frozenset[object]:
        """What a load from a variable reads, as far as that can change."""
        inst = self.module.variables.get(root)
        if inst is None:
            return frozenset([root])
        if self._pointer(root).storage == "Private":
            return frozenset([root, "private"])
        return frozenset([root, "memory"]) if root in self.memory.written else frozenset()

    def check_writable(self, root: int, inst: Instruction) -> None:
        """Refuses to change memory that can only be read."""
        if root in self.module.variables:
            storage = self._pointer(root).storage
            if storage in ("Input", "PushConstant") or (storage == "Uniform" and not self._is_storage(root)):
                raise invalid(inst, f"memory of the storage class {storage} can only be read")

    def _pointer(self, id: int) -> types.Pointer:
        pointer = self.module.value_types[id]
        assert isinstance(pointer, types.Pointer)
        return pointer

    def _declare(self, inst: Instruction) -> Place:
        pointer = self._pointer(inst.id)
        if not types.sized(pointer.pointee) and not self._is_storage(inst.id):
            raise invalid(inst, "memory whose size is not known outside of storage buffers")
        match pointer.storage:
            case "Input":
                return Place("", pointer.pointee, None, inst.id)
            case "StorageBuffer" | "Uniform":
                return self._buffer(inst, pointer)
            case "PushConstant":
                return self._push_constants(inst, pointer)
            case "Workgroup" | "Private":
                return self._memory(inst, pointer)
        raise unsupported(inst, f"the storage class {pointer.storage}")

    def _memory(self, inst: Instruction, pointer: types.Pointer) -> Place:
        """A variable of the workgroup or of one invocation."""
        d, workgroup = self.declarations, pointer.storage == "Workgroup"
        d.limit_parts(pointer.pointee)
        name = self.names.make(self.module.names.get(inst.id, ""), "shared_" if workgroup else "state")
        start = ""
        if len(inst.args) > 1 and not workgroup:
            if inst.args[1] not in self.constants:
                raise unsupported(inst, "an initial value that is not a constant")
            if self.module.value_types.get(inst.args[1]) != pointer.pointee:
                raise invalid(inst, "the initial value's type differs")
            value = d.constant(inst.args[1])
            if not value.const:
                raise unsupported(inst, "an initial value of NaN or infinity")
            start = f" = {value.text}"
        tree = self.memory.trees.get(inst.id)
        self.lines.append(f"var<{pointer.storage.lower()}> {name}: {d.type(pointer.pointee, tree)}{start};\n")
        return Place(name, pointer.pointee, tree, inst.id)

    # Buffers

    def _block(self, inst: Instruction, pointer: types.Pointer) -> types.Struct:
        if isinstance(pointer.pointee, types.Array):
            raise unsupported(inst, "an array of buffers", "bind them one by one")
        if not isinstance(pointer.pointee, types.Struct):
            raise invalid(inst, "a buffer's type must be a struct")
        return pointer.pointee

    def _is_storage(self, id: int) -> bool:
        pointer = self._pointer(id)
        block = pointer.pointee
        old = isinstance(block, types.Struct) and self.module.decoration(block.id, "BufferBlock") is not None
        return pointer.storage == "StorageBuffer" or old

    def _buffer(self, inst: Instruction, pointer: types.Pointer) -> Place:
        m, d, id = self.module, self.declarations, inst.id
        group, binding = m.decoration(id, "DescriptorSet"), m.decoration(id, "Binding")
        if group is None or binding is None:
            raise unsupported(inst, "a buffer without DescriptorSet and Binding")
        if group >= MAX_GROUPS or binding >= MAX_BINDINGS:
            raise unsupported(inst, f"the binding {binding} of set {group}: WebGPU has {MAX_GROUPS} bind groups")
        block = self._block(inst, pointer)
        if id in self.raw:
            return self._raw_buffer(inst, block, (group, binding))
        if not self._is_storage(id):
            d.limit_parts(block)
        tree = self.memory.trees.get(id)
        name = self.names.make(m.names.get(id, "") or m.names.get(block.id, ""), "buffer")
        written = id in self.memory.written or tree is not None
        self._bind(id, (group, binding), name, self._type(id, block), written, d.layout.of(block)[0])
        return Place(name, block, tree, id)

    def _type(self, id: int, block: types.Struct) -> str:
        tree = self.memory.trees.get(id)
        if id in self.unwrapped:
            return self.declarations.type(block.members[0], subtree(tree, 0))
        return self.declarations.type(block, tree)

    def _bind(self, id: int, at: tuple[int, int], name: str, type: str, written: bool, size: int) -> None:
        kind: Literal["storage", "uniform"] = "storage" if self._is_storage(id) else "uniform"
        access: Literal["read", "read_write"] = "read_write" if kind == "storage" and written else "read"
        space = "storage, read_write" if access == "read_write" else kind
        self.lines.append(f"@group({at[0]}) @binding({at[1]}) var<{space}> {name}: {type};\n")
        self.bindings.append(Binding(*at, name, kind, access, size))

    def _unwrapped(self) -> set[int]:
        """Buffers whose block of one member can be that member: every use goes through it."""
        m = self.module
        found = set()
        for id in m.variables:
            pointer = self._pointer(id)
            type = pointer.pointee
            if pointer.storage not in _BUFFERS or not isinstance(type, types.Struct):
                continue
            if len(type.members) == 1 and not m.member_decoration(type.id, 0, "Offset"):
                found.add(id)
        for function in self.memory.order:
            for block in function.blocks.values():
                for inst in block.body:
                    if inst.op in ("AccessChain", "InBoundsAccessChain") and len(inst.args) > 1:
                        continue
                    if inst.op != "ArrayLength":
                        found -= set(inst.ids)
            # A pointer to a whole block that is copied or passed on.
            for made in self.memory.pointers[function.id].values():
                if not made.indices:
                    found.discard(made.root)
        return found

    # Buffers that are declared as words (see raw_memory)

    def _used(self) -> list[int]:
        return sorted(set().union(*(effects.touched for effects in self.memory.effects.values())))

    def _views(self) -> Mapping[int, list[int]]:
        """Of a module with one entry point, the used buffers that share their binding with others."""
        groups: dict[tuple[int | None, int | None], list[int]] = {}
        for id in self._used():
            if self._pointer(id).storage in _BUFFERS:
                at = self.module.decoration(id, "DescriptorSet"), self.module.decoration(id, "Binding")
                groups.setdefault(at, []).append(id)
        found = {id: same for same in groups.values() for id in same if len(same) > 1 and self.single}
        for same in found.values():
            if not self.memory.written.isdisjoint(same):
                self.memory.written.update(same)
        return found

    def _raw(self) -> set[int]:
        """The buffers whose layout WGSL can't have, and those that share their binding with another."""
        found = set(self.views)
        for id in self._used():
            pointer = self._pointer(id)
            uniform = not self._is_storage(id)
            if pointer.storage == "PushConstant":
                uniform = self.options.push_constants == "uniform"
            elif pointer.storage not in _BUFFERS:
                continue
            if isinstance(pointer.pointee, types.Struct) and self.declarations.layout.problem(pointer.pointee, uniform):
                found.add(id)
        return found

    def _raw_buffer(self, inst: Instruction, block: types.Struct, at: tuple[int, int]) -> Place:
        """A buffer as an array of words, or its other view where that is declared already."""
        m, id = self.module, inst.id
        same = self.views.get(id, [id])
        storage = self._is_storage(id)
        if any(self._is_storage(other) != storage for other in same):
            raise unsupported(inst, f"a storage and a uniform buffer at the same binding {at}")
        for other in same:
            if other in self.places:
                return replace(self.places[other], type=block, root=id)
        blocks = [self._block(m.variables[other], self._pointer(other)) for other in same]
        written = not self.memory.written.isdisjoint(same)
        atomic = any(self.memory.trees.get(other) is not None for other in same)
        atomic = storage and (atomic or (written and any(_has_pieces(b) for b in blocks)))
        name = self.names.make(m.names.get(id, "") or m.names.get(block.id, ""), "buffer")
        size = round_up(max(self.declarations.layout.extent(b) for b in blocks), 4 if storage else 16)
        self.declarations.limit(block, size)
        elem = "atomic<u32>" if atomic else "u32"
        type = f"array<{elem}>" if storage else _uniform_words(inst, size)
        self._bind(id, at, name, type, written or atomic, size)
        return Place(name, block, True if atomic else None, id, raw=Raw(not storage))

    # Push constants

    def _push_constants(self, inst: Instruction, pointer: types.Pointer) -> Place:
        d, id = self.declarations, inst.id
        if self._push is not None:
            raise unsupported(inst, "two blocks of push constants", "translate the entry points one by one")
        block = pointer.pointee
        if not isinstance(block, types.Struct):
            raise invalid(inst, "a push constant's type must be a struct")
        raw = id in self.raw
        if raw and self.options.push_constants == "immediate":
            raise unsupported(inst, f"an immediate with {d.layout.problem(block, False)}", "make it a uniform")
        name = self.names.make(self.module.names.get(id, ""), "args")
        d.limit(block, d.layout.extent(block))
        d.limit_parts(block)
        text = _uniform_words(inst, d.layout.extent(block)) if raw else self._type(id, block)
        self._push = id, f"{name}: {text};\n"
        return Place(name, block, None, id, raw=Raw(True) if raw else None)

    def push_constants(self) -> PushConstants | None:
        """Declares the push-constant block, once all else is: at the binding after the last one of group 0."""
        if self._push is None:
            return None
        m, d = self.module, self.declarations
        id, text = self._push
        block = self._pointer(id).pointee
        assert isinstance(block, types.Struct)
        binding: int | None = None
        if self.options.push_constants == "uniform":
            taken = [
                m.decoration(id, "Binding") or 0 for id in m.variables
                if m.decoration(id, "Binding") is not None and not m.decoration(id, "DescriptorSet")
            ]  # fmt: skip
            given = self.options.uniform_binding
            binding = max(taken, default=-1) + 1 if given is None else given
            self.lines.append(f"@group(0) @binding({binding}) var<uniform> {text}")
        else:
            self.lines.append(f"var<immediate> {text}")
        members = tuple(
            PushMember(name, d.type(type), m.member_decoration(block.id, i, "Offset") or 0)
            for i, (name, type) in enumerate(zip(d.members(block), block.members))
        )
        size = round_up(d.layout.extent(block), 16) if id in self.raw else d.layout.of(block)[0]
        return PushConstants(members, size, binding)


def _has_pieces(type: types.Type) -> bool:
    """Whether a type has scalars of less than a word."""
    match type:
        case types.Array(elem=elem):
            return _has_pieces(elem)
        case types.Struct(members=members):
            return any(_has_pieces(member) for member in members)
    scalar = types.scalar_of(type)
    return scalar is not None and scalar.width < 32


def _uniform_words(inst: Instruction, size: int) -> str:
    """The type of so many bytes of uniform memory addressed as words."""
    count = -(-size // 16)
    if count > MAX_PARTS:
        raise unsupported(inst, f"a uniform buffer of {size} bytes addressed as words")
    return f"array<vec4u, {count}>"
