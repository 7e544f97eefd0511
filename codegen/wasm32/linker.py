"""Host code of a model (TVM's LLVM IR) and its tables -> one WebAssembly module with the ABI of docs/architecture.md.

The IR, the C runtime's bitcode and the tables become one LLVM module: the function slots through which TVM's code calls
kernels and `vm.builtin.*` are filled with constants, so that after internalising and optimising only what is used
stays, called directly. wasm-ld then adds what is needed of libc.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import llvmlite.binding as llvm
import tvm
from tvm_webgpu.errors import InvalidModuleError, TvmWebgpuError, UnsupportedError
from tvm_webgpu.lld import wasm_ld

from . import executable as relax_executable
from .placement import check_host_functions
from .tables import Entry, Input, Kernel, Tables, entry_tables, executable_tables, kernel_functions, quoted

__all__ = ["Entry", "Input", "Kernel", "check_host_functions", "link"]

PREBUILT = Path(__file__).parent / "prebuilt"
TRIPLE = "wasm32-unknown-wasi"
FEATURES = "+simd128,+bulk-memory,+bulk-memory-opt,+nontrapping-fptoint,+sign-ext,+mutable-globals"
EXPORTS = (
    "_initialize", "malloc", "free", "tvmw_bind_params", "tvmw_call", "tvmw_results", "tvmw_release", "tvmw_error",
    "tvmw_trim", "tvmw_unused", "tvmw_wanted", "tvmw_supplied",
)  # fmt: skip
STACK_BYTES = 1 << 18

_SLOT = re.compile(r'^(@"?\.tvm_func\.(.+?)"?) = internal global ptr null', re.M)


def _prebuilt(name: str) -> bytes:
    path = PREBUILT / name
    if not path.exists():
        raise TvmWebgpuError(
            f"the WebAssembly runtime is not built ({name} is missing): run "
            f"`python -m tvm_webgpu.codegen.wasm32.build_runtime {PREBUILT}`"
        )
    return path.read_bytes()


def _unescape(name: str) -> str:
    return re.sub(r"\\([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), name)


def _resolve(host_ir: str, kernels: Sequence[Kernel], runtime: llvm.ModuleRef, tables: Tables) -> str:
    """Fills every function slot of the host's IR: a kernel, or a function of the runtime."""
    by_name = {kernel.name: kernel for kernel in kernels}
    builtins = {function.name for function in runtime.functions if not function.is_declaration}
    objects: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        name = _unescape(match[2])
        objects[name] = f"tvmw.function.{name}"
        return f"{match[1]} = internal constant ptr {quoted(objects[name])}"

    text = _SLOT.sub(fill, host_ir)
    missing = [name for name in objects if name not in by_name and name.replace(".", "_") not in builtins]
    if missing:
        raise UnsupportedError(
            f"the model calls functions that the WebAssembly runtime lacks: {', '.join(missing)}; a package has "
            "nothing but Relax operators and TIR functions (R.call_tir): write them so, or leave them out"
        )
    kernel_functions(tables, [by_name[name] for name in objects if name in by_name], objects)
    for name, symbol in objects.items():
        if name not in by_name:
            tables.packed_function(symbol, name.replace(".", "_"))
    return text + "".join(f"{quoted(symbol)} = external global i8\n" for symbol in objects.values())


def _parse(text: str, layout: str) -> llvm.ModuleRef:
    """Parses IR for our triple, without what would fix a processor or register a library at start, and debug data."""
    text = re.sub(r"^(target |@llvm\.global_ctors|source_filename|!llvm\.dbg| *#dbg_).*\n", "", text, flags=re.M)
    text = re.sub(r",? !dbg !\d+", "", text)
    text = re.sub(r' "(target-cpu|target-features|frame-pointer)"="[^"]*"', "", text)
    text = re.sub(r"^(attributes #\d+ = \{) *\}", r"\1 nounwind }", text, flags=re.M)  # LLVM refuses an empty group
    try:
        return llvm.parse_assembly(f'target datalayout = "{layout}"\ntarget triple = "{TRIPLE}"\n{text}')
    except RuntimeError as error:
        raise InvalidModuleError(f"LLVM does not take the host code: {error}") from error


def _internalise(module: llvm.ModuleRef) -> None:
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in EXPORTS:
            value.storage_class = "default"
            value.linkage = "internal"


def _compile(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> bytes:
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return machine.emit_object(module)


def _undefined(module: llvm.ModuleRef) -> list[str]:
    """Functions of TVM's naming that nothing defines; wasm-ld would report them less clearly."""
    names = (f.name for f in module.functions if f.is_declaration)
    return [name for name in names if name.startswith(("TVM", "__tvm_ffi_", "vm_"))]


def link(
    host_ir: str,
    executable: tvm.relax.VMExecutable | relax_executable.Executable,
    kernels: Sequence[Kernel],
    entries: Sequence[Entry],
    param_count: int | None = None,
) -> bytes:
    """Links a model's host code to a WebAssembly module.

    `host_ir` is the LLVM IR text of the host module (wasm32, `system_lib_prefix` ""), `executable` what
    `relax.ExecBuilder.get()` gave for the same functions, and `param_count` the number of parameters in the package
    (by default what the entries use). Raises UnsupportedError, naming it, for a function that the runtime lacks.
    """
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(features=FEATURES, opt=2, reloc="static")
    layout = str(machine.target_data)
    if not isinstance(executable, relax_executable.Executable):
        executable = relax_executable.load(executable)
    if param_count is None:
        param_count = max((index + 1 for entry in entries for index in entry.params), default=0)

    runtime = _parse(str(llvm.parse_bitcode(_prebuilt("runtime.bc"))), layout)
    tables = Tables()
    host = _resolve(host_ir, kernels, runtime, tables)
    functions = executable_tables(tables, executable)
    entry_tables(tables, entries, functions, param_count)
    for part in (host, tables.text()):
        runtime.link_in(_parse(part, layout))
    _internalise(runtime)
    runtime.verify()
    code = _compile(runtime, machine)
    if names := _undefined(runtime):
        raise UnsupportedError("host code calls functions that do not exist: " + ", ".join(names))

    with tempfile.TemporaryDirectory() as scratch:
        parts = {"model.o": code, "libc.o": _prebuilt("libc.o")}
        for name, data in parts.items():
            (Path(scratch) / name).write_bytes(data)
        wasm_ld(
            "--no-entry", *(f"--export={name}" for name in EXPORTS), "--export-memory", "--gc-sections",
            "--strip-all", "--stack-first", "-z", f"stack-size={STACK_BYTES}", "-O2", *parts, "-o", "model.wasm",
            cwd=Path(scratch),
        )  # fmt: skip
        return (Path(scratch) / "model.wasm").read_bytes()
