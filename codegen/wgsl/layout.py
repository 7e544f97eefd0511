"""Explicit SPIR-V layouts in; what WGSL's own rules make of them out, and whether the two can be made to agree.

WGSL lays structs and arrays out by itself (WGSL specification, section 14.4); `@size` and a padded element struct bend
that in one direction. A buffer whose layout stays out of reach is addressed as words instead (see raw_memory).
"""

from tvm_webgpu.codegen.wgsl import types
from tvm_webgpu.codegen.wgsl.module import Module
from tvm_webgpu.codegen.wgsl.types import Array, Matrix, Scalar, Struct, Type, Vector


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


class Layout:
    """Sizes and alignments as WGSL has them for the types as declared here."""

    def __init__(self, module: Module):
        self.module = module
        self.known: dict[Type, tuple[int, int]] = {}
        self.problems: dict[tuple[Type, bool], str] = {}

    def of(self, type: Type) -> tuple[int, int]:
        """(size, alignment) in bytes. A runtime array counts one element."""
        if type not in self.known:
            self.known[type] = self._of(type)
        return self.known[type]

    def _of(self, type: Type) -> tuple[int, int]:
        match type:
            case Scalar(width=width):
                return (max(width // 8, 1), max(width // 8, 1)) if width else (4, 4)
            case Vector(elem=elem, count=count):
                size = self.of(elem)[0]
                # Vectors of 64-bit numbers are arrays of pairs.
                return size * count, size if types.is_wide(elem) else size * (2 if count == 2 else 4)
            case Matrix(column=column, count=count):
                size, align = self.of(column)
                return round_up(size, align) * count, align
            case Array(elem=elem, length=length, stride=stride):
                size, align = self.of(elem)
                return (stride or round_up(size, align)) * (length or 1), align
            case Struct():
                end, align = 0, 1
                for i, member in enumerate(type.members):
                    offset = self.module.member_decoration(type.id, i, "Offset")
                    size, member_align = self.of(member)
                    align = max(align, member_align)
                    end = (round_up(end, member_align) if offset is None else offset) + size
                return round_up(end, align), align
        return 4, 4

    def extent(self, type: Type, matrix: tuple[int, bool] | None = None) -> int:
        """The bytes from the start of a type to the end of its last scalar, as SPIR-V lays it out."""
        match type:
            case Matrix(column=column, count=count):
                size = self.of(column.elem)[0]
                stride, by_row = matrix or (round_up(*self.of(column)), False)
                lines, line = (column.count, count * size) if by_row else (count, column.count * size)
                return (lines - 1) * stride + line
            case Array(elem=elem, length=length, stride=stride):
                return (stride or round_up(*self.of(elem))) * ((length or 1) - 1) + self.extent(elem, matrix)
            case Struct(id=id, members=members):
                ends = [
                    (self.module.member_decoration(id, i, "Offset") or 0) + self.extent(member, self.matrix(id, i))
                    for i, member in enumerate(members)
                ]
                return max(ends, default=0)
        return self.of(type)[0]

    def matrix(self, struct_id: int, member: int) -> tuple[int, bool] | None:
        """(stride, whether row-major) of the matrices in a struct's member."""
        stride = self.module.member_decoration(struct_id, member, "MatrixStride")
        if stride is None:
            return None
        return stride, self.module.member_decoration(struct_id, member, "RowMajor") is not None

    def padded(self, array: Array) -> bool:
        """Whether the elements need a struct around them to get the array's stride."""
        if array.stride is None or self.problem(array, False):
            return False
        return round_up(*self.of(array.elem)) != array.stride

    def problem(self, type: Type, uniform: bool) -> str:
        """Why WGSL can't have the type in a buffer with this layout; empty if it can."""
        key = type, uniform
        if key not in self.problems:
            self.problems[key] = self._problem(type, uniform)
        return self.problems[key]

    def _problem(self, type: Type, uniform: bool) -> str:
        match type:
            case Scalar(kind="int", width=width) if width < 32:
                return f"integers of {width} bits"
            case Vector(elem=elem):
                if uniform and types.is_wide(elem):
                    return "vectors of 64-bit numbers"
                return self.problem(elem, uniform)
            case Matrix(column=column):
                return self.problem(column, uniform)
            case Array(elem=elem, stride=stride):
                return self._array_problem(elem, stride, uniform) or self.problem(elem, uniform)
            case Struct():
                return self._struct_problem(type, uniform)
        return ""

    def _array_problem(self, elem: Type, stride: int | None, uniform: bool) -> str:
        size, align = self.of(elem)
        if stride is None:
            return ""
        if stride < size or stride % align:
            return f"an array stride of {stride} bytes"
        if uniform and stride % 16:
            return f"an array stride of {stride} bytes in a uniform buffer"
        return ""

    def _struct_problem(self, struct: Struct, uniform: bool) -> str:
        end = 0
        after_struct = False
        for i, member in enumerate(struct.members):
            offset = self.module.member_decoration(struct.id, i, "Offset")
            if inner := self.problem(member, uniform):
                return inner
            if offset is None:
                continue
            size, align = self.of(member)
            composite = isinstance(member, Struct | Array)
            if offset % align or offset < round_up(end, align) or (i == 0 and offset):
                return f"member {i} at offset {offset}"
            if uniform and (offset % 16 if composite or after_struct else False):
                return f"member {i} at offset {offset} in a uniform buffer"
            after_struct = isinstance(member, Struct)
            end = offset + size
            matrix = self.matrix(struct.id, i)
            while isinstance(member, Array):
                member = member.elem
            if isinstance(member, Matrix) and matrix not in (None, (round_up(*self.of(member.column)), False)):
                return "matrices in rows, or with wide columns"
        return ""
