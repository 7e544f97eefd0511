"""Takes over TVM's target "webgpu": `tvm.compile(mod, target="webgpu")` then goes through this package.

TVM calls `autoload` at the end of `import tvm` (entry-point group `tvm.backends`). It only puts small hooks in
place; the pipeline itself is imported when something is compiled for webgpu. Other targets keep TVM's functions.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tvm
    from tvm.target import Target

OPT_OUT = "TVM_DEVICE_BACKEND_AUTOLOAD"


def autoload() -> None:
    """Registers, unless TVM_DEVICE_BACKEND_AUTOLOAD is 0 or TVM is still being imported by someone else."""
    if os.environ.get(OPT_OUT, "1") != "0" and hasattr(sys.modules.get("tvm"), "register_global_func"):
        register()


@functools.cache
def register() -> None:
    """Takes over the target; a second call does nothing."""
    import tvm

    tvm.register_global_func("target.build.webgpu", _build, override=True)
    _take_over(tvm.relax, "get_default_pipeline", _relax_pipeline)
    _take_over(tvm.tirx, "get_default_tir_pipeline", _tir_pipeline)


def _take_over(module: ModuleType, name: str, ours: Callable) -> None:
    """Replaces a function that TVM looks up by attribute at each call, for target webgpu only."""
    theirs = getattr(module, name)

    @functools.wraps(theirs)
    def choose(target: Target) -> object:
        return (ours if target.kind.name == "webgpu" else theirs)(target)

    setattr(module, name, choose)


def _build(mod: tvm.IRModule, target: Target) -> tvm.runtime.Module:
    from tvm_webgpu.pipeline.plugin import build

    return build(mod, target)


def _relax_pipeline(target: Target) -> tvm.transform.Pass:
    from tvm_webgpu.pipeline.plugin import relax_pipeline

    return relax_pipeline(target)


def _tir_pipeline(target: Target) -> tuple:
    from tvm_webgpu.pipeline.plugin import tir_pipeline

    return tir_pipeline(target)
