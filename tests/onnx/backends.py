"""Ways to run a case: `BACKENDS` maps a name to a function from a case to the outputs of each of its data sets.

Each raises `Failure`, which says how far the case came.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnx
import tvm
import tvm_webgpu
import wgpu
from onnx import helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm_webgpu.executor.device import open_device
from tvm_webgpu.package import Package

from .cases import Case

SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
"""Chromium's software driver, for which Dawn is made."""

RUN_LIMIT = 60.0
"""Seconds for all runs of a case in Node or Chromium, its shaders' compilation with them."""

SMALL = 16
"""The most elements of an input that may be fixed when a case is compiled."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of each data set, and the inputs that were fixed when the case was compiled."""

    values: list[list[object]]
    fixed: tuple[str, ...] = ()


BYTES = {"int2": "int8", "int4": "int8", "uint2": "uint8", "uint4": "uint8"}

Backend = Callable[[Case], Outputs]

LLVM = {"kind": "llvm", "opt-level": 0}
"""Less optimisation, for the same results in a shorter time."""


class Failure(Exception):
    """A case that did not give outputs; `stage` is import, compile or run."""

    def __init__(self, stage: str, reason: str):
        super().__init__(reason)
        self.stage, self.reason = stage, reason


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Turns whatever the body raises into a Failure of this stage."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # TVM puts its message last, after a trace.
        raise Failure(name, f"{type(error).__name__}: {lines[-1] if lines else ''}"[:500]) from error


def llvm(case: Case) -> Outputs:
    """TVM alone: its importer, its default pipeline, its llvm target."""
    with stage("import"):
        mod = from_onnx(case.proto())
    with stage("compile"):
        mod = relax.transform.DecomposeOpsForInference()(mod)
        machine = relax.VirtualMachine(tvm.compile(mod, tvm.target.Target(LLVM)), tvm.cpu())
    with stage("run"):
        return Outputs([_values(machine["main"](*map(_tvm_value, inputs))) for inputs, _ in case.datasets])


def _tvm_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(map(_tvm_value, value))
    array = _input(value)
    if array.dtype.name == "bfloat16":
        return tvm.runtime.tensor(array.view(np.uint16))._create_view(array.shape, dtype="bfloat16")
    return tvm.runtime.tensor(array)


def _values(result: object) -> list[object]:
    """The outputs of a function: one, or a tuple of them."""
    if isinstance(result, tvm.runtime.Tensor):
        return [_numpy(result)]
    if isinstance(result, tvm.runtime.ShapeTuple):
        return [np.array(result, np.int64)]
    return [_numpy(item) if isinstance(item, tvm.runtime.Tensor) else _values(item) for item in result]


def _numpy(tensor: tvm.runtime.Tensor) -> np.ndarray:
    array = tensor.numpy()
    if str(tensor.dtype) == "bfloat16":
        import ml_dtypes

        return array.view(ml_dtypes.bfloat16)
    return array


def _input(value: object) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


@dataclass(frozen=True)
class Built:
    """A case's package, and the inputs that had to be fixed when it was compiled."""

    package: Package
    fixed: tuple[str, ...] = ()

    def feeds(self, case: Case) -> Iterator[dict[str, np.ndarray]]:
        """The inputs of each data set by name."""
        for inputs, _ in case.datasets:
            yield {name: _in_bytes(value) for name, value in _named(case, inputs).items() if name not in self.fixed}


def _in_bytes(value: np.ndarray) -> np.ndarray:
    """Whole numbers of 2 and 4 bits as a package takes them."""
    return value.astype(BYTES[value.dtype.name]) if value.dtype.name in BYTES else value


def _from_bytes(case: Case, values: Iterable[np.ndarray]) -> list[object]:
    """Outputs as the model calls them: those that a package holds in bytes are of 2 or 4 bits."""
    outputs = [helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type or 1)
               for output in case.proto().graph.output]
    return [value.astype(kind) if kind.name in BYTES else value for value, kind in zip(values, outputs)]


def build(case: Case, features: tuple[str, ...] = ()) -> Built:
    """Compiles a case as it is, or else with its small inputs (axes, sizes, ...) as constants.

    A Failure of the stage import or compile says why it can't be compiled as it is.
    """
    try:
        return Built(_compile(case, features))
    except Failure as failure:
        # Not the first input, which is the data, unless the others are none.
        inputs = list(_named(case, case.datasets[0][0]).items())
        small = {name: value for name, value in inputs[1:] or inputs if value.ndim <= 1 and value.size <= SMALL}
        if not small or len(case.datasets) > 1:
            raise
        try:
            return Built(_compile(case, features, small), tuple(small))
        except Failure:
            raise failure from None


def _compile(case: Case, features: tuple[str, ...], params: Mapping[str, object] | None = None) -> Package:
    reached = "import"

    def listen(phase: str, done: int, total: int) -> None:
        nonlocal reached
        reached = "import" if phase == "import" and done < total else "compile"

    try:
        with stage("compile"):
            return tvm_webgpu.compile(case.proto(), params=params, features=features, progress=listen)
    except Failure as failure:
        raise Failure(reached, failure.reason) from failure


def _named(case: Case, inputs: list) -> dict[str, np.ndarray]:
    return {value.name: _input(data) for value, data in zip(case.proto().graph.input, inputs)}


@cache
def _device(features: tuple[str, ...], limits: tuple[tuple[str, int], ...]) -> wgpu.GPUDevice:
    return open_device(Package("", (), (), (), b"", features=features, limits=dict(limits)))


def run_wgpu(case: Case) -> Outputs:
    """Our compiler, and the Python executor in this process."""
    built = build(case)
    with stage("run"):
        device = _device(built.package.features, tuple(built.package.limits.items()))
        with tvm_webgpu.executor.Executor(built.package, device=device) as executor:
            runs = [_from_bytes(case, executor.run(feeds).values()) for feeds in built.feeds(case)]
            return Outputs(runs, built.fixed)


def run_runtime(case: Case, host: str, driver: str, features: tuple[str, ...] = ()) -> Outputs:
    """Our compiler, and the TypeScript runtime in Node with Dawn or in Chromium."""
    from .runtime import Lost, runtime

    built = build(case, features)
    try:
        with stage("run"):
            values = runtime(host, driver).run(built.package, list(built.feeds(case)), RUN_LIMIT)
    except Failure as failure:
        if isinstance(failure.__cause__, Lost):
            raise Failure(failure.__cause__.how.how, "") from failure
        raise
    return Outputs([_from_bytes(case, outputs) for outputs in values], built.fixed)


BACKENDS: dict[str, Backend] = {
    "llvm": llvm,
    "wgpu": run_wgpu,
    "node": partial(run_runtime, host="node", driver=os.environ.get("SWIFTSHADER", SWIFTSHADER)),
    "software": partial(
        run_runtime, host="node", driver=os.environ.get("SWIFTSHADER", SWIFTSHADER), features=("software",)
    ),
    "gpu": partial(run_runtime, host="node", driver=os.environ.get("VK_DRIVER_FILES", "")),
    "chromium": partial(run_runtime, host="chromium", driver="", features=("software",)),
}
"""`node` is Dawn on SwiftShader (or on what the variable of this name points to), `software` there, too, but with the
kernels that a package's variant for software GPUs has; `gpu` is Dawn on the machine's GPU."""
