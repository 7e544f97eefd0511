"""The wheel: complete, true to its own records, and a working plug-in once it is installed."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

if "WHEEL" not in os.environ:
    pytest.skip("the build names the wheel in WHEEL", allow_module_level=True)
WHEEL = Path(os.environ["WHEEL"])

ADD = """
import tvm
from tvm.script import ir as I, relax as R

@I.ir_module
class Add:
    @R.function
    def main(x: R.Tensor((4, "n"), "float32")) -> R.Tensor((4, "n"), "float32"):
        return R.add(x, x)

host = {"kind": "llvm", "mtriple": "wasm32-unknown-unknown-wasm"}
built = tvm.compile(Add, target=tvm.target.Target("webgpu", host=host))
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what an installer makes of the wheel."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(WHEEL) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """Runs Python with the wheel installed."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **environment}
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    return run


def test_record_names_every_file(site: Path) -> None:
    info = next(site.glob("*.dist-info"))
    recorded = {}
    with (info / "RECORD").open(newline="") as lines:
        for path, digest, size in csv.reader(lines):
            recorded[path] = (digest, size)
    assert recorded.pop(f"{info.name}/RECORD") == ("", "")
    files = {str(path.relative_to(site)): path for path in site.rglob("*") if path.is_file()}
    assert recorded.keys() == files.keys() - {f"{info.name}/RECORD"}
    for path, (digest, size) in recorded.items():
        content = files[path].read_bytes()
        expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={expected}", len(content)), path


def test_metadata_pins_every_requirement(site: Path) -> None:
    distribution = PathDistribution(next(site.glob("*.dist-info")))
    assert distribution.metadata["Name"] == "tvm-webgpu"
    requirements = distribution.requires or []
    assert any(requirement.startswith("apache-tvm==") for requirement in requirements)
    assert [requirement for requirement in requirements if "==" not in requirement] == []


@pytest.mark.parametrize(
    "path",
    [
        "codegen/wasm32/prebuilt/libc.o",
        "codegen/wasm32/prebuilt/runtime.bc",
        "runtime_ts/dist/node_cli.mjs",
        "runtime_ts/dist/tvm-webgpu.mjs",
        "lld/wasm-ld",
        "spirv_tools/libspirv_tools.so",
    ],
)
def test_carries_what_was_built(site: Path, path: str) -> None:
    assert (site / "tvm_webgpu" / path).stat().st_size > 1000


def test_programs_can_be_run_once_installed() -> None:
    with zipfile.ZipFile(WHEEL) as archive:
        assert archive.getinfo("tvm_webgpu/lld/wasm-ld").external_attr >> 16 & 0o111


def test_importing_tvm_alone_compiles_through_us(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "add.py"  # TVM reads a function's source from its file
    script.write_text(ADD + "import sys; assert 'tvm_webgpu.codegen.spirv' in sys.modules; print('ours')")
    done = run(str(script))
    assert done.stdout == "ours\n", done.stderr


def test_registration_can_be_turned_off(run: Run) -> None:
    script = "import sys, tvm; print('tvm_webgpu' in sys.modules)"
    assert run("-c", script).stdout == "True\n"
    assert run("-c", script, TVM_DEVICE_BACKEND_AUTOLOAD="0").stdout == "False\n"


def test_importing_twice_registers_once(run: Run) -> None:
    script = "import tvm, tvm_webgpu; first = tvm.relax.get_default_pipeline; tvm_webgpu.register(); "
    done = run("-c", script + "print(tvm.relax.get_default_pipeline is first)")
    assert done.stdout == "True\n", done.stderr


def test_command_line(run: Run) -> None:
    entry = "import sys; from importlib.metadata import entry_points; sys.argv = ['tvm-webgpu', '--help']; "
    done = run("-c", entry + "(script,) = entry_points(group='console_scripts', name='tvm-webgpu'); script.load()()")
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("compile", "run", "serve", "inspect", "spirv2wgsl"))
