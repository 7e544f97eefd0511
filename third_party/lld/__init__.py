"""LLD's linker for WebAssembly, a program that the package carries: objects in, a module out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tvm_webgpu.errors import TvmWebgpuError

PROGRAM = Path(__file__).with_name("wasm-ld")


class LinkerError(TvmWebgpuError):
    """The linker is missing, or refused its input; the text is what it said."""


def wasm_ld(*arguments: str, cwd: Path) -> None:
    """Runs `wasm-ld arguments...` in `cwd`; raises LinkerError when it fails. It takes objects only, no bitcode."""
    try:
        done = subprocess.run([PROGRAM, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LinkerError(f"{PROGRAM} can't be run ({error.strerror or error}): install or build it again") from error
    if done.returncode:
        raise LinkerError(f"linking WebAssembly failed: {done.stderr.strip()}")
