"""Functions of floats as host code computes them: accuracy.py's cases by TVM's code generator and our libm, in wasm.

Each becomes one TIR function; what TVM makes of it works on pointers, so arrays are put into linear memory directly.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import tvm
import wasmtime
from tvm import relax, tirx
from tvm_webgpu.codegen.schedule.blocks import inline_injective, open_schedule
from tvm_webgpu.codegen.wasm32 import linker
from tvm_webgpu.codegen.wasm32.libm import call_libm
from tvm_webgpu.lld import wasm_ld

from . import accuracy
from .runner import entry
from .spec import Case

TARGET = {"kind": "llvm", "mtriple": "wasm32-unknown-unknown-wasm"}
PAGE = 65536


def _function(case: Case, name: str) -> tirx.PrimFunc:
    builder = relax.BlockBuilder()
    entry(builder, case, "main")
    mod = relax.transform.LegalizeOps()(builder.finalize())
    (func,) = (f for f in mod.functions.values() if isinstance(f, tirx.PrimFunc))
    schedule, blocks = open_schedule(func)
    inline_injective(schedule, blocks)  # one loop, without room for what lies between
    return schedule.mod["main"].with_attr("global_symbol", name)


def build(cases: list[Case]) -> bytes:
    """A WebAssembly module that exports `case_N_compute_(pointers of the inputs, pointer of the result)`."""
    mod = tvm.IRModule({f"case_{i}": _function(case, f"case_{i}") for i, case in enumerate(cases)})
    text = tvm.compile(call_libm(mod), target=TARGET).mod.inspect_source("ll")
    wanted = [f"case_{i}_compute_" for i in range(len(cases))]
    text = re.sub(r"^define internal (?:fastcc )?(.*@case_\d+_compute_\()", r"define \1", text, flags=re.M)
    text = re.sub(r"call fastcc (.*@case_\d+_compute_\()", r"call \1", text)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(linker.TRIPLE).create_target_machine(
        features=linker.FEATURES, opt=2, reloc="static"
    )
    module = linker._parse(text, str(machine.target_data))
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in wanted:
            value.storage_class, value.linkage = "default", "internal"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "code.o").write_bytes(linker._compile(module, machine))
        (folder / "libc.o").write_bytes(linker._prebuilt("libc.o"))
        exports = [f"--export={name}" for name in wanted]
        options = ["--no-entry", "--export=__heap_base", "--export-memory", "--gc-sections", "--allow-undefined"]
        wasm_ld(*options, *exports, "code.o", "libc.o", "-o", "host.wasm", cwd=folder)
        return (folder / "host.wasm").read_bytes()


def run(wasm: bytes, inputs: list[tuple[np.ndarray, ...]]) -> list[list[np.ndarray]]:
    """Runs every case on its arrays."""
    engine = wasmtime.Engine()
    store, module = wasmtime.Store(engine), wasmtime.Module(engine, wasm)
    host = wasmtime.Linker(engine)
    host.define_unknown_imports_as_traps(module)
    exports = host.instantiate(store, module).exports(store)
    memory, base = exports["memory"], exports["__heap_base"].value(store)
    memory.grow(store, max(sum(x.nbytes for x in given) for given in inputs) * 2 // PAGE + 2)
    results = []
    for i, given in enumerate(inputs):
        at, pointers = -(-base // 64) * 64, []
        for x in given:
            memory.write(store, x.tobytes(), at)
            pointers.append(at)
            at += -(-x.nbytes // 64) * 64
        exports[f"case_{i}_compute_"](store, *pointers, at)
        results.append([np.frombuffer(memory.read(store, at, at + given[0].nbytes), "float32")])
    return results


def host_results() -> list[list[np.ndarray]]:
    """What the host makes of accuracy.py's cases."""
    return run(build(accuracy.cases()), accuracy.inputs())
