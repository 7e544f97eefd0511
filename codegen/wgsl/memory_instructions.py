"""How instructions on memory are written: loads, stores, atomics, barriers and calls."""

from __future__ import annotations

from dataclasses import replace

from tvm_webgpu.codegen.wgsl import expr, types
from tvm_webgpu.codegen.wgsl.declare import describe
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.place import Place
from tvm_webgpu.codegen.wgsl.raw_memory import RawMemory
from tvm_webgpu.codegen.wgsl.types import Type

_ATOMICS = {
    "AtomicExchange": "atomicExchange", "AtomicIAdd": "atomicAdd", "AtomicISub": "atomicSub", "AtomicAnd": "atomicAnd",
    "AtomicOr": "atomicOr", "AtomicXor": "atomicXor", "AtomicSMin": "atomicMin", "AtomicUMin": "atomicMin",
    "AtomicSMax": "atomicMax", "AtomicUMax": "atomicMax", "AtomicIIncrement": "atomicAdd",
    "AtomicIDecrement": "atomicSub",
}  # fmt: skip


class MemoryInstructions(RawMemory):
    """Writes the instructions that read or write memory, or call functions that may."""

    def _typed_place(self, id: int, inst: Instruction) -> Place:
        """The place of a pointer whose own type has been looked at: the path to it must lead to the same."""
        place, pointer = self.place(id, inst), self.m.type_of(id, inst)
        if not isinstance(pointer, types.Pointer) or pointer.pointee != place.type:
            raise invalid(inst, f"the pointer %{id} is of another type than what it points to")
        return place

    def op_Load(self, inst: Instruction) -> None:
        place = self.place(inst.args[0], inst)
        if place.type != self.result_type(inst):
            raise invalid(inst, "the pointer's type differs from the result's")
        builtin = self.t.builtin_value(self, place, inst)
        if builtin is not None:
            self.define(inst, builtin)
            return
        self.define(inst, self.load(place, inst))

    def load(self, place: Place, inst: Instruction) -> Expr:
        if place.raw is not None and isinstance(place.type, types.Scalar | types.Vector):
            return self.raw_load(place, inst)
        if place.tree is None and place.raw is None:
            return Expr(place.text, place.prec, place.reads | self.t.variables.tokens(place.root))
        if place.tree is True and place.raw is None:
            return self.keep(Expr(f"atomicLoad(&{place.text})"))
        parts = [self.load(self._part_place(place, i, inst), inst) for i in self.parts(place.type, inst)]
        return self.construct(place.type, parts)

    def _part_place(self, place: Place, i: int, inst: Instruction) -> Place:
        return self.step(place, i, Expr(str(i)), inst)

    def op_Store(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[1], inst)
        place = self.place(inst.args[0], inst)
        if place.type != type:
            raise invalid(inst, "the pointer's type differs from the value's")
        self.write(place, value, inst)

    def write(self, place: Place, value: Expr, inst: Instruction) -> None:
        self.t.variables.check_writable(place.root, inst)
        self.flush_reading(self.t.variables.tokens(place.root) | {place.root})
        if place.raw is not None and isinstance(place.type, types.Scalar | types.Vector):
            self.raw_store(place, value, inst)
        elif place.tree is None and place.raw is None:
            self.emit(self.assignment(place.text, value.text))
        elif place.raw is None and place.tree is True:
            self.emit(f"atomicStore(&{place.text}, {value.text});")
        else:
            value = self.single(value)
            for i in self.parts(place.type, inst):
                self.write(self._part_place(place, i, inst), self.part(value, place.type, i), inst)

    def op_CopyMemory(self, inst: Instruction) -> None:
        source, target = (self.place(id, inst) for id in (inst.args[1], inst.args[0]))
        if source.type != target.type:
            raise invalid(inst, "the pointers' types differ")
        self.write(target, self.load(source, inst), inst)

    def op_AccessChain(self, inst: Instruction) -> None:
        """Written at its uses."""

    op_InBoundsAccessChain = op_AccessChain

    def op_ArrayLength(self, inst: Instruction) -> None:
        place = self.place(inst.args[0], inst)
        if place.raw is not None:
            made = self.raw_length(place, inst.args[1], inst)
            self.define(inst, self.cast(made, types.U32, self.result_type(inst)))
            return
        if not isinstance(place.type, types.Struct):
            raise invalid(inst, "the pointer is to no struct")
        place = self.step(place, inst.args[1], Expr(""), inst, first=True)
        if not isinstance(place.type, types.Array) or place.type.length is not None:
            raise invalid(inst, "the member is no runtime array")
        made = Expr(f"arrayLength(&{place.text})")
        self.define(inst, self.cast(made, types.U32, self.result_type(inst)))

    # Atomics and barriers

    def atomic(self, inst: Instruction, call: str, type: Type) -> None:
        """An atomic call: a statement, and a ``let`` where its result is used."""
        if inst.id and self.usage.count.get(inst.id):
            self.define(inst, self.cast(Expr(call), type, self.result_type(inst)), keep=True)
        else:
            self.emit(f"{call};")

    def _atomic_place(self, inst: Instruction) -> Place:
        place = self.place(inst.args[0], inst)
        if place.type not in (types.I32, types.U32) or (inst.id and self.result_type(inst) != place.type):
            raise unsupported(inst, f"an atomic operation on {describe(place.type)}")
        for id in inst.ids[(3 if inst.op != "AtomicCompareExchange" else 4) :]:
            if self.m.type_of(id, inst) != place.type:
                raise invalid(inst, "the operand's type differs from the memory's")
        if place.raw is not None:
            return replace(place, text=self.raw_word(place, inst), type=types.U32)
        if place.tree is not True:
            raise unsupported(inst, f"an atomic operation on {describe(place.type)}")
        return place

    def op_AtomicLoad(self, inst: Instruction) -> None:
        place = self._atomic_place(inst)
        self.atomic(inst, f"atomicLoad(&{place.text})", place.type)

    def op_AtomicStore(self, inst: Instruction) -> None:
        value, type = self.typed(inst.args[3], inst)
        place = self._atomic_place(inst)
        self.flush_reading(self.t.variables.tokens(place.root) | {place.root})
        self.emit(f"atomicStore(&{place.text}, {self.cast(value, type, place.type).text});")

    def _atomic(self, inst: Instruction) -> None:
        if len(inst.args) > 3:
            value, type = self.typed(inst.args[3], inst)
        else:
            value, type = Expr("1u", const=True), types.U32
        place = self._atomic_place(inst)
        self.flush_reading(self.t.variables.tokens(place.root) | {place.root})
        wanted = {"S": types.I32, "U": types.U32}.get(inst.op[6]) if inst.op.endswith(("Min", "Max")) else None
        if wanted is not None and place.type != wanted:
            self._exchange_loop(inst, place, self.cast(value, type, wanted), wanted)
            return
        call = f"{_ATOMICS[inst.op]}(&{place.text}, {self.cast(value, type, place.type).text})"
        self.atomic(inst, call, place.type)

    op_AtomicExchange = op_AtomicIAdd = op_AtomicISub = op_AtomicAnd = op_AtomicOr = op_AtomicXor = _atomic
    op_AtomicSMin = op_AtomicUMin = op_AtomicSMax = op_AtomicUMax = op_AtomicIIncrement = op_AtomicIDecrement = _atomic

    def _exchange_loop(self, inst: Instruction, place: Place, value: Expr, type: Type) -> None:
        """A minimum or maximum in the signedness that the memory does not have."""
        function = _ATOMICS[inst.op].removeprefix("atomic").lower()
        name, value = self._result_variable(inst, place.type), self.keep(value)
        self.emit(f"{name} = atomicLoad(&{place.text});")
        cast = self.d.type(type)
        new = f"{self.d.type(place.type)}({function}({cast}({name}), {value.text}))"
        swap = self.names.make("swap")
        self.emit(
            f"loop {{ let {swap} = atomicCompareExchangeWeak(&{place.text}, {name}, {new}); "
            f"if {swap}.exchanged {{ break; }} {name} = {swap}.old_value; }}"
        )

    def _result_variable(self, inst: Instruction, type: Type) -> str:
        name = self.hoisted.get(inst.id)
        if name is None:
            name = self.names.make(self.m.names.get(inst.id, ""), "old")
            self.emit(f"var {name}: {self.d.type(type)};")
        self.values[inst.id] = self.cast(Expr(name), type, self.result_type(inst))
        return name

    def op_AtomicCompareExchange(self, inst: Instruction) -> None:
        new, new_type = self.typed(inst.args[4], inst)
        old, old_type = self.typed(inst.args[5], inst)
        place = self._atomic_place(inst)
        self.flush_reading(self.t.variables.tokens(place.root) | {place.root})
        new, old = self.cast(new, new_type, place.type), self.cast(old, old_type, place.type)
        new, old = (v if v.simple else self.keep(v) for v in (new, old))
        name, swap = self._result_variable(inst, place.type), self.names.make("swap")
        # WGSL's exchange may fail although the values are equal; SPIR-V's may not.
        self.emit(
            f"loop {{ let {swap} = atomicCompareExchangeWeak(&{place.text}, {old.text}, {new.text}); "
            f"{name} = {swap}.old_value; if {swap}.exchanged || {name} != {old.at(expr.SHIFT)} {{ break; }} }}"
        )

    def op_ControlBarrier(self, inst: Instruction) -> None:
        scope, _, semantics = (self.t.constants.integer(id) for id in inst.args)
        if scope is None or semantics is None:
            raise invalid(inst, "scope and semantics must be constants")
        if scope != 2:
            raise unsupported(inst, f"a barrier of the execution scope {scope}", "use the scope Workgroup")
        self.barrier(semantics)

    def barrier(self, semantics: int) -> None:
        self.flush_memory()
        if semantics & 0x40:
            self.emit("storageBarrier();")
        if semantics & 0x100 or not semantics & 0x40:
            self.emit("workgroupBarrier();")

    def op_MemoryBarrier(self, inst: Instruction) -> None:
        semantics = self.t.constants.integer(inst.args[1])
        if semantics is None:
            raise invalid(inst, "semantics must be a constant")
        if semantics & 0x140:
            self.barrier(semantics)

    def flush_memory(self) -> None:
        """Loads of shared memory may not move across."""
        self.flush_reading({"memory"})

    def op_FunctionCall(self, inst: Instruction) -> None:
        name, args = self.t.call(self, inst)
        if self.m.functions[inst.args[0]].type.result != self.result_type(inst):
            raise invalid(inst, "the result's type differs from the function's")
        self.flush_reading({"memory", "private", *(id for id in self.places if isinstance(id, int))})
        text = f"{name}({', '.join(args)})"
        if isinstance(self.result_type(inst), types.Void) or not self.usage.count.get(inst.id):
            self.emit(f"{text};")
        else:
            self.define(inst, Expr(text), keep=True)

    def glsl_Modf(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        self._split_to(inst, ids, "modf")

    def glsl_Frexp(self, inst: Instruction, ids: tuple[int, ...]) -> None:
        self._split_to(inst, ids, "frexp")

    def _split_to(self, inst: Instruction, ids: tuple[int, ...], name: str) -> None:
        type, first, second = self.split(inst, ids[0], name)
        place = self._typed_place(ids[1], inst)
        self.write(place, self.cast(second, type, place.type), inst)
        self.define(inst, first)
