"""Kernels, entries, functions and constants -> the constant data, as LLVM IR, that the C runtime reads (tvmw.h).

A table is a tuple of fields; a field is a typed LLVM constant. Strings, arrays and shapes become globals of their own.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm_webgpu.errors import UnsupportedError

from .executable import Constant, DType, Executable, TensorConstant

SCALAR_KINDS = {"int32": 0, "uint32": 1, "float32": 2}
INPUT_KINDS = {"tensor": 0, "int": 1, "shape": 2, "object": 3}
ANY_DIM = -(2**63)
SYMBOL = re.compile(r"[A-Za-z_]\w*")
TYPE = re.compile(r"(\{.*?\}|\[.*?\]|\S+) ")
STATIC_OBJECT = "i64 1, i32 {type}, i32 0, ptr null, i32 0"
STR, FUNCTION, SHAPE = 65, 68, 69


@dataclass(frozen=True)
class Kernel:
    """A device function as host code launches it (codegen/spirv/launch.py).

    `name` is the packed function that host code calls and `index` the kernel's place in the manifest; several names may
    share an index. A launch passes `bindings` buffers, a scalar for each dtype in `scalars` (without the folded
    extent), and an extent for each of `axes`: 0, 1, 2 for blockIdx.x, y, z, and 255 for tags that the shader fixes.
    """

    name: str
    index: int
    bindings: int
    scalars: tuple[str, ...] = ()
    axes: tuple[int, ...] = ()
    folds_grid: bool = False


@dataclass(frozen=True)
class Input:
    """One input of an entry: a tensor, an int, an int that the function takes as `R.Shape([n])`, or an opaque object.

    `shape` has a number, a symbol's name, or any other text (not checked) for each dimension; None is any rank. For an
    int it is empty or names the int's symbol. `dtype` "" is any.
    """

    name: str
    kind: str = "tensor"
    dtype: str = ""
    shape: tuple[int | str, ...] | None = None


@dataclass(frozen=True)
class Entry:
    """A Relax function to export: its explicit inputs, then the parameters of the package by index."""

    name: str
    inputs: tuple[Input, ...]
    params: tuple[int, ...] = ()


def dtype_of(name: str) -> DType:
    dtype = tvm_ffi.dtype(name)
    return DType(dtype.type_code, dtype.bits, dtype.lanes)


def quoted(name: str) -> str:
    """An LLVM global's name."""
    return '@"' + "".join(c if c.isalnum() or c in "._<>$-" else f"\\{ord(c):02X}" for c in name) + '"'


def _dtype(dtype: DType) -> str:
    return f"{{i8, i8, i16}} {{i8 {dtype.code}, i8 {dtype.bits}, i16 {dtype.lanes}}}"


