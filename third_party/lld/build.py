"""Static libraries of LLD, LLVM and libstdc++ and shim.c in, the program `wasm-ld` out.

`python build.py --output wasm-ld ARCHIVE...` links Debian's archives with the compiler and linker of ziglang: neither a
C++ compiler nor development headers are needed. The program asks for a C library of 2018 (glibc 2.28) and libgcc_s.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_TARGET = "x86_64-linux-gnu.2.28"
_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64")


def _unwinder() -> str:
    for folder in _FOLDERS:
        if (path := Path(folder, "libgcc_s.so.1")).exists():
            return str(path)
    raise FileNotFoundError(f"libgcc_s.so.1 is in none of {', '.join(_FOLDERS)}")


def build(archives: Sequence[Path], output: Path) -> None:
    """Links `output`; raises CalledProcessError if a tool fails."""
    with tempfile.TemporaryDirectory() as scratch:
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", _TARGET]
        environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch}
        shim = str(Path(scratch, "shim.o"))
        subprocess.run(
            [*zig, "-c", "-O2", "-fPIE", "-g0", "-Wall", "-Wextra", "-fno-sanitize=all", "-o", shim,
             str(Path(__file__).with_name("shim.c"))],
            check=True, env=environment,
        )  # fmt: skip
        # The system's libgcc_s may come from a newer C library than the target's, hence the flag for shared libraries.
        subprocess.run(
            [*zig, "-o", str(output), shim, "-Wl,--gc-sections,--strip-all,--build-id=none,--allow-shlib-undefined",
             "-Wl,--start-group", *map(str, archives), "-Wl,--end-group", _unwinder()],
            check=True, env=environment,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("archives", type=Path, nargs="+")
    args = parser.parse_args()
    build(args.archives, args.output)


if __name__ == "__main__":
    main()
