"""Apache TVM backend for WebGPU and WebAssembly: compile a model to a package, load a package and run it.

`import tvm` registers the backend once this is installed (entry-point group `tvm.backends`); in a source tree,
`register()` does. Names are imported on first use, so that importing this is cheap.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm_webgpu.errors import (
        DeviceError,
        DeviceLostError,
        InputError,
        InvalidModuleError,
        OutOfMemoryError,
        PackageError,
        SandboxError,
        TvmWebgpuError,
        UnsupportedError,
    )
    from tvm_webgpu.executor import load
    from tvm_webgpu.package import Package
    from tvm_webgpu.pipeline.build import compile
    from tvm_webgpu.registration import register

__version__ = "0.1.0"

_HOME = {
    "compile": "pipeline.build",
    "load": "executor",
    "Package": "package",
    "register": "registration",
    "TvmWebgpuError": "errors",
    "UnsupportedError": "errors",
    "InvalidModuleError": "errors",
    "PackageError": "errors",
    "SandboxError": "errors",
    "InputError": "errors",
    "DeviceError": "errors",
    "OutOfMemoryError": "errors",
    "DeviceLostError": "errors",
}

__all__ = [
    "DeviceError",
    "DeviceLostError",
    "InputError",
    "InvalidModuleError",
    "OutOfMemoryError",
    "Package",
    "PackageError",
    "SandboxError",
    "TvmWebgpuError",
    "UnsupportedError",
    "__version__",
    "compile",
    "load",
    "register",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'tvm_webgpu' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tvm_webgpu.{home}"), name)
    globals()[name] = value
    return value


if "tvm" in sys.modules:
    from tvm_webgpu.registration import autoload

    autoload()
