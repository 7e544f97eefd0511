"""Arguments -> a run of a tool of PyPI's ziglang, with which the C runtime is built."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tvm_webgpu.errors import TvmWebgpuError


class ToolchainError(TvmWebgpuError):
    """ziglang is not installed, or a tool in it failed; the text is what the tool said."""


def zig(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Runs `zig arguments...` and gives what it printed to stderr; raises ToolchainError when it fails."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise ToolchainError("building the WebAssembly runtime needs a C compiler: run `pip install ziglang`")
    program = Path(spec.origin).parent / "zig"
    done = subprocess.run([program, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"{arguments[0]} failed: {done.stderr.strip()}")
    return done.stderr
