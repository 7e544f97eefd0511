"""The C runtime and wasi-libc -> the two files that `linker` joins with every model: `runtime.bc` and `libc.o`.

    python -m tvm_webgpu.codegen.wasm32.build_runtime OUT

Runs once per release, with PyPI's ziglang: its first build of wasi-libc takes about a minute. The bytes depend on the
sources and on the versions of ziglang and llvmlite alone.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import tempfile
from pathlib import Path

import llvmlite.binding as llvm

from .toolchain import zig

RUNTIME = Path(__file__).parent / "runtime"
CFLAGS = [
    *("-target", "wasm32-wasi", "-mcpu=generic+simd128+bulk_memory+nontrapping_fptoint+sign_ext"),
    *("-std=c17", "-O2", "-g0", "-fno-sanitize=all", "-fno-stack-protector", "-fomit-frame-pointer"),
    *("-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"),
]

# What host code or LLVM's lowering of it may call; each pulls its object, and the last link drops what is unused.
LIBC = [
    *("malloc", "calloc", "realloc", "free", "aligned_alloc", "abort"),
    *("memcpy", "memmove", "memset", "memcmp", "strlen", "strncat"),
]
LIBM = [
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "sin", "sinh", "tan", "tanh"),
    *("exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "pow", "sqrt", "cbrt", "hypot", "ldexp"),
    *("ceil", "floor", "nearbyint", "rint", "round", "trunc", "fabs", "fma", "fmax", "fmin", "fmod", "erf", "tgamma"),
]
COMPILER_RT = {
    "__multi3": "wide(wide, wide)",
    "__divti3": "wide(wide, wide)",
    "__udivti3": "wide(wide, wide)",
    "__modti3": "wide(wide, wide)",
    "__umodti3": "wide(wide, wide)",
    "__ashlti3": "wide(wide, int)",
    "__lshrti3": "wide(wide, int)",
    "__truncsfhf2": "unsigned short(float)",
    "__truncdfhf2": "unsigned short(double)",
    "__extendhfsf2": "float(unsigned short)",
}


def roots() -> str:
    """A C file that names every function wanted, so that linking it pulls them."""
    names = [*LIBC, *LIBM, *(f"{name}f" for name in LIBM), *COMPILER_RT]
    declarations = [re.sub(r"\(", f" {name}(", f"extern {kind}", count=1) + ";" for name, kind in COMPILER_RT.items()]
    includes = ["#include <math.h>", "#include <stdlib.h>", "#include <string.h>", "typedef __int128 wide;"]
    table = "void *const tvmw_libc[] = {" + ", ".join(f"(void *){name}" for name in names) + "};"
    return "\n".join([*includes, *declarations, table, ""])


def bitcode(out: Path) -> None:
    """Compiles runtime/*.c to one bitcode module, without the attributes that would fix a processor."""
    with tempfile.TemporaryDirectory() as scratch:
        module = llvm.parse_assembly("")
        for source in sorted(RUNTIME.glob("*.c")):
            compiled = Path(scratch) / f"{source.stem}.bc"
            # The working directory and relative names keep paths out of the output.
            zig("cc", *CFLAGS, "-c", "-emit-llvm", source.name, "-o", str(compiled), cwd=RUNTIME)
            part = str(llvm.parse_bitcode(compiled.read_bytes()))
            part = re.sub(r' "(target-cpu|target-features|frame-pointer)"="[^"]*"', "", part)
            part = re.sub(r"^!llvm\.ident.*\n", "", part, flags=re.M)
            if not str(module.triple):
                module.triple, module.data_layout = re.findall(r'^target \w+ = "(.*)"$', part, re.M)[::-1]
            module.link_in(llvm.parse_assembly(part))
        module.name = "runtime"
        module.verify()
        out.write_bytes(module.as_bitcode())


def libc(out: Path) -> None:
    """Joins the members of wasi-libc and compiler-rt that models may need in one object, without debug sections."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "roots.c").write_text(roots())
        # A cache of the caller's own is only for speed: nothing of its place gets into the output.
        environment = {"ZIG_GLOBAL_CACHE_DIR": "global", "ZIG_LOCAL_CACHE_DIR": "local", **os.environ}
        run = functools.partial(zig, cwd=scratch, env=environment)
        run("cc", *CFLAGS, "-fno-builtin", "-c", "roots.c", "-o", "roots.o")
        log = run("cc", *CFLAGS, "-mexec-model=reactor", "-v", "roots.o", "-o", "probe.wasm")
        archives = re.findall(r"\S+/lib\w+\.a", next(line for line in log.splitlines() if line.startswith("wasm-ld")))
        run("wasm-ld", "-r", "--strip-debug", "roots.o", *archives, "-o", str(out.absolute()))


def build(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    bitcode(out / "runtime.bc")
    libc(out / "libc.o")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
