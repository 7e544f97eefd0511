from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm_webgpu.codegen.wasm32.executable import DType, TensorConstant, load, parse
from tvm_webgpu.errors import InvalidModuleError

from tests.wasm32 import models
from tests.wasm32.host import lower_relax


def saved(constants: list[object]) -> relax.vm_build.VMExecutable:
    builder = relax.ExecBuilder()
    for value in constants:
        builder.convert_constant(value)
    return builder.get()


def test_functions_and_their_registers() -> None:
    builder = relax.ExecBuilder()
    lowered = relax.vm_build._vmcodegen(builder, lower_relax(models.Call), "compiled")
    functions = {function.name: function for function in load(builder.get()).functions}
    assert set(functions) == {"main", "twice"}
    for name, function in functions.items():
        assert function.compiled and function.arguments == 1 and function.registers > 2
        assert f"__vmtir__{name}" in {gvar.name_hint for gvar in lowered.get_global_vars()}


def test_every_kind_of_constant() -> None:
    tensor = np.arange(6, dtype=np.int64).reshape(2, 3)
    pool = ["text", tvm.runtime.ShapeTuple([1, -2, 1 << 40]), tvm.DataType("float16"), tvm.runtime.tensor(tensor)]
    text, shape, dtype, data = load(saved(pool)).constants
    assert (text, shape, dtype) == ("text", (1, -2, 1 << 40), DType(2, 16, 1))
    assert data == TensorConstant(DType(0, 64, 1), (2, 3), tensor.tobytes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "ends early"),
        (lambda data: b"x" + data[1:], "not a Relax executable"),
        (lambda data: data.replace(b"0.14", b"9.99"), r"version 9\.99"),
        (lambda data: data[:60], "ends early"),
    ],
)
def test_other_bytes_are_refused(change: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ro"
    saved(["a text that is long enough"]).mod.write_to_file(str(path))
    with pytest.raises(InvalidModuleError, match=message):
        parse(change(path.read_bytes()))
