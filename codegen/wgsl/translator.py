"""A SPIR-V compute module in; a Shader, WGSL text with the reflection of its interface, out."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_webgpu.codegen.wgsl import expr, module, types
from tvm_webgpu.codegen.wgsl.constants import Constants
from tvm_webgpu.codegen.wgsl.declare import Declarations
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.function import FunctionWriter
from tvm_webgpu.codegen.wgsl.grammar import BUILTINS
from tvm_webgpu.codegen.wgsl.interface import Binding, EntryPoint, Options, PushConstants, PushMember, Shader
from tvm_webgpu.codegen.wgsl.memory import Memory, subtree
from tvm_webgpu.codegen.wgsl.memory_instructions import MemoryInstructions
from tvm_webgpu.codegen.wgsl.module import Function, Instruction, Module, invalid, unsupported
from tvm_webgpu.codegen.wgsl.names import Names
from tvm_webgpu.codegen.wgsl.state import Argument, ParameterBinding, Place
from tvm_webgpu.errors import InvalidModuleError, TvmWebgpuError, UnsupportedError

GL_COMPUTE = 5
LOCAL_SIZE, LOCAL_SIZE_ID = 17, 38
MAX_OUTPUT = 16 << 20  # characters
MAX_INSTANCES = 4096  # of functions, one per combination of pointer arguments

# SPIR-V builtin -> (WGSL builtin, its type, a short name)
_INPUTS = {
    "NumWorkgroups": ("num_workgroups", "vec3u", "num_workgroups"),
    "WorkgroupId": ("workgroup_id", "vec3u", "workgroup_id"),
    "LocalInvocationId": ("local_invocation_id", "vec3u", "local_id"),
    "GlobalInvocationId": ("global_invocation_id", "vec3u", "global_id"),
    "LocalInvocationIndex": ("local_invocation_index", "u32", "local_index"),
    "SubgroupSize": ("subgroup_size", "u32", "subgroup_size"),
    "SubgroupLocalInvocationId": ("subgroup_invocation_id", "u32", "subgroup_lane"),
    "SubgroupId": ("subgroup_id", "u32", "subgroup_id"),
    "NumSubgroups": ("num_subgroups", "u32", "num_subgroups"),
}


# WebGPU feature -> (the extension's name in WGSL, the uniformity analysis that it brings)
_ENABLES = (
    ("shader-f16", "f16", ""),
    ("subgroups", "subgroups", "subgroup_uniformity"),
    ("chromium-experimental-subgroup-matrix", "chromium_experimental_subgroup_matrix",
     "chromium.subgroup_matrix_uniformity"),
)  # fmt: skip


def translate(spirv: bytes, options: Options | None = None) -> Shader:
    """Translates the compute entry points of a SPIR-V module (1.0 to 1.6) to WGSL.

    Raises UnsupportedError, which names the instruction, its offset in words and the reason, for what WGSL can't
    express, and InvalidModuleError for a malformed module. The same input gives the same text.
    """
    try:
        return Translator(module.read(spirv), options or Options()).run()
    except TvmWebgpuError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RecursionError) as error:
        # spirv-val's many rules are not checked here one by one; a module that breaks one must still end in an error.
        raise InvalidModuleError(f"invalid SPIR-V, run spirv-val on it ({type(error).__name__}: {error})") from error


class Translator:
    """The state of one translation: declarations, variables and function instances, each made on demand."""

    def __init__(self, m: Module, options: Options):
        self.module = m
        self.options = options
        self.names = Names()
        self.constants = Constants(m, options.spec_constants)
        self.declarations = Declarations(m, self.constants, self.names)
        self.entries = self._entries()
        self.memory = Memory(m, [m.functions[e.function] for e in self.entries])
        self.roots: dict[int, Place] = {}
        self.globals: list[str] = []
        self.bindings: list[Binding] = []
        self.push: PushConstants | None = None
        self.push_id = 0
        self.push_text = ""
        self.unwrapped = self._unwrapped()
        self.instances: dict[tuple[int, ParameterBinding], str] = {}
        self.texts: list[str] = []
        self.size = 0
        self.features: set[str] = set()
        self.inputs: dict[int, str] = {}  # input variable -> name of the entry's parameter
        self.shared_inputs: dict[int, str] = {}  # input variable that helpers read -> private variable
        self.entry_names: dict[int, str] = {}

    def run(self) -> Shader:
        for entry in self.entries:
            self.entry_names[entry.function] = self.names.make(entry.name, "main")
        made = [self._entry(entry) for entry in self.entries]
        self._features()
        parts = [*self._enables(), *self.declarations.lines, *self.globals, *self.texts]
        return Shader(
            "".join(parts),
            tuple(made),
            tuple(sorted(self.bindings, key=lambda b: (b.group, b.binding))),
            self.push,
            frozenset(self.features),
        )

    def count(self, size: int) -> None:
        """Bounds the output: repeated blocks and function instances could make it explode."""
        self.size += size
        if self.size > MAX_OUTPUT:
            raise UnsupportedError(f"the WGSL would be longer than {MAX_OUTPUT >> 20} MiB")

    # Entry points

    def _entries(self) -> list[module.EntryPoint]:
        m, wanted = self.module, self.options.entry_point
        found = [e for e in m.entry_points if e.model == GL_COMPUTE and wanted in (None, e.name)]
        if not found:
            names = ", ".join(e.name for e in m.entry_points if e.model == GL_COMPUTE) or "none"
            raise UnsupportedError(
                f"no compute entry point{f' {wanted!r}' if wanted else ''} in the module; it has: {names}"
            )
        unique: dict[int, module.EntryPoint] = {}
        for entry in found:
            if entry.function not in m.functions:
                raise InvalidModuleError(f"invalid SPIR-V: OpEntryPoint at word {entry.offset} names no function")
            unique.setdefault(entry.function, entry)
        return list(unique.values())

    def _workgroup_size(self, entry: module.EntryPoint) -> tuple[int, int, int]:
        m = self.module
        for id in m.constants:
            if m.decoration(id, "BuiltIn") == 25:
                inst = m.constants[id]
                value = self.constants.value(id)
                if isinstance(value, tuple) and len(value) == 3:
                    x, y, z = (v if isinstance(v, int) else 0 for v in value)
                    return self._checked(inst, (x, y, z))
        for mode in m.modes.get(entry.function, ()):
            if mode.args[1] == LOCAL_SIZE and len(mode.args) == 5:
                return self._checked(mode, (mode.args[2], mode.args[3], mode.args[4]))
            if mode.args[1] == LOCAL_SIZE_ID and len(mode.args) == 5:
                x, y, z = (self.constants.integer(id) or 0 for id in mode.args[2:])
                return self._checked(mode, (x, y, z))
        raise InvalidModuleError(f"invalid SPIR-V: the entry point {entry.name!r} has no workgroup size")

    def _checked(self, where: Instruction, size: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(size):
            raise invalid(where, f"the workgroup size {size}")
        return size

    def _entry(self, entry: module.EntryPoint) -> EntryPoint:
        m = self.module
        function = m.functions[entry.function]
        if function.params or not isinstance(function.type.result, types.Void):
            raise invalid(Instruction("EntryPoint", 0, 0, (), entry.offset), "the function takes or gives values")
        size = self._workgroup_size(entry)
        self.inputs, self.shared_inputs = {}, {}
        effects = self.memory.effects[function.id]
        direct = self._inputs_of(function)
        for id in sorted(effects.touched):
            if m.variables[id].args[0] == 1 and id not in direct:
                self._share_input(id)
        for other in self.memory.order:
            if other is not function:
                for id in self._inputs_of(other) & effects.touched:
                    self._share_input(id)
        name = self.entry_names[entry.function]
        writer = FunctionWriter(self, function, (), name, entry=True)
        text = writer.run()
        attribute = ", ".join(str(n) for n in size[: 3 if size[2] > 1 else 2 if size[1] > 1 else 1])
        self.texts.append(f"@compute @workgroup_size({attribute})\n{text}")
        return EntryPoint(entry.name, name, size)

    def _inputs_of(self, function: Function) -> set[int]:
        m, pointers = self.module, self.memory.pointers[function.id]
        found = set()
        for block in function.blocks.values():
            for inst in block.body:
                for id in inst.ids:
                    root = pointers[id].root if id in pointers else id
                    if root in m.variables and m.variables[root].args[0] == 1:
                        found.add(root)
        return found

    def _share_input(self, id: int) -> None:
        if id not in self.shared_inputs:
            _, type, short = self._input(id)
            name = self.names.make(self._input_name(id, short))
            self.shared_inputs[id] = name
            self.globals.append(f"var<private> {name}: {type};\n")

    def _input_name(self, id: int, short: str) -> str:
        name = self.module.names.get(id, "")
        return short if not name or len(name) > 2 * len(short) or name.startswith("gl_") else name

    def _input(self, id: int) -> tuple[str, str, str]:
        inst = self.module.variables[id]
        number = self.module.decoration(id, "BuiltIn")
        found = _INPUTS.get(BUILTINS.get(number if number is not None else -1, ""))
        if found is None:
            raise unsupported(inst, f"an input that is no builtin of compute shaders (BuiltIn {number})")
        if found[0].startswith("subgroup") or found[0] == "num_subgroups":
            self.features.add("subgroups")
        return found

    def entry_parameters(self, writer: FunctionWriter) -> str:
        """The builtins that the entry's text uses, as its parameters; helpers' are copied to private variables."""
        found = []
        start = []
        for id, name in self.inputs.items():
            builtin, type, _ = self._input(id)
            found.append(f"@builtin({builtin}) {name}: {type}")
        for id, private in self.shared_inputs.items():
            builtin, type, short = self._input(id)
            if id not in self.inputs:
                name = writer.names.make(short)
                found.append(f"@builtin({builtin}) {name}: {type}")
                start.append(f"  {private} = {name};")
            else:
                start.append(f"  {private} = {self.inputs[id]};")
        writer.lines[:0] = start
        return ", ".join(found)

    def builtin_value(self, writer: MemoryInstructions, place: Place, inst: Instruction) -> Expr | None:
        """The value of a load from an input variable, None for other places."""
        if place.root not in self.module.variables or self.module.variables[place.root].args[0] != 1:
            return None
        short = self._input(place.root)[2]
        if writer.entry:
            if place.root not in self.inputs:
                self.inputs[place.root] = writer.names.make(self._input_name(place.root, short))
            name = self.inputs[place.root]
        else:
            name = self.shared_inputs[place.root]
        made = Expr(name + place.text)
        signed = types.scalar_of(place.type)
        if signed == types.I32:
            unsigned = types.with_scalar(place.type, types.U32)
            return writer.cast(made, unsigned, place.type)
        return made

    # Variables

    def root_place(self, id: int, where: Instruction) -> Place:
        """The place of a module variable, declared on first use."""
        if id not in self.roots:
            inst = self.module.variables.get(id)
            if inst is None:
                raise invalid(where, f"%{id} is not a variable or is used before it is defined")
            self.roots[id] = self._declare(inst)
        return self.roots[id]

    def _declare(self, inst: Instruction) -> Place:
        m, d, id = self.module, self.declarations, inst.id
        pointer = m.value_types[id]
        assert isinstance(pointer, types.Pointer)
        type, tree = pointer.pointee, self.memory.trees.get(id)
        if pointer.storage == "Input":
            self._input(id)
            return Place("", type, None, id)
        wanted = m.names.get(id, "")
        match pointer.storage:
            case "StorageBuffer" | "Uniform":
                return self._buffer(inst, pointer)
            case "PushConstant":
                self.push_id = id
                name = self.names.make(wanted, "args")
                # Its binding is known once all others are; see _declare_push.
                inner = self._variable_type(id, type)
                self.push_text = f"{name}: {inner};\n"
                return Place(name, type, None, id)
            case "Workgroup" | "Private":
                name = self.names.make(wanted, "shared_" if pointer.storage == "Workgroup" else "state")
                start = ""
                if len(inst.args) > 1:
                    if inst.args[1] not in self.constants:
                        raise unsupported(inst, "an initial value that is not a constant")
                    value = d.constant(inst.args[1])
                    if pointer.storage == "Private":
                        start = f" = {value.text}"
                        if not value.const:
                            raise unsupported(inst, "an initial value of NaN or infinity")
                space = pointer.storage.lower()
                self.globals.append(f"var<{space}> {name}: {d.type(type, tree)}{start};\n")
                return Place(name, type, tree, id)
        raise unsupported(inst, f"the storage class {pointer.storage}")

    def _variable_type(self, id: int, type: types.Type) -> str:
        tree = self.memory.trees.get(id)
        if id in self.unwrapped:
            assert isinstance(type, types.Struct)
            return self.declarations.type(type.members[0], subtree(tree, 0))
        return self.declarations.type(type, tree)

    def _buffer(self, inst: Instruction, pointer: types.Pointer) -> Place:
        m, d, id = self.module, self.declarations, inst.id
        group, binding = m.decoration(id, "DescriptorSet"), m.decoration(id, "Binding")
        if group is None or binding is None:
            raise unsupported(inst, "a buffer without DescriptorSet and Binding")
        type = pointer.pointee
        block = type.elem if isinstance(type, types.Array) else type
        if not isinstance(block, types.Struct):
            raise invalid(inst, "a buffer's type must be a struct")
        if isinstance(type, types.Array):
            raise unsupported(inst, "an array of buffers", "bind them one by one")
        if any(b.group == group and b.binding == binding for b in self.bindings) and len(self.entries) == 1:
            raise unsupported(inst, f"two buffers at the same binding ({group}, {binding})", "merge them")
        storage = pointer.storage == "StorageBuffer" or m.decoration(block.id, "BufferBlock") is not None
        written = storage and (id in self.memory.written or self.memory.trees.get(id) is not None)
        name = self.names.make(m.names.get(id, "") or m.names.get(block.id, ""), "buffer")
        inner = self._variable_type(id, type)
        space = "uniform" if not storage else "storage, read_write" if written else "storage"
        self.globals.append(f"@group({group}) @binding({binding}) var<{space}> {name}: {inner};\n")
        self.bindings.append(
            Binding(
                group, binding, name, "storage" if storage else "uniform", "read_write" if written else "read",
                d.layout(type)[0],
            )
        )  # fmt: skip
        return Place(name, type, self.memory.trees.get(id), id)

    def _declare_push(self) -> None:
        """The push-constant block at the binding after the last one of group 0 that the module declares."""
        if not self.push_id:
            return
        m, d = self.module, self.declarations
        pointer = m.value_types[self.push_id]
        assert isinstance(pointer, types.Pointer)
        struct = pointer.pointee
        if not isinstance(struct, types.Struct):
            raise invalid(m.variables[self.push_id], "a push constant's type must be a struct")
        binding: int | None = None
        if self.options.push_constants == "uniform":
            taken = [
                m.decoration(id, "Binding") or 0 for id in m.variables
                if m.decoration(id, "Binding") is not None and not m.decoration(id, "DescriptorSet")
            ]  # fmt: skip
            binding = max(taken, default=-1) + 1
            self.globals.append(f"@group(0) @binding({binding}) var<uniform> {self.push_text}")
        else:
            self.globals.append(f"var<immediate> {self.push_text}")
        members = tuple(
            PushMember(name, d.type(type), m.member_decoration(struct.id, i, "Offset") or 0)
            for i, (name, type) in enumerate(zip(d.members(struct), struct.members))
        )
        self.push = PushConstants(members, d.layout(struct)[0], binding)

    def _unwrapped(self) -> set[int]:
        """Buffers whose block of one member can be that member: every use goes through it."""
        m = self.module
        found = set()
        for id in m.variables:
            pointer = m.value_types[id]
            assert isinstance(pointer, types.Pointer)
            type = pointer.pointee
            if pointer.storage not in ("StorageBuffer", "Uniform") or not isinstance(type, types.Struct):
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

    def tokens(self, root: int) -> frozenset[object]:
        """What a load from a variable reads, as far as that can change."""
        inst = self.module.variables.get(root)
        if inst is None:
            return frozenset([root])
        pointer = self.module.value_types[root]
        assert isinstance(pointer, types.Pointer)
        if pointer.storage == "Private":
            return frozenset([root, "private"])
        if root in self.memory.written:
            return frozenset([root, "memory"])
        return frozenset()

    # Functions

    def call(self, writer: MemoryInstructions, inst: Instruction) -> tuple[str, list[str]]:
        """The name of the callee's instance for these arguments, and the arguments' texts."""
        m = self.module
        callee = m.functions[inst.args[0]]
        binding: list[Argument | None] = []
        texts: list[str] = []
        for param, id in zip(callee.params, inst.args[1:]):
            type = m.type_of(param.id, param)
            if m.type_of(id, inst) != type and not isinstance(type, types.Pointer):
                raise invalid(inst, "an argument's type differs from the parameter's")
            if not isinstance(type, types.Pointer):
                texts.append(writer.operand(id, inst).text)
                binding.append(None)
            elif type.storage == "Function":
                place = writer.place(id, inst)
                texts.append(place.text.removeprefix("*") if place.prec == expr.UNARY else f"&{place.text}")
                binding.append(None)
            else:
                argument, indices = self._argument(writer, id, inst)
                binding.append(argument)
                texts += indices
        return self._instance(callee, tuple(binding), inst), texts

    def _argument(self, writer: MemoryInstructions, id: int, inst: Instruction) -> tuple[Argument, list[str]]:
        """A pointer to module memory as the variable and steps it names, and the texts of its run-time indices."""
        pointer = self.memory.pointers[writer.function.id].get(id)
        root, indices = (pointer.root, pointer.indices) if pointer else (id, ())
        steps: list[int | None] = []
        texts: list[str] = []
        if root not in self.module.variables:
            bound = writer.bound.get(root)
            if bound is None:
                raise unsupported(inst, "a pointer of unknown origin")
            root, (steps, texts) = bound[0].root, (list(bound[0].steps), list(bound[1]))
        for index in indices:
            step = self.constants.integer(index)
            steps.append(step)
            if step is None:
                value, type = writer.typed(index, inst)
                texts.append(writer.cast(value, type, types.U32).text)
        return Argument(root, tuple(steps)), texts

    def _instance(self, callee: Function, binding: ParameterBinding, inst: Instruction) -> str:
        key = (callee.id, binding)
        if key not in self.instances:
            if len(self.instances) >= MAX_INSTANCES:
                raise unsupported(inst, f"more than {MAX_INSTANCES} combinations of pointer arguments")
            name = self.names.make(self.module.names.get(callee.id, ""), "f")
            self.instances[key] = name
            text = FunctionWriter(self, callee, binding, name, entry=False).run()
            self.texts.append(text)
        return self.instances[key]

    # Features

    def _features(self) -> None:
        self._declare_push()
        if self.declarations.f16:
            self.features.add("shader-f16")
        if any("subgroup" in text or "quadSwap" in text or "quadBroadcast" in text for text in self.texts):
            self.features.add("subgroups")
        if self.declarations.subgroup_matrix:
            self.features |= {"subgroups", "chromium-experimental-subgroup-matrix"}

    def _enables(self) -> Iterator[str]:
        for feature, name, _ in _ENABLES:
            if feature in self.features:
                yield f"enable {name};\n"
        # SPIR-V asks for uniform control flow too, but no reader has to prove it.
        for feature, _, uniformity in _ENABLES:
            if feature in self.features and uniformity:
                yield f"diagnostic(off, {uniformity});\n"

