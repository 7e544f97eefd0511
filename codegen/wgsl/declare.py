"""SPIR-V types and constants in; WGSL type names, the struct declarations they need, and literals out.

A member offset or array stride that WGSL's own rules would not give is written with ``@size`` or a padded element
struct. A type whose layout they can't express is declared without one: only values have it, buffers are raw_memory's.
"""

from tvm_webgpu.codegen.wgsl import expr, types
from tvm_webgpu.codegen.wgsl.constants import Constants, Value
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.layout import Layout, round_up
from tvm_webgpu.codegen.wgsl.memory import Tree, subtree
from tvm_webgpu.codegen.wgsl.module import Module, located
from tvm_webgpu.codegen.wgsl.names import Names
from tvm_webgpu.codegen.wgsl.types import Array, Matrix, Scalar, Struct, Type, Vector
from tvm_webgpu.errors import UnsupportedError

MAX_SIZE = 1 << 30  # bytes of a type; naga's limit
MAX_PARTS = (1 << 16) - 1  # of a constant written out, and of an array outside of storage buffers; Tint's limit


class Declarations:
    """Declares on demand, each thing once, in the order of first need."""

    def __init__(self, module: Module, constants: Constants, names: Names):
        self.module = module
        self.constants = constants
        self.names = names
        self.lines: list[str] = []
        self.structs: dict[object, str] = {}
        self.names_of: dict[int, tuple[str, Type]] = {}  # by identity, since comparing types takes longer
        self.member_names: dict[int, list[str]] = {}
        self.layout = Layout(module)
        self.hidden: dict[tuple[int, int], str] = {}  # (bits, width) of NaN or infinity -> private variable
        self.values: dict[int, Expr] = {}
        self.f16 = False
        self.subgroup_matrix = False

    # Types

    def type(self, type: Type, tree: Tree = None) -> str:
        """The WGSL type; ``tree`` says which parts are atomic."""
        if tree is None:
            known = self.names_of.get(id(type))
            if known is None:
                known = self.names_of[id(type)] = self._type(type, None), type
            return known[0]
        return self._type(type, tree)

    def _type(self, type: Type, tree: Tree) -> str:
        if tree is True:
            if type not in (types.I32, types.U32):
                raise UnsupportedError(f"an atomic operation on {describe(type)}: WGSL has atomics of i32 and u32 only")
            return f"atomic<{expr.type_name(type)}>"
        scalar = types.scalar_of(type)
        if scalar is not None:
            name = expr.type_name(type)
            if name is None:
                raise UnsupportedError(f"a value of type {describe(type)}: WGSL has no such type")
            self.f16 = self.f16 or scalar == types.F16
            return name
        match type:
            case types.SubgroupMatrix(elem=elem):
                if elem not in (types.F16, types.F32, types.I32, types.U32):
                    raise UnsupportedError(f"a subgroup matrix of {describe(elem)}")
                self.subgroup_matrix = True
                self.f16 = self.f16 or elem == types.F16
                return expr.type_name(type) or ""
            case Array(elem=elem, length=length):
                self.limit(type, self.layout.of(type)[0])
                inner = self.type(elem, subtree(tree, None))
                if self.layout.padded(type):
                    inner = self.padding_struct(type, tree)
                return f"array<{inner}>" if length is None else f"array<{inner}, {length}>"
            case Struct():
                self.limit(type, self.layout.of(type)[0])
                return self._struct(type, tree)
        raise UnsupportedError(f"a value of type {describe(type)}: it has no form in WGSL")

    def limit(self, type: Type, size: int) -> None:
        """Refuses a type whose size in bytes naga does not take."""
        if size > MAX_SIZE:
            raise UnsupportedError(f"{describe(type)} of more than {MAX_SIZE >> 30} GiB")

    def limit_parts(self, type: Type) -> None:
        """Refuses a type with an array too long for memory other than a storage buffer."""
        if isinstance(type, Array):
            if (type.length or 0) > MAX_PARTS:
                raise UnsupportedError(f"{describe(type)} with {type.length} elements outside of storage buffers")
            self.limit_parts(type.elem)
        elif isinstance(type, Struct):
            for member in type.members:
                self.limit_parts(member)

    def padding_struct(self, array: Array, tree: Tree = None) -> str:
        """The name of the struct that pads an array's elements to its stride."""
        inner = self.type(array.elem, subtree(tree, None))
        key = ("padding", inner, array.stride)
        if key not in self.structs:
            name = self.structs[key] = self.names.make("Padded")
            self.lines.append(f"struct {name} {{\n  @size({array.stride}) value: {inner},\n}}\n")
        return self.structs[key]

    def _struct(self, struct: Struct, tree: Tree) -> str:
        key = (struct, tree)
        if key in self.structs:
            return self.structs[key]
        members = self.members(struct)
        attributes = self._attributes(struct)
        lines = []
        for i, (member, name) in enumerate(zip(struct.members, members)):
            lines.append(f"  {attributes[i]}{name}: {self.type(member, subtree(tree, i))},\n")
        name = self.structs[key] = self.names.make(self.module.names.get(struct.id, ""), "S")
        self.lines.append(f"struct {name} {{\n{''.join(lines)}}}\n")
        return name

    def members(self, struct: Struct) -> list[str]:
        """The names of a struct's members."""
        if struct.id not in self.member_names:
            if not struct.members:
                raise UnsupportedError(f"the struct %{struct.id} has no members: WGSL needs one at least")
            names = Names()
            self.member_names[struct.id] = [
                names.make(self.module.member_names.get((struct.id, i), ""), "m") for i in range(len(struct.members))
            ]
        return self.member_names[struct.id]

    def _attributes(self, struct: Struct) -> list[str]:
        """For each member the ``@size`` that moves the next one to its offset."""
        found = [""] * len(struct.members)
        if self.layout.problem(struct, False):
            return found
        end = 0
        for i, member in enumerate(struct.members):
            offset = self.module.member_decoration(struct.id, i, "Offset")
            if offset is None:
                continue
            size, align = self.layout.of(member)
            if offset > round_up(end, align):
                before = self.module.member_decoration(struct.id, i - 1, "Offset") or 0
                found[i - 1] = f"@size({offset - before}) "
            end = offset + size
        return found

    # Constants

    def constant(self, id: int) -> Expr:
        """The expression of a constant."""
        if id not in self.values:
            type = self.module.value_types[id]
            with located(self.module.constants[id]):
                made = self.value(type, self.constants.value(id))
            if isinstance(type, Array | Struct) and made.const and len(made.text) > 40:
                name = self.names.make(self.module.names.get(id, ""), "c")
                self.lines.append(f"const {name} = {made.text};\n")
                made = Expr(name, const=True)
            self.values[id] = made
        return self.values[id]

    def value(self, type: Type, value: Value) -> Expr:
        """A value of a type, written out."""
        if isinstance(type, Scalar):
            bits = value if isinstance(value, int) else 0
            if type.kind == "bool":
                return Expr("true" if bits else "false", const=True)
            self.type(type)
            if type.kind == "int" or types.is_wide(type):
                return expr.integer(bits, type)
            return expr.floating(bits, type.width) or self._hidden(bits, type)
        name = self.type(type)
        if value is None or not isinstance(value, tuple):
            return Expr(f"{name}()", const=True)
        if isinstance(type, types.SubgroupMatrix):
            return expr.call(name, self.value(type.elem, value[0]))
        if len(value) > MAX_PARTS:
            raise UnsupportedError(f"a constant array of {len(value)} elements is too long to write out")
        parts = [self.value(types.child(type, i) or types.Void(), part) for i, part in enumerate(value)]
        if isinstance(type, Array) and self.layout.padded(type):
            wrapper = self.padding_struct(type)
            parts = [expr.call(wrapper, part) for part in parts]
        if isinstance(type, Vector):
            if all(not part for part in value):
                return Expr(f"{name}()", const=True)
            if len({part.text for part in parts}) == 1 and not types.is_wide(type):
                parts = parts[:1]
        return expr.call(name, *parts)

    def _hidden(self, bits: int, type: Scalar) -> Expr:
        """NaN or infinity: read from a private variable, since as a constant expression it is an error in WGSL."""
        if (bits, type.width) not in self.hidden:
            name = "nan" if bits & ((1 << (10 if type.width == 16 else 23)) - 1) else "inf"
            name = self.hidden[bits, type.width] = self.names.make(name)
            # An f16 is read from the low half of a pair.
            self.lines.append(f"var<private> {name}: u32 = {bits:#x}u;\n")
        name = self.hidden[bits, type.width]
        return Expr(f"bitcast<f32>({name})" if type.width == 32 else f"bitcast<vec2h>({name}).x")


def describe(type: Type) -> str:
    """A type in words, for messages."""
    match type:
        case Scalar(kind=kind, width=width, signed=signed):
            return "bool" if kind == "bool" else f"{'u' if kind == 'int' and not signed else ''}{kind}{width}"
        case Vector(elem=elem, count=count):
            return f"vector of {count} {describe(elem)}"
        case Matrix(column=column, count=count):
            return f"matrix of {count} columns, each a {describe(column)}"
        case Array(elem=elem, length=length):
            return f"{'runtime ' if length is None else ''}array of {describe(elem)}"
        case Struct(id=id):
            return f"struct %{id}"
        case types.Pointer(storage=storage, pointee=pointee):
            return f"{storage} pointer to {describe(pointee)}"
        case types.SubgroupMatrix(elem=elem, rows=rows, columns=columns):
            return f"{rows} x {columns} subgroup matrix of {describe(elem)}"
        case types.Opaque(name=name):
            return name
    return type.__class__.__name__.lower()