class Tables:
    """Collects globals; `text()` is the module."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shared: dict[str, str] = {}
        self.symbols: set[str] = set()

    def text(self) -> str:
        declarations = (f"declare i32 {symbol}(ptr, ptr, i32, ptr)" for symbol in sorted(self.symbols))
        return "\n".join([*declarations, *self.lines]) + "\n"

    def function(self, symbol: str) -> str:
        self.symbols.add(quoted(symbol))
        return f"ptr {quoted(symbol)}"

    def define(self, symbol: str, fields: Sequence[str], linkage: str = "constant") -> None:
        types = ", ".join(match[1] for field in fields if (match := TYPE.match(field)))
        self.lines.append(f"{symbol} = {linkage} {{{types}}} {{{', '.join(fields)}}}, align 8")

    def anonymous(self, fields: Sequence[str], linkage: str = "internal constant") -> str:
        """A private table; equal constants are one."""
        key = f"{linkage} {fields}"
        if "constant" not in linkage or key not in self.shared:
            symbol = f"@tvmw.data.{len(self.lines)}"
            self.define(symbol, fields, linkage)
            self.shared[key] = f"ptr {symbol}"
        return self.shared[key]

    def bytes(self, data: bytes) -> str:
        if not data:
            return "ptr null"
        escaped = "".join(f"\\{byte:02X}" for byte in data)
        return self.anonymous([f'[{len(data)} x i8] c"{escaped}"'])

    def string(self, text: str) -> str:
        return self.bytes(text.encode() + b"\0")

    def array(self, kind: str, values: Iterable[int | str]) -> str:
        items = [value if isinstance(value, str) else f"{kind} {value}" for value in values]
        return self.anonymous(items) if items else "ptr null"

    def rows(self, symbol: str, rows: Sequence[Sequence[str]]) -> None:
        self.define(symbol, [field for row in rows for field in row] or ["i32 0"])

    def packed_function(self, symbol: str, call: str, data: str = "ptr null") -> str:
        """A function object for `tvmw_`-style calls (self, args, n, ret)."""
        fields = [*STATIC_OBJECT.format(type=FUNCTION).split(", "), self.function(call), "ptr null", data]
        self.define(quoted(symbol), fields, "global")
        return f"ptr {quoted(symbol)}"


def kernel_functions(tables: Tables, kernels: Iterable[Kernel], function_name: Mapping[str, str]) -> None:
    """Defines the function object of every kernel that host code names."""
    for kernel in kernels:
        row = tables.anonymous(
            [
                tables.string(kernel.name),
                f"i32 {kernel.index}",
                f"i32 {kernel.bindings}",
                f"i32 {len(kernel.scalars)}",
                f"i32 {len(kernel.axes)}",
                f"i32 {int(kernel.folds_grid)}",
                tables.bytes(bytes(SCALAR_KINDS[kind] for kind in kernel.scalars)),
                tables.bytes(bytes(kernel.axes)),
            ]
        )
        tables.packed_function(function_name[kernel.name], "tvmw_launch", row)


def _constant(tables: Tables, value: Constant) -> list[str]:
    """The 16 bytes of an Any."""

    def static(kind: int, *fields: str) -> list[str]:
        header = STATIC_OBJECT.format(type=kind).split(", ")
        return [f"i32 {kind}", "i32 0", tables.anonymous([*header, *fields], "internal global"), "i32 0"]

    if isinstance(value, str):
        return static(STR, tables.string(value), f"i32 {len(value.encode())}")
    if isinstance(value, tuple):
        return static(SHAPE, tables.array("i64", value), f"i32 {len(value)}")
    if isinstance(value, DType):
        return ["i32 5", "i32 0", _dtype(value), "i32 0"]
    if isinstance(value, int):
        return ["i32 1", "i32 0", f"i64 {value}"]
    if isinstance(value, float):
        return ["i32 3", "i32 0", f"double 0x{struct.pack('>d', value).hex().upper()}"]
    return ["i32 0", "i32 0", "i64 0"]  # a tensor: placed when the first call comes


def executable_tables(tables: Tables, executable: Executable) -> dict[str, str]:
    """Defines the constant pool and function list that compiled code indexes; gives each VmFunction's row."""
    rows = {}
    items: list[str] = []
    for function in executable.functions:
        if not function.compiled:
            items += ["i32 0", "i32 0", "i64 0"]
            continue
        rows[function.name] = tables.anonymous(
            [
                tables.string(function.name),
                tables.function(f"__tvm_ffi___vmtir__{function.name}"),
                f"i32 {function.arguments}",
                f"i32 {function.registers}",
            ]
        )
        closure = tables.packed_function(f"tvmw.closure.{function.name}", "tvmw_invoke", rows[function.name])
        items += [f"i32 {FUNCTION}", "i32 0", closure, "i32 0"]
    tables.define("@tvmw_functions", items or ["i64 0"], "global")
    constants = [field for value in executable.constants for field in _constant(tables, value)]
    tables.define("@tvmw_constants", constants or ["i64 0"], "global")
    tensors = [
        [
            f"i32 {index}",
            _dtype(value.dtype),
            f"i32 {len(value.shape)}",
            tables.array("i64", value.shape),
            tables.bytes(value.data + bytes(-len(value.data) % 4)),
        ]
        for index, value in enumerate(executable.constants)
        if isinstance(value, TensorConstant)
    ]
    tables.rows("@tvmw_tensor_constants", tensors)
    tables.define("@tvmw_tensor_constant_count", [f"i32 {len(tensors)}"])
    return rows


def _input(tables: Tables, value: Input, symbols: dict[str, int]) -> list[str]:
    if value.kind not in INPUT_KINDS:
        raise UnsupportedError(f'input "{value.name}" of kind {value.kind}')

    def dim(extent: int | str) -> int:
        if isinstance(extent, int):
            return extent
        return ~symbols.setdefault(extent, len(symbols)) if SYMBOL.fullmatch(extent) else ANY_DIM

    shape = () if value.kind == "object" or value.shape is None else value.shape
    rank = -1 if value.kind == "tensor" and value.shape is None else len(shape)
    return [
        tables.string(value.name),
        f"i32 {INPUT_KINDS[value.kind]}",
        f"i32 {rank}",
        _dtype(dtype_of(value.dtype) if value.dtype and value.kind == "tensor" else DType(0, 0, 0)),
        tables.array("i64", [dim(extent) for extent in shape]),
    ]


def entry_tables(tables: Tables, entries: Sequence[Entry], functions: Mapping[str, str], param_count: int) -> None:
    """Defines the entries, whose index is their place in `entries`."""
    rows = []
    for entry in entries:
        symbols: dict[str, int] = {}
        inputs = [_input(tables, value, symbols) for value in entry.inputs]
        if len(symbols) > 64:
            raise UnsupportedError(f"{entry.name} has more than 64 symbolic dimensions")
        rows.append(
            [
                tables.string(entry.name),
                functions[entry.name],
                f"i32 {len(inputs)}",
                f"i32 {len(entry.params)}",
                f"i32 {len(symbols)}",
                tables.anonymous([field for row in inputs for field in row]) if inputs else "ptr null",
                tables.array("i32", entry.params),
                tables.array("ptr", [tables.string(symbol) for symbol in symbols]),
            ]
        )
    tables.rows("@tvmw_entries", rows)
    tables.define("@tvmw_entry_count", [f"i32 {len(entries)}"])
    tables.define("@tvmw_param_count", [f"i32 {param_count}"])
