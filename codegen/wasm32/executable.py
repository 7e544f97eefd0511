"""A Relax executable of `exec_mode="compiled"` -> its functions and constant pool, which the compiled code indexes.

The bytes are those of `VMExecutable::SaveToFile` in TVM 0.27 (src/runtime/vm/executable.cc): a magic number and a
version, then the function table, memory scopes, and constants tagged with their FFI type index.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import tvm
from tvm_webgpu.errors import InvalidModuleError, UnsupportedError

MAGIC, TENSOR_MAGIC = 0xD225DE2F4214151E, 0xDD5E40F096B4A13F
VM_TIR_FUNCTION = 2
INT, FLOAT, DTYPE, STR, SHAPE, TENSOR = 1, 3, 5, 65, 69, 70


@dataclass(frozen=True)
class DType:
    """A DLPack data type."""

    code: int
    bits: int
    lanes: int


@dataclass(frozen=True)
class TensorConstant:
    """A tensor of the constant pool; `data` is what NumPy would hold, C order, little-endian."""

    dtype: DType
    shape: tuple[int, ...]
    data: bytes


Constant = int | float | str | DType | tuple[int, ...] | TensorConstant


@dataclass(frozen=True)
class Function:
    """A function of the table: its compiled code is `__vmtir__NAME`, called with `registers` registers."""

    name: str
    compiled: bool
    arguments: int
    registers: int


@dataclass(frozen=True)
class Executable:
    functions: tuple[Function, ...]
    constants: tuple[Constant, ...]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise InvalidModuleError("the Relax executable ends early")
        return self.data[self.at - count : self.at]

    def values(self, layout: str) -> tuple:
        return struct.unpack("<" + layout, self.raw(struct.calcsize("<" + layout)))

    def one(self, layout: str) -> int | float:
        return self.values(layout)[0]

    def count(self) -> int:
        return int(self.one("Q"))

    def text(self) -> str:
        return self.raw(self.count()).decode()


def _function(read: _Reader) -> Function:
    kind, name = read.one("i"), read.text()
    _start, _end, arguments, registers = read.values("4q")
    for _ in range(read.count()):
        read.text()  # parameter names
    return Function(name, kind == VM_TIR_FUNCTION, arguments, registers)


def _tensor(read: _Reader) -> TensorConstant:
    if read.count() != TENSOR_MAGIC:
        raise InvalidModuleError("a tensor constant of the Relax executable has an unknown form")
    _reserved, _device, _device_id, ndim = read.values("Qiii")
    dtype = DType(*read.values("BBH"))
    shape = read.values(f"{ndim}q")
    data = read.raw(read.count())
    if len(data) != prod(shape) * ((dtype.bits * dtype.lanes + 7) // 8):
        raise UnsupportedError(f"a tensor constant with elements of {dtype.bits} bits")
    return TensorConstant(dtype, shape, data)


def _constant(read: _Reader) -> Constant:
    readers: dict[int, Callable[[], Constant]] = {
        INT: lambda: read.one("q"),
        FLOAT: lambda: read.one("d"),
        DTYPE: lambda: DType(*read.values("BBH")),
        STR: read.text,
        SHAPE: lambda: read.values(f"{read.count()}q"),
        TENSOR: lambda: _tensor(read),
    }
    kind = int(read.one("i"))
    if kind not in readers:
        raise UnsupportedError(f"a constant of FFI type {kind} in a compiled Relax function")
    return readers[kind]()


def parse(data: bytes) -> Executable:
    """Reads a saved executable; raises InvalidModuleError for what TVM 0.27 does not write."""
    read = _Reader(data)
    if read.count() != MAGIC:
        raise InvalidModuleError("this is not a Relax executable")
    if (version := read.text()) != "0.14":
        raise InvalidModuleError(f"Relax executable of version {version}; only 0.14 (TVM 0.27) is known")
    functions = tuple(_function(read) for _ in range(read.count()))
    for _ in range(read.count()):
        read.one("q"), read.text()  # memory scopes
    constants = tuple(_constant(read) for _ in range(read.count()))
    return Executable(functions, constants)


def load(executable: tvm.relax.VMExecutable) -> Executable:
    """The functions and constants of what `relax.ExecBuilder.get()` gave."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.ro"
        executable.mod.write_to_file(str(path))
        return parse(path.read_bytes())
