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

def workspace_repositories():
    """What WORKSPACE calls."""
    module_repositories()
    coverage_stub(name = "remote_coverage_tools")
