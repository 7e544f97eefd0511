"""`import tvm` alone makes target "webgpu" ours; an environment variable turns that off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import tvm
from tvm import relax
assert "tvm_webgpu.pipeline" not in __import__("sys").modules
builder = relax.BlockBuilder()
x = relax.Var("x", relax.TensorType((tvm.tirx.Var("n", "int64"), 8), "float32"))
with builder.function("main", [x]):
    with builder.dataflow():
        y = builder.emit_output(relax.op.nn.softmax(builder.emit(relax.op.nn.relu(x))))
    builder.emit_func_output(y)
assert tvm.target.Target("webgpu").kind.name == "webgpu"
executable = tvm.compile(builder.get(), target="webgpu")
print(executable.mod.imports[0].imports[0].inspect_source())
tvm.compile(builder.get(), target="llvm")
"""


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program where this package is installed, as far as entry points tell."""
    metadata = tmp_path / "tvm_webgpu-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tvm-webgpu\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[tvm.backends]\nwebgpu = tvm_webgpu.registration:autoload\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_tvm_is_enough(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "// relu_kernel: bindings read" in result.stdout or "_kernel: bindings" in result.stdout
    assert "Failed to autoload" not in result.stderr


def test_opt_out(tmp_path: Path) -> None:
    result = run(tmp_path, TVM_DEVICE_BACKEND_AUTOLOAD="0")
    assert "_kernel: bindings" not in result.stdout


def test_register_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import tvm
    import tvm_webgpu
    from tvm_webgpu import registration

    tvm_webgpu.register()
    pipeline = tvm.relax.get_default_pipeline
    tvm_webgpu.register()
    assert tvm.relax.get_default_pipeline is pipeline
    monkeypatch.setenv(registration.OPT_OUT, "0")
    registration.autoload()


def test_plain_import_is_light() -> None:
    program = "import sys, tvm_webgpu, tvm_webgpu.cli; sys.exit('tvm' in sys.modules or 'rich' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
