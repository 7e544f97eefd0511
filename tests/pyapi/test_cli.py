"""The command line: it works, it explains itself, and what goes wrong is one line on stderr."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from tvm_webgpu.cli import main
from tvm_webgpu.serve import runtime_bundle

from tests.pyapi.models import mlp


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    onnx.save(mlp(), folder / "mlp.onnx")
    assert main(["compile", str(folder / "mlp.onnx"), "-o", str(folder / "dist")]) == 0
    np.save(folder / "x.npy", np.linspace(-1, 1, 24, dtype="float32").reshape(3, 8))
    np.save(folder / "wide.npy", np.zeros((3, 9), "float32"))
    np.save(folder / "double.npy", np.zeros((3, 8)))
    return folder / "dist"


def failing(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a failing command writes."""
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured
    return captured.err.removeprefix("tvm-webgpu: ").strip()


@pytest.mark.parametrize("command", ["compile", "run", "serve", "inspect", "types", "spirv2wgsl"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: tvm-webgpu {command}" in capsys.readouterr().out


@pytest.mark.parametrize("executor", ["wgpu", "node"])
def test_run(package: Path, executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if executor == "node" and (shutil.which("node") is None or not _node_can_run()):
        pytest.skip("needs node, npm's webgpu and a built runtime bundle")
    base = ["run", str(package), "--input", f"x={package.parent / 'x.npy'}", "--executor", executor]
    assert main([*base, "--output", str(tmp_path / "y.npy")]) == 0
    y = np.load(tmp_path / "y.npy")
    assert y.shape == (3, 3) and np.allclose(y.sum(1), 1)
    assert main(base) == 0
    assert "y: float32[3, 3]" in capsys.readouterr().out


def _node_can_run() -> bool:
    try:
        return (runtime_bundle() / "node_cli.mjs").is_file()
    except Exception:
        return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing input x (float32[batch, 8]); give --input NAME=FILE.npy"),
        (["--input", "x"], "--input 'x' is not of the form NAME=FILE.npy"),
        (["--input", "z=x.npy"], "entry 'main' has no input 'z'; it has x"),
        (["--input", "x=none.npy"], "can't read none.npy for input 'x': No such file or directory"),
        (["--input", "x=mlp.onnx"], "mlp.onnx for input 'x' is not a .npy file of numbers"),
        (["--input", "x=wide.npy"], "input 'x' has shape [3, 9], the model takes float32[batch, 8]"),
        (["--input", "x=double.npy"], "input 'x' is float64, the model takes float32"),
        (["--input", "x=x.npy", "--output", "q=y.npy"], "entry 'main' has no tensor 'q' to write; it gives y"),
        (["--input", "x=x.npy", "--entry", "f"], "package 'mlp' has no entry 'f'; it has main"),
    ],
)
def test_run_errors(
    package: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(package.parent)
    assert failing(capsys, "run", package, *arguments) == message


def test_package_errors(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a package" in failing(capsys, "run", tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(package, broken)
    (broken / "model.wasm").write_bytes(b"\0asm")
    assert "it is truncated" in failing(capsys, "inspect", broken)


def test_compile_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_text("no")
    onnx.save(mlp(), tmp_path / "good.onnx")
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "file").write_text("mine")
    out = ("-o", tmp_path / "out")
    cases = [
        ((bad, *out), "is not an ONNX model"),
        ((tmp_path / "none.onnx", *out), "No such file or directory"),
        ((tmp_path / "none.txt", *out), "don't know what kind of model"),
        ((tmp_path / "good.onnx", *out, "--shape", "x"), "--shape 'x' is not of the form"),
        ((tmp_path / "good.onnx", *out, "--shape", "z=1,8"), "no input named z"),
        ((tmp_path / "good.onnx", *out, "--target", "{"), "--target is not valid JSON"),
        ((tmp_path / "good.onnx", *out, "--feature", "f17"), "unknown target feature feature.f17"),
        ((tmp_path / "good.onnx", "-o", tmp_path / "occupied"), "exists and is not a package"),
    ]
    for arguments, message in cases:
        assert message in failing(capsys, "compile", *arguments)
    assert not (tmp_path / "out").exists()


def test_serve_errors(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "ports are 0 to 65535" in failing(capsys, "serve", package, "--port", 99999)


def test_an_input_given_twice(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = f"x={package.parent / 'x.npy'}"
    assert "given twice" in failing(capsys, "run", package, "--input", x, "--input", x)


def test_interruption_is_not_an_error(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError from None  # as TVM does

    monkeypatch.setattr("tvm_webgpu.package.Package.load", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    assert main(["inspect", str(package)]) == 130
    assert capsys.readouterr().err == "" and signal.getsignal(signal.SIGINT) is handler


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="No such file"):
        main(["compile", str(tmp_path / "none.onnx"), "-o", str(tmp_path / "out"), "--debug"])


def test_inspect(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(package)]) == 0
    text = capsys.readouterr().out
    assert "x: float32[batch, 8]" in text and "model.wasm" in text
    assert main(["inspect", str(package), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    name = facts["kernels"][0]["name"]
    assert main(["inspect", str(package), "--kernel", name, "--wgsl", "--spirv"]) == 0
    code = capsys.readouterr().out
    assert f"fn {name}(" in code and "OpEntryPoint GLCompute" in code
    assert "has no kernel 'k'" in failing(capsys, "inspect", package, "--kernel", "k")


ASSEMBLY = """\
OpCapability Shader
OpMemoryModel Logical GLSL450
OpEntryPoint GLCompute %main "main"
OpExecutionMode %main LocalSize 64 1 1
%void = OpTypeVoid
%function = OpTypeFunction %void
%main = OpFunction %void None %function
%entry = OpLabel
OpReturn
OpFunctionEnd
"""


def test_spirv2wgsl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.spvasm").write_text(ASSEMBLY)
    assert main(["spirv2wgsl", str(tmp_path / "a.spvasm")]) == 0
    text = capsys.readouterr().out
    assert "@workgroup_size(64" in text
    assert main(["spirv2wgsl", str(tmp_path / "a.spvasm"), "-o", str(tmp_path / "a.wgsl")]) == 0
    assert (tmp_path / "a.wgsl").read_text() == text
    (tmp_path / "b.spvasm").write_text("OpNonsense\n")
    assert "line 1" in failing(capsys, "spirv2wgsl", tmp_path / "b.spvasm")
    (tmp_path / "c.spv").write_bytes(b"\x03\x02\x23\x07" + bytes(3))
    failing(capsys, "spirv2wgsl", tmp_path / "c.spv")
    assert "No such file" in failing(capsys, "spirv2wgsl", tmp_path / "none.spv")
