"""Types, constants, decorations and global variables in, each by what describes it; the ids that stand for them out."""

from __future__ import annotations

from tvm_webgpu.codegen.spirv.instructions import Id, Instruction, float_bits, text_words
from tvm_webgpu.codegen.spirv.opcodes import Capability, Decoration, Op, Storage


class Declarations:
    """The part of a module that stands before its functions, each declaration once."""

    def __init__(self) -> None:
        self._next = 1
        self.capabilities: set[int] = {Capability.Shader}
        self.extensions: set[str] = set()
        self.names: list[Instruction] = []
        self.decorations: list[Instruction] = []
        self.globals: list[Instruction] = []
        self.interface: list[Id] = []
        self.kept: set[Id] = set()  # variables of the interface with the host, kept even when unused
        self._unique: dict[tuple, Id] = {}
        self._constants: dict[int, int | float | bool] = {}
        self._types: dict[int, Id] = {}
        self.glsl = self.new_id()
        self.void = self.declare(Op.TypeVoid)
        self.bool = self.declare(Op.TypeBool)
        self.i32 = self.declare(Op.TypeInt, 32, 1)
        self.u32 = self.declare(Op.TypeInt, 32, 0)
        self.f32 = self.declare(Op.TypeFloat, 32)

    def new_id(self) -> Id:
        self._next += 1
        return Id(self._next - 1)

    def declare(self, op: Op, *operands: int) -> Id:
        """The one type of this description."""
        key = (op, *operands)
        if key not in self._unique:
            self._unique[key] = result = self.new_id()
            self.globals.append(Instruction(op, None, result, list(operands)))
        return self._unique[key]

    @property
    def f16(self) -> Id:
        self.capabilities.add(Capability.Float16)
        return self.declare(Op.TypeFloat, 16)

    @property
    def f64(self) -> Id:
        self.capabilities.add(Capability.Float64)
        return self.declare(Op.TypeFloat, 64)

    def is_double(self, type: Id) -> bool:
        return type == self._unique.get((Op.TypeFloat, 64))

    def vector(self, element: Id, lanes: int) -> Id:
        return element if lanes == 1 else self.declare(Op.TypeVector, element, lanes)

    def pointer(self, storage: Storage, pointee: Id) -> Id:
        return self.declare(Op.TypePointer, storage, pointee)

    def array(self, element: Id, length: int) -> Id:
        return self.declare(Op.TypeArray, element, self.constant(self.u32, length))

    def constant(self, type: Id, value: int | float | bool) -> Id:
        """A scalar constant; an integer wraps to 32 bits, a float is rounded to its type (inf and nan included)."""
        if type == self.bool:
            op, literal = (Op.ConstantTrue if value else Op.ConstantFalse), []
        elif type == self.f32:
            op, literal = Op.Constant, [float_bits(float(value), 32)]
        elif type in (self.i32, self.u32):
            op, literal = Op.Constant, [int(value) & 0xFFFFFFFF]
        elif self.is_double(type):
            bits = float_bits(float(value), 64)
            op, literal = Op.Constant, [bits & 0xFFFFFFFF, bits >> 32]
        else:
            op, literal = Op.Constant, [float_bits(float(value), 16)]
        key = (op, type, *literal)
        if key not in self._unique:
            self._unique[key] = result = self.new_id()
            self._types[result] = type
            if type in (self.i32, self.u32):
                low = 2**31 if type == self.i32 else 0
                value = (int(value) + low) % 2**32 - low
            self._constants[result] = bool(value) if type == self.bool else value
            self.globals.append(Instruction(op, type, result, literal))
        return self._unique[key]

    def splat(self, type: Id, lanes: int, value: int | float | bool) -> Id:
        one = self.constant(type, value)
        if lanes == 1:
            return one
        vector = self.vector(type, lanes)
        key = (Op.ConstantComposite, vector, *[one] * lanes)
        if key not in self._unique:
            self._unique[key] = result = self.new_id()
            self._types[result] = vector
            self.globals.append(Instruction(Op.ConstantComposite, vector, result, [one] * lanes))
        return self._unique[key]

    def constant_value(self, value: Id) -> int | float | bool | None:
        """What a constant id stands for."""
        return self._constants.get(value)

    def int_value(self, value: Id) -> int | None:
        """The integer a constant id stands for."""
        known = self._constants.get(value)
        return known if isinstance(known, int) and not isinstance(known, bool) else None

    def bool_value(self, value: Id) -> bool | None:
        """The truth that a constant id stands for."""
        known = self._constants.get(value)
        return known if isinstance(known, bool) else None

    def type_of(self, value: Id) -> Id:
        return self._types[value]

    # the module's interface, and debug names

    def name(self, target: Id, text: str) -> None:
        self.names.append(Instruction(Op.Name, None, None, [target, *text_words(text)]))

    def decorate(self, target: Id, what: Decoration, *literals: int) -> None:
        self.decorations.append(Instruction(Op.Decorate, None, None, [target, what, *literals]))

    def decorate_member(self, target: Id, member: int, what: Decoration, *literals: int) -> None:
        self.decorations.append(Instruction(Op.MemberDecorate, None, None, [target, member, what, *literals]))

    def block_struct(self, key: str, members: list[tuple[Id, int, str]], readonly: bool = False) -> Id:
        """A struct decorated Block; members are (type, byte offset, name). One struct per key."""
        unique = ("struct", key)
        if unique not in self._unique:
            self._unique[unique] = struct_id = self.new_id()
            self.globals.append(Instruction(Op.TypeStruct, None, struct_id, [m[0] for m in members]))
            self.name(struct_id, key)
            self.decorate(struct_id, Decoration.Block)
            for i, (_, offset, label) in enumerate(members):
                self.names.append(Instruction(Op.MemberName, None, None, [struct_id, i, *text_words(label)]))
                self.decorate_member(struct_id, i, Decoration.Offset, offset)
                if readonly:
                    self.decorate_member(struct_id, i, Decoration.NonWritable)
        return self._unique[unique]

    def runtime_array(self, element: Id, stride: int) -> Id:
        new = (Op.TypeRuntimeArray, element) not in self._unique
        array = self.declare(Op.TypeRuntimeArray, element)
        if new:
            self.decorate(array, Decoration.ArrayStride, stride)
        return array

    def global_variable(self, storage: Storage, pointee: Id, name: str) -> Id:
        result = self.new_id()
        self.globals.append(Instruction(Op.Variable, self.pointer(storage, pointee), result, [storage]))
        self.name(result, name)
        return result

    def builtin(self, which: int, name: str) -> Id:
        """The input variable (vec3 of u32) of a built-in."""
        key = ("builtin", which)
        if key not in self._unique:
            variable = self.global_variable(Storage.Input, self.vector(self.u32, 3), name)
            self.decorate(variable, Decoration.BuiltIn, which)
            self.interface.append(variable)
            self._unique[key] = variable
        return self._unique[key]
