"""A package -> an executor that runs it with wasmtime and wgpu: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import wgpu

from tvm_webgpu.errors import DeviceError, DeviceLostError, InputError, OutOfMemoryError, PackageError
from tvm_webgpu.package import Entry, Package, Param, TensorSpec

from . import dtypes, instance
from .buffers import typed
from .device import check_device, choose_package, find_adapter, open_device
from .gpu import Gpu
from .instance import Instance, Sandbox, Value
from .profile import LaunchTimer, profile_of
from .trace import trace_of

__all__ = ["Executor", "Sandbox", "State", "load", "trace_of"]


class State:
    """An opaque result, such as a KV cache: give it to a later run of the same executor. Freed when dropped."""

    def __init__(self, executor: Executor, handle: int) -> None:
        self._executor = executor
        self._instance = executor._instance
        self._handle = handle

    def __del__(self) -> None:
        if self._instance is self._executor._instance:  # else it went with its device
            self._executor._dropped.append(self._handle)  # not now: the module may be running


class Executor:
    """A package on a device, its parameters uploaded. Not for use by two threads at once.

    `device` may be a wgpu device of the caller's with what the package requires; by default one is opened, from the
    adapter that `power_preference` ("high-performance" or "low-power") picks. Of a package with variants it runs the
    best that the device can, or the one that `variant` names ("baseline" for the package's own); the attribute of that
    name says which. `sandbox` bounds what the package's WebAssembly may use.

    Raises PackageError for a damaged package or one that needs what the device lacks, DeviceError without a usable GPU,
    and, here and in a run, SandboxError where the package uses up what it may.
    """

    def __init__(
        self,
        package: Package | str | os.PathLike[str],
        *,
        device: wgpu.GPUDevice | None = None,
        power_preference: str = "high-performance",
        variant: str | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        adapter = None if device else find_adapter(power_preference)
        self.variant, self.package = choose_package(package, device or adapter, variant)
        self._closed = True
        self._lost = False
        self._power_preference, self._sandbox = power_preference, sandbox
        self._device = device
        if device is not None:
            check_device(self.package, device)
        self._start(device or open_device(self.package, adapter))
        self._closed = False

    def _start(self, device: wgpu.GPUDevice) -> None:
        self._dropped: list[int] = []
        self._inputs: dict[tuple[str, str], tuple[int, int]] = {}
        self._gpu = Gpu(device, self.package.kernels)
        try:
            self._instance = Instance(self.package.wasm, self._gpu, self._sandbox)
            if self.package.params:
                self._instance.bind_params([self._param(param) for param in self.package.params])
        except wgpu.GPUError as error:
            raise typed(error, self.adapter) from error
        except OutOfMemoryError:
            self._gpu.close()
            raise

    def _param(self, param: Param) -> Value:
        what = f"parameter {param.name!r}"
        handle = self._gpu.buffers.make(len(param.data), what)
        self._gpu.write(handle, 0, param.data, what)
        return Value(instance.TENSOR, handle, dtype=dtypes.dlpack(param.dtype), shape=param.shape)

    @property
    def adapter(self) -> str:
        """What the graphics adapter is called."""
        return self._gpu.adapter_name

    def run(self, inputs: Mapping[str, object], entry: str = "main") -> dict[str, np.ndarray | State | int | float]:
        """Runs an entry: arrays, integers and states by input name; results by output name, in the manifest's order.

        An array must have the input's dtype; anything else that NumPy can read (a list, a float) is converted to it.
        Raises InputError for a missing, unknown or ill-shaped input, OutOfMemoryError, after which smaller ones may
        run, and DeviceLostError, after which the next run makes a new device if this one was not the caller's.
        """
        if self._closed:
            raise InputError("this executor is closed")
        if self._lost and self._device is None:
            self._start(open_device(self.package, find_adapter(self._power_preference)))
            self._lost = False
        self._release_dropped()
        function = self.package.entry(entry)
        self._check_names(function, inputs)
        try:
            values = [self._value(function, spec, inputs[spec.name]) for spec in function.inputs]
            results = self._instance.call(self.package.entries.index(function), values)
            return self._outputs(function, results)
        except wgpu.GPUError as error:
            found = typed(error, self.adapter)
            self._recover(found)
            raise found from error
        except DeviceError as error:
            self._recover(error)
            raise

    def _recover(self, error: DeviceError) -> None:
        """What was kept for the next run is given back, or with a lost device forgotten."""
        self._lost = self._lost or isinstance(error, DeviceLostError)
        if isinstance(error, OutOfMemoryError):
            self.trim()

    def profile(self, inputs: Mapping[str, object], entry: str = "main", runs: int = 5) -> dict[str, Any]:
        """Runs an entry some times, after one that is not counted, and measures each launch on the GPU.

        Gives `launches` in their order and `kernels` by their time, each with `kernel`, `ms`, and where the package
        says them `bytes` and `flops`; `ms` of all launches, and `span` from the first to the last. Times are averages.
        Every launch gets a compute pass of its own, so that the sum is more than a run takes. `trace_of` makes a file
        for trace viewers of it. UnsupportedError if a
        device of the caller's lacks the feature "timestamp-query"; else as run does.
        """
        measured = []
        for _ in range(max(1, runs) + 1):
            self._gpu.timer = timer = LaunchTimer(self._gpu.device)
            try:
                self.run(inputs, entry)
            finally:
                self._gpu.timer = None
            measured.append((timer.launches, timer.read()))
        return profile_of(self.package.kernels, measured[1:])

    def memory(self) -> dict[str, int]:
        """Bytes of device memory: `parameters`, and `others`, such as inputs and what is kept for the next run."""
        parameters = sum(len(param.data) for param in self.package.params)
        return {"parameters": parameters, "others": self._gpu.buffers.size - parameters}

    def _check_names(self, function: Entry, inputs: Mapping[str, object]) -> None:
        wanted = [spec.name for spec in function.inputs]
        takes = f"entry {function.name!r} takes " + (", ".join(map(repr, wanted)) or "none")
        if missing := [name for name in wanted if name not in inputs]:
            raise InputError(f"missing input {', '.join(map(repr, missing))}; {takes}")
        if unknown := [name for name in inputs if name not in wanted]:
            raise InputError(f"unknown input {', '.join(map(repr, unknown))}; {takes}")

    def _value(self, function: Entry, spec: TensorSpec, given: object) -> Value:
        if spec.kind == "object":
            if not isinstance(given, State) or given._executor is not self:
                raise InputError(f"input {spec.name!r} must be a state that this executor's run gave")
            if given._instance is not self._instance:
                raise InputError(f"input {spec.name!r} is a state that was lost with its device")
            return Value(instance.OBJECT, object=given._handle)
        if spec.kind != "tensor":
            if not isinstance(given, int | np.integer):
                raise InputError(f"input {spec.name!r} must be an integer")
            return Value(instance.INT, number=int(given))
        array = self._array(spec, given)
        return Value(
            instance.TENSOR, self._upload(function, spec, array), dtype=dtypes.dlpack(spec.dtype), shape=array.shape
        )

    def _array(self, spec: TensorSpec, given: object) -> np.ndarray:
        wanted = dtypes.numpy(spec.dtype)
        try:
            array = given if isinstance(given, np.ndarray | np.generic) else np.asarray(given, wanted)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"input {spec.name!r} is not an array of {spec.dtype}: {error}") from error
        if array.dtype != wanted:
            raise InputError(f"input {spec.name!r} has dtype {array.dtype}, expected {spec.dtype}; use .astype")
        return np.asarray(array, order="C")

    def _upload(self, function: Entry, spec: TensorSpec, array: np.ndarray) -> int:
        """The input's own buffer, kept for the next call of this size so that bind groups stay."""
        key, what = (function.name, spec.name), f"input {spec.name!r}"
        handle, size = self._inputs.get(key, (0, -1))
        if size != array.nbytes:
            if handle:
                del self._inputs[key]
                self._gpu.free(handle)
            try:
                handle = self._gpu.buffers.make(array.nbytes, what)
            except OutOfMemoryError:
                self._instance.trim()
                handle = self._gpu.buffers.make(array.nbytes, what)
            self._inputs[key] = handle, array.nbytes
        self._gpu.write(handle, 0, array.reshape(-1).view(np.uint8).data, what)
        return handle

    def _outputs(self, function: Entry, results: list[Value]) -> dict[str, np.ndarray | State | int | float]:
        states = {id(v): State(self, v.object) for v in results if v.kind == instance.OBJECT}
        wanted = len(function.outputs)
        try:
            if len(results) != wanted:
                raise PackageError(f"{function.name} gave {len(results)} results, the manifest says {wanted}")
            tensors = [value for value in results if value.kind == instance.TENSOR]
            types = [dtypes.numpy(dtypes.name_of(value.dtype)) for value in tensors]
            sizes = [int(np.prod(value.shape)) * dtype.itemsize for value, dtype in zip(tensors, types)]
            ranges = [(value.handle, value.offset, size) for value, size in zip(tensors, sizes)]
            arrays: dict[int, np.ndarray] = {
                id(value): np.frombuffer(data, dtype).reshape(value.shape).copy()
                for value, dtype, data in zip(tensors, types, self._gpu.read(ranges))
            }
        finally:
            for value in results:
                if value.object and value.kind != instance.OBJECT:
                    self._instance.release(value.object)
        return {
            spec.name: (arrays | states).get(id(value), value.number) for spec, value in zip(function.outputs, results)
        }

    def _release_dropped(self) -> None:
        while self._dropped:
            self._instance.release(self._dropped.pop())

    def trim(self) -> None:
        """Gives device memory back that is only kept for the next call."""
        if not self._closed and not self._lost:
            self._release_dropped()
            for handle, _ in self._inputs.values():
                self._gpu.free(handle)
            self._inputs.clear()
            self._instance.trim()

    def close(self) -> None:
        """Frees all device memory; states become useless."""
        if not self._closed:
            self._closed = True
            self._gpu.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    package: str | os.PathLike[str],
    *,
    device: wgpu.GPUDevice | None = None,
    power_preference: str = "high-performance",
    variant: str | None = None,
    sandbox: Sandbox | None = None,
) -> Executor:
    """An executor of the package in this folder; see Executor."""
    return Executor(package, device=device, power_preference=power_preference, variant=variant, sandbox=sandbox)
