"""Every external repository, for WORKSPACE (Bazel 4 to 7) and for MODULE.bazel (7 and newer) alike."""

load(":deb.bzl", "deb_repository")
load(":host.bzl", "coverage_stub", "python_repository")
load(":npm.bzl", "npm_repository")
load(":pip.bzl", "pip_repository")

# Of ziglang's 19,546 files, what C for WebAssembly and for x86-64 Linux needs.
_ZIG = ["ziglang=ziglang/lib/" + folder for folder in [
    "c.zig",
    "c/",
    "compiler",
    "include/",
    "libc/glibc/",
    "libc/include/any-linux-any/",
    "libc/include/generic-glibc/",
    "libc/include/generic-musl/",
    "libc/include/wasm-wasi-musl/",
    "libc/include/x86",
    "libc/musl/",
    "libc/wasi/",
    "std/",
    "ubsan_rt.zig",
]] + ["ziglang=ziglang/__", "ziglang=ziglang/zig", "ziglang=ziglang-"]

# What LLD's linker for WebAssembly reaches of LLVM.
_LLVM = [
    "BinaryFormat",
    "BitReader",
    "BitstreamReader",
    "Core",
    "Demangle",
    "MC",
    "MCParser",
    "Object",
    "Option",
    "Remarks",
    "Support",
    "TargetParser",
    "TextAPI",
]

def module_repositories():
    """What both kinds of Bazel need."""
    python_repository(name = "host_python")
    pip_repository(name = "pip", lock = "//:requirements.lock", keep = _ZIG)
    npm_repository(
        name = "npm",
        package = "//runtime_ts:package.json",
        lock = "//runtime_ts:package-lock.json",
    )
    deb_repository(
        name = "spirv_tools_deb",
        package = "spirv-tools",
        version = "2023.1-2",
        sha256 = "51b1e7352dc84471623d7be38547009bd7b71ffaa1900e512060f8a22503f2dd",
        files = ["usr/lib/x86_64-linux-gnu/libSPIRV-Tools.a", "usr/lib/x86_64-linux-gnu/libSPIRV-Tools-opt.a"],
    )
    deb_repository(
        name = "lld_deb",
        package = "liblld-19",
        version = "1:19.1.7-3~deb12u1",
        sha256 = "d7ec22abb56dc7d1ac7b92bea2f119a8a3ea2072fa63884baf4a157c952246a1",
        files = ["usr/lib/llvm-19/lib/liblldWasm.a", "usr/lib/llvm-19/lib/liblldCommon.a"],
    )
    deb_repository(
        name = "llvm_deb",
        package = "llvm-19-dev",
        version = "1:19.1.7-3~deb12u1",
        sha256 = "05d3347ff02b6d55189f1e4ab5e946d3713677a04588a775100f218a349d02cf",
        files = ["usr/lib/llvm-19/lib/libLLVM%s.a" % name for name in _LLVM],
    )
    deb_repository(
        name = "libstdcxx_deb",
        package = "libstdc++-12-dev",
        version = "12.2.0-14+deb12u1",
        sha256 = "d28def6c23630432b57cb38a4c2fd67a79d4e0484027386ca6e8d6005c3d7a73",
        files = ["usr/lib/gcc/x86_64-linux-gnu/12/libstdc++.a"],
    )

def workspace_repositories():
    """What WORKSPACE calls."""
    module_repositories()
    coverage_stub(name = "remote_coverage_tools")
