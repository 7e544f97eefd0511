"""Relax host code (LLVM IR) -> one WebAssembly module, linked with the C runtime in runtime/."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .linker import link
    from .placement import check_host_functions
    from .tables import Entry, Input, Kernel

__all__ = ["Entry", "Input", "Kernel", "check_host_functions", "link"]


def __getattr__(name: str) -> object:
    # build_runtime is run where TVM is not installed.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module(".linker", __name__), name)
