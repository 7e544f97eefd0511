"""A package's model.wasm and a device -> a running instance: calls go in as values, results come out as values.

The module gets a clock, random numbers and stderr, no files, no network and nothing of the environment; how much memory
and how many instructions it may use is bounded (`Sandbox`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import wasmtime

from tvm_webgpu import errors

CALL_AGAIN = 1
"""The status of a call that needs data from the device first."""

TABLE_ELEMENTS = 1 << 16
GROWTH = 1 << 16
"""A page: a module this close to its bound could not grow."""

NONE, TENSOR, INT, FLOAT, OBJECT = range(5)
VALUE = struct.Struct("<6I8s")
_KINDS = (errors.InputError, errors.UnsupportedError, errors.PackageError)
_ERRORS: dict[str, type[errors.TvmWebgpuError]] = {kind.__name__: kind for kind in _KINDS}
_OUT_OF_MEMORY = "DeviceError"
"""The C runtime's word for memory that it was refused."""

_FUNCTIONS = ["_initialize", "malloc", "free"]
_FUNCTIONS += [f"tvmw_{name}" for name in ("bind_params", "call", "results", "release", "error", "trim")]
_WASI = "wasi_snapshot_preview1"


class Device(Protocol):
    """What a module asks of its executor: the imports of the module `webgpu`."""

    def alloc(self, size: int) -> int:
        """A new zeroed buffer; its handle, a positive multiple of 64, or 0 when memory is out."""

    def free(self, handle: int) -> None: ...

    def write(self, handle: int, offset: int, data: bytes | bytearray) -> None: ...

    def flush(self, words: memoryview) -> None:
        """Runs a command list; the u32 words are only valid during the call."""

    def read(self, ranges: Sequence[tuple[int, int, int]]) -> list[memoryview]:
        """The bytes of each (handle, offset, size) once all work is done."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor on the device, a number or an opaque object; `dtype` is DLPack's code | bits << 8 | lanes << 16."""

    kind: int
    handle: int = 0
    object: int = 0
    dtype: int = 0
    shape: tuple[int, ...] = ()
    number: int | float = 0
    offset: int = 0

    def payload(self) -> bytes:
        if self.kind == FLOAT:
            return struct.pack("<d", self.number)
        return struct.pack("<q", self.number if self.kind == INT else self.offset)


@dataclass(frozen=True)
class Sandbox:
    """What a module may use: bytes of linear memory, wasm instructions in one call into it, bytes of device memory.

    The host code of a call takes some 100 instructions a launch, so the default stops a loop that never ends after
    seconds, and nothing else.
    """

    memory_bytes: int = 1 << 30
    instructions: int = 1 << 32
    device_bytes: int | None = None


