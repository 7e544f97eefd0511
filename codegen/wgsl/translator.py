"""A SPIR-V compute module in; a Shader, WGSL text with the reflection of its interface, out."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_webgpu.codegen.wgsl import expr, module, reader, types, uniformity
from tvm_webgpu.codegen.wgsl.constants import Constants
from tvm_webgpu.codegen.wgsl.declare import Declarations
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.function import FunctionWriter, NoHead
from tvm_webgpu.codegen.wgsl.grammar import BUILTINS
from tvm_webgpu.codegen.wgsl.interface import EntryPoint, Options, Shader
from tvm_webgpu.codegen.wgsl.matrix_helpers import inverse
from tvm_webgpu.codegen.wgsl.memory import Memory, call_order
from tvm_webgpu.codegen.wgsl.memory_instructions import MemoryInstructions
from tvm_webgpu.codegen.wgsl.module import Function, Instruction, Module, invalid, unsupported
from tvm_webgpu.codegen.wgsl.names import Names
from tvm_webgpu.codegen.wgsl.place import Place
from tvm_webgpu.codegen.wgsl.promote import promote
from tvm_webgpu.codegen.wgsl.state import Argument, ParameterBinding
from tvm_webgpu.codegen.wgsl.variables import Variables
from tvm_webgpu.codegen.wgsl.wide_instructions import HELPERS
from tvm_webgpu.errors import InvalidModuleError, UnsupportedError

GL_COMPUTE = 5
LOCAL_SIZE, LOCAL_SIZE_ID = 17, 38
MAX_OUTPUT = 16 << 20  # characters
MAX_INVOCATIONS = 1 << 14  # of a workgroup; no device has more
MAX_CALLS = 40
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
    options = options or Options()
    return Translator(*reader.read(spirv, options.spec_constants), options).run()


class Translator:
    """The state of one translation: declarations, variables and function instances, each made on demand."""

    def __init__(self, m: Module, constants: Constants, options: Options):
        self.module = m
        self.options = options
        self.names = Names()
        self.constants = constants
        self.declarations = Declarations(m, self.constants, self.names)
        self.entries = self._entries()
        roots = [m.functions[e.function] for e in self.entries]
        for function in call_order(m, roots):
            promote(m, function)
        self.memory = Memory(m, roots)
        self.variables = Variables(
            m, options, self.declarations, self.constants, self.memory, self.names, self.entries
        )
        self.helpers: dict[str, str] = {}
        self.inverses: dict[str, str] = {}
        if m.wide:
            self.names.used.update(HELPERS)
        self.instances: dict[tuple[int, ParameterBinding], str] = {}
        self.plans: dict[tuple, tuple[list[types.Type], types.Type]] = {}  # of instructions, by their types
        self.depth = 0  # of the calls that are being written
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
        push = self.variables.push_constants()
        self._features()
        helpers = self.helpers.values()
        parts = [*self._enables(), *self.declarations.lines, *self.variables.lines, *helpers, *self.texts]
        return Shader(
            "".join(parts),
            tuple(made),
            tuple(sorted(self.variables.bindings, key=lambda b: (b.group, b.binding))),
            push,
            frozenset(self.features),
        )

    def count(self, size: int) -> None:
        """Bounds the output: repeated blocks and function instances could make it explode."""
        self.size += size
        if self.size > MAX_OUTPUT:
            raise UnsupportedError(f"the WGSL would be longer than {MAX_OUTPUT >> 20} MiB")

    def helper(self, name: str) -> None:
        """Has a function of wide_helpers or double_helpers, and those it calls, written out."""
        if name not in self.helpers:
            self.helpers[name], needs = HELPERS[name]
            for needed in needs:
                self.helper(needed)

    def inverse(self, type: types.Matrix) -> str:
        """The name of the function that inverts matrices of a type."""
        suffix = "h" if type.column.elem == types.F16 else "f"
        key = f"inverse{type.count}{suffix}"
        if key not in self.inverses:
            name = self.inverses[key] = self.names.make(key)
            self.helpers[key] = inverse(name, type.count, suffix)
        return self.inverses[key]

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
        if size[0] * size[1] * size[2] > MAX_INVOCATIONS:
            raise unsupported(where, f"a workgroup of {size[0]} x {size[1]} x {size[2]} invocations")
        return size

    def _entry(self, entry: module.EntryPoint) -> EntryPoint:
        m = self.module
        function = m.functions[entry.function]
        if function.params or not isinstance(function.type.result, types.Void):
            raise invalid(Instruction("EntryPoint", 0, 0, (), entry.offset), "the function takes or gives values")
        size = self._workgroup_size(entry)
        self.inputs, self.shared_inputs = {}, {}
        uniformity.check(m, self.memory, function)
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
        text = self._write(function, (), name, entry=True)
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
            self.variables.lines.append(f"var<private> {name}: {type};\n")

    def _input_name(self, id: int, short: str) -> str:
        name = self.module.names.get(id, "")
        return short if not name or len(name) > 2 * len(short) or name.startswith("gl_") else name

    def _input(self, id: int) -> tuple[str, str, str]:
        inst = self.module.variables[id]
        number = self.module.decoration(id, "BuiltIn")
        found = _INPUTS.get(BUILTINS.get(number if number is not None else -1, ""))
        if found is None:
            raise unsupported(inst, f"an input that is no builtin of compute shaders (BuiltIn {number})")
        pointer = self.module.value_types[id]
        assert isinstance(pointer, types.Pointer)
        wanted: types.Type = types.Vector(types.U32, 3) if found[1] == "vec3u" else types.U32
        if types.with_sign(pointer.pointee, False) != wanted:
            raise invalid(inst, f"the type is not that of the builtin {found[0]}")
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

    # Functions

    def call(self, writer: MemoryInstructions, inst: Instruction) -> tuple[str, list[str]]:
        """The name of the callee's instance for these arguments, and the arguments' texts."""
        m = self.module
        callee = m.functions[inst.args[0]]
        binding: list[Argument | None] = []
        texts: list[str] = []
        for param, id in zip(callee.params, inst.args[1:]):
            type = m.type_of(param.id, param)
            given = m.type_of(id, inst)
            if isinstance(type, types.Pointer):
                # The pointee is looked at by those who use it: a block may be declared twice.
                fits = isinstance(given, types.Pointer) and given.storage == type.storage
            else:
                fits = given == type
            if not fits:
                raise invalid(inst, "an argument's type differs from the parameter's")
            if not isinstance(type, types.Pointer):
                texts.append(writer.operand(id, inst).text)
                binding.append(None)
            elif type.storage == "Function":
                place = writer.place(id, inst)
                if place.type != type.pointee:
                    raise invalid(inst, "an argument's type differs from the parameter's")
                texts.append(place.text.removeprefix("*") if place.prec == expr.UNARY else f"&{place.text}")
                binding.append(None)
            else:
                argument, indices = self._argument(writer, id, inst)
                binding.append(argument)
                texts += indices
        self._check_aliases(writer, callee, inst)
        return self._instance(callee, tuple(binding), inst), texts

    def _check_aliases(self, writer: MemoryInstructions, callee: Function, inst: Instruction) -> None:
        """Refuses two pointers into one variable where the callee writes through either, as WGSL does."""
        roots: dict[int, int] = {}  # variable -> parameter
        written = self.memory.effects[callee.id].written
        for param, id in zip(callee.params, inst.args[1:]):
            type = self.module.type_of(param.id, param)
            if isinstance(type, types.Pointer) and type.storage == "Function":
                root = self.memory.pointer(writer.function, id).root
                if not written.isdisjoint((param.id, roots.setdefault(root, param.id))) and roots[root] != param.id:
                    raise unsupported(inst, "two pointers to one variable", "inline the call with spirv-opt")

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
                texts.append(writer.index(index, inst, True).text)
        return Argument(root, tuple(steps)), texts

    def _instance(self, callee: Function, binding: ParameterBinding, inst: Instruction) -> str:
        key = (callee.id, binding)
        if key not in self.instances:
            if len(self.instances) >= MAX_INSTANCES:
                raise unsupported(inst, f"more than {MAX_INSTANCES} combinations of pointer arguments")
            if self.depth >= MAX_CALLS:
                raise unsupported(inst, f"calls nested deeper than {MAX_CALLS}", "inline them with spirv-opt")
            name = self.names.make(self.module.names.get(callee.id, ""), "f")
            self.instances[key] = name
            self.depth += 1
            self.texts.append(self._write(callee, binding, name, entry=False))
            self.depth -= 1
        return self.instances[key]

    def _write(self, function: Function, binding: ParameterBinding, name: str, entry: bool) -> str:
        plain: set[int] = set()
        while True:
            if entry:
                self.inputs = {}
            try:
                return FunctionWriter(self, function, binding, name, entry, plain).run()
            except NoHead as loop:
                # At most once per loop.
                plain.add(loop.label)

    # Features

    def _features(self) -> None:
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
        for feature, _, analysis in _ENABLES:
            if feature in self.features and analysis:
                yield f"diagnostic(off, {analysis});\n"
