"""SPIRV-Tools' static libraries and shim.c in, one shared library out.

`python build.py --archives DIR --output libspirv_tools.so` links the archives of Debian's package `spirv-tools`
with the compiler and linker of ziglang: neither a C++ compiler nor development headers are needed. The C++
standard library is the system's own libstdc++.so.6, which every glibc system with a package manager has.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_ARCHIVES = ("libSPIRV-Tools.a", "libSPIRV-Tools-opt.a")
_SYSTEM_LIBRARIES = ("libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6")
_LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64")
_ENTRY_POINTS = (
    "spvContextCreate", "spvContextDestroy", "spvTextToBinaryWithOptions", "spvBinaryToText", "spvBinaryDestroy",
    "spvTextDestroy", "spvDiagnosticDestroy", "spvValidateWithOptions", "spvValidatorOptionsCreate",
    "spvValidatorOptionsDestroy", "spvParseTargetEnv", "tvmw_spirv_optimize",
    "tvmw_spirv_free",
)  # fmt: skip


def _system_library(name: str) -> Path:
    for folder in _LIBRARY_FOLDERS:
        if (path := Path(folder, name)).exists():
            return path
    raise FileNotFoundError(f"{name} is in none of {', '.join(_LIBRARY_FOLDERS)}")


def build(archives: Path, output: Path, zig: Sequence[str] = (sys.executable, "-m", "ziglang")) -> None:
    """Links `output` from the archives in `archives`; raises CalledProcessError if a tool fails."""
    shim = Path(__file__).with_name("shim.c")
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {
            "ZIG_GLOBAL_CACHE_DIR": scratch,
            "ZIG_LOCAL_CACHE_DIR": scratch,
        }
        shim_object = Path(scratch, "shim.o")
        exports = Path(scratch, "exports.map")
        exports.write_text("{ global: " + " ".join(f"{name};" for name in _ENTRY_POINTS) + " local: *; };")
        subprocess.run(
            [*zig, "cc", "-target", "x86_64-linux-gnu", "-c", "-O2", "-fPIC", "-g0", "-Wall", "-Wextra",
             "-fno-sanitize=all", "-o", str(shim_object), str(shim)],
            check=True, env=environment,
        )  # fmt: skip
        # Discarding what the entry points do not reach halves the library.
        subprocess.run(
            [*zig, "ld.lld", "-shared", "--gc-sections", "--eh-frame-hdr", "--strip-all", "--build-id=none",
             "-z", "defs", "-soname", output.name, "--version-script", str(exports),
             "-o", str(output), str(shim_object), "--start-group",
             *(str(archives / name) for name in _ARCHIVES), "--end-group",
             *(str(_system_library(name)) for name in _SYSTEM_LIBRARIES)],
            check=True, env=environment,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archives", type=Path, required=True, help="folder that holds " + " and ".join(_ARCHIVES))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--zig", default=None, help="the zig program, else ziglang of this Python")
    args = parser.parse_args()
    build(args.archives, args.output, *([[args.zig]] if args.zig else []))


if __name__ == "__main__":
    main()