class Instance:
    """An instance of model.wasm. Not for use by two threads at once."""

    def __init__(self, wasm: bytes, device: Device, sandbox: Sandbox | None = None) -> None:
        self._device = device
        self._sandbox = sandbox = sandbox or Sandbox()
        self._device_bytes: dict[int, int] = {}
        self._room_at, self._room_size = 0, 0
        self._failure: Exception | None = None
        self._broken = False
        config = wasmtime.Config()
        config.consume_fuel = True
        self._engine = wasmtime.Engine(config)
        self._store = wasmtime.Store(self._engine)
        self._store.set_limits(sandbox.memory_bytes, table_elements=TABLE_ELEMENTS, instances=1, tables=1, memories=1)
        self._store.set_fuel(sandbox.instructions)
        try:
            module = wasmtime.Module(self._engine, wasm)
            exports = self._link(module).instantiate(self._store, module).exports(self._store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            reason = str(error)
            if "exceeds" in reason and "limit" in reason:
                raise errors.SandboxError(f"model.wasm asks for more than its sandbox has: {reason}") from error
            raise errors.PackageError(f"model.wasm can't be started: {reason}") from error
        memory = exports.get("memory")
        found = {name: export for name, export in exports.items() if isinstance(export, wasmtime.Func)}
        missing = [name for name in _FUNCTIONS if name not in found]
        if missing or not isinstance(memory, wasmtime.Memory):
            raise errors.PackageError(
                f"model.wasm lacks the export {(missing or ['memory'])[0]}; compile the model again"
            )
        self._memory = memory
        self._exports = found
        self._invoke("_initialize")

    def _link(self, module: wasmtime.Module) -> wasmtime.Linker:
        linker = wasmtime.Linker(self._engine)
        if any(part.module == _WASI for part in module.imports):
            wasi = wasmtime.WasiConfig()
            wasi.inherit_stderr()
            self._store.set_wasi(wasi)
            linker.define_wasi()
        i32 = wasmtime.ValType.i32()
        imports: dict[str, tuple[Callable[..., int | None], int, list[wasmtime.ValType]]] = {
            "alloc": (self._alloc, 1, [i32]),
            "free": (self._free, 1, []),
            "write": (self._write, 4, []),
            "flush": (self._flush, 2, []),
        }
        for name, (function, parameters, results) in imports.items():
            kind = wasmtime.FuncType([i32] * parameters, results)
            linker.define_func("webgpu", name, kind, self._guarded(function))
        return linker

    def _guarded(self, function: Callable[..., int | None]) -> Callable[..., int | None]:
        """Keeps an exception until the module has returned: unwinding its stack would leave it in no known state."""

        def run(*arguments: int) -> int | None:
            try:
                return function(*arguments)
            except Exception as error:
                self._failure = self._failure or error
                return 0 if function == self._alloc else None

        return run

    # Imports: wasm's i32 arrive signed.

    def _alloc(self, size: int) -> int:
        size &= 0xFFFFFFFF
        most = self._sandbox.device_bytes
        if most is not None and sum(self._device_bytes.values()) + size > most:
            raise errors.SandboxError(f"model.wasm asks for more than its {most} bytes of device memory")
        handle = self._device.alloc(size)
        if handle:
            self._device_bytes[handle] = size
        return handle

    def _free(self, handle: int) -> None:
        handle &= 0xFFFFFFFF
        if handle not in self._device_bytes:
            raise errors.PackageError(f"model.wasm frees buffer {handle}, which is not its own")
        self._device.free(handle)
        del self._device_bytes[handle]

    def _write(self, handle: int, offset: int, pointer: int, size: int) -> None:
        self._device.write(handle & 0xFFFFFFFF, offset & 0xFFFFFFFF, self._read(pointer, size & 0xFFFFFFFF))

    def _flush(self, pointer: int, words: int) -> None:
        self._device.flush(memoryview(self._read(pointer, 4 * (words & 0xFFFFFFFF))).cast("I"))

    def _read(self, pointer: int, size: int) -> bytearray:
        pointer &= 0xFFFFFFFF
        if pointer + size > self._memory.data_len(self._store):
            raise errors.PackageError("model.wasm names memory that it does not have")
        return self._memory.read(self._store, pointer, pointer + size)

    def _text(self, pointer: int) -> str:
        end = min(pointer + 1024, self._memory.data_len(self._store))
        text = bytes(self._memory.read(self._store, pointer, end))
        return text.split(b"\0")[0].decode(errors="replace")

    # Calls

    def _invoke(self, name: str, *arguments: int) -> int:
        if self._broken:
            raise errors.TvmWebgpuError("model.wasm failed before and can't go on; load the package again")
        self._store.set_fuel(self._sandbox.instructions)
        try:
            return (self._exports[name](self._store, *arguments) or 0) & 0xFFFFFFFF
        except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:  # the latter for WASI's proc_exit
            self._broken = True
            if isinstance(trap, wasmtime.Trap) and trap.trap_code == wasmtime.TrapCode.OUT_OF_FUEL:
                most = self._sandbox.instructions
                raise errors.SandboxError(f"model.wasm was stopped in {name} after {most} instructions") from trap
            reason = str(trap).strip().splitlines()[-1].strip()
            if self._memory.data_len(self._store) + GROWTH > self._sandbox.memory_bytes:
                most = self._sandbox.memory_bytes
                message = f"model.wasm used up its {most} bytes of memory in {name}: {reason}"
                raise errors.SandboxError(message) from trap
            raise errors.TvmWebgpuError(f"model.wasm failed in {name}: {reason}") from trap

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def _check(self, status: int) -> None:
        if status == 0:
            return
        self._raise_failure()  # the cause of what the module reports
        kind, _, message = self._text(self._invoke("tvmw_error")).partition(": ")
        if kind == _OUT_OF_MEMORY:
            raise errors.OutOfMemoryError(f"{message}: {errors.OutOfMemoryError.ADVICE}")
        if kind in _ERRORS:
            raise _ERRORS[kind](message)
        raise errors.TvmWebgpuError(f"{kind}: {message}")

    def _room(self, size: int) -> int:
        """A block of linear memory for arguments, kept between calls."""
        if size > self._room_size:
            self._invoke("free", self._room_at)
            self._room_at, self._room_size = self._invoke("malloc", size), size
            if not self._room_at:
                raise errors.OutOfMemoryError("model.wasm is out of memory")
        return self._room_at

    def _with_values(self, values: Sequence[Value], name: str, *before: int) -> None:
        """Calls `name(*before, values, n)` with the values in linear memory."""
        shapes_at = VALUE.size * len(values)
        pointer = self._room(shapes_at + 8 * sum(len(value.shape) for value in values))
        data, shapes = bytearray(), bytearray()
        for value in values:
            shape_at = pointer + shapes_at + len(shapes)
            fields = (value.kind, value.handle, value.object, value.dtype, len(value.shape), shape_at)
            data += VALUE.pack(*fields, value.payload())
            shapes += struct.pack(f"<{len(value.shape)}q", *value.shape)
        self._memory.write(self._store, data + shapes, pointer)
        # The module has to be called again, with what it wants to know of the device, until it needs nothing more.
        while (status := self._invoke(name, *before, pointer, len(values))) == CALL_AGAIN:
            self._raise_failure()
            self._supply()
        self._check(status)

    def _supply(self) -> None:
        """Copies from a device buffer to linear memory what the module asked for."""
        handle, size, at = struct.unpack("<3I", self._read(self._invoke("tvmw_wanted"), 12))
        (data,) = self._device.read([(handle, 0, size)])
        self._memory.write(self._store, bytearray(data), at)
        self._invoke("tvmw_supplied")

    def bind_params(self, values: Sequence[Value]) -> None:
        """Hands over the parameters, tensors in manifest order; they must outlive the instance."""
        self._with_values(values, "tvmw_bind_params")
        self._raise_failure()

    def call(self, entry: int, values: Sequence[Value]) -> list[Value]:
        """Calls an entry by index; each result that has an `object` must be released once."""
        self._with_values(values, "tvmw_call", entry)
        pointer = self._invoke("tvmw_results")
        (count,) = struct.unpack("<I", self._read(pointer, 4))
        table = self._read(pointer + 8, VALUE.size * count)
        results = [self._value(*fields) for fields in VALUE.iter_unpack(table)]
        if self._failure:
            for value in results:
                if value.object:
                    self.release(value.object)
        self._raise_failure()
        return results

    def _value(self, kind: int, handle: int, obj: int, dtype: int, ndim: int, shape: int, payload: bytes) -> Value:
        dims = struct.unpack(f"<{ndim}q", self._read(shape, 8 * ndim)) if kind == TENSOR else ()
        number = struct.unpack("<d" if kind == FLOAT else "<q", payload)[0] if kind in (INT, FLOAT) else 0
        offset = int.from_bytes(payload[:4], "little") if kind == TENSOR else 0
        return Value(kind, handle, obj, dtype, dims, number, offset)

    def release(self, obj: int) -> None:
        self._invoke("tvmw_release", obj)

    def trim(self) -> None:
        """Gives pooled device buffers that nothing uses back."""
        self._invoke("tvmw_trim")
