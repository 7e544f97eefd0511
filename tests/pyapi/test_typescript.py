"""Declarations of entry functions: exactly the text that runtime_ts compiles its tests against, and odd names."""

from pathlib import Path

import onnx
import pytest
from tvm_webgpu.cli import main
from tvm_webgpu.package import Entry, Package, TensorSpec
from tvm_webgpu.typescript import declarations, interface_name

from tests.pyapi.models import mlp

FIXTURE = Path(__file__).parents[2] / "runtime_ts" / "test"


def test_the_text_that_typescript_checks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    golden = FIXTURE / "types" / "fixture.d.ts"
    assert main(["types", str(FIXTURE / "fixture" / "package")]) == 0
    assert capsys.readouterr().out == golden.read_text()
    assert main(["types", str(FIXTURE / "fixture" / "package"), "-o", str(tmp_path / "f.d.ts")]) == 0
    assert (tmp_path / "f.d.ts").read_text() == golden.read_text()


def test_compile_writes_them_beside_the_manifest(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    assert main(["compile", str(tmp_path / "mlp.onnx"), "-o", str(tmp_path / "dist"), "--types"]) == 0
    text = (tmp_path / "dist" / "types.d.ts").read_text()
    assert 'x: TensorInput<"float32", [batch: number, 8]>;' in text
    assert text == declarations(Package.load(tmp_path / "dist"))


def test_names_that_typescript_would_misread() -> None:
    entry = Entry(
        "run it",
        (TensorSpec("input:0", "float32", ("seq len", 3)), TensorSpec("a*/b", "int64", ("*/", "n"))),
        (TensorSpec('quo"te', "float16", ("2 * n", "n")),),
    )
    text = declarations(Package('we"ird', (entry,), (), (), b""))
    assert 'package "we\\"ird"' in text
    assert 'export interface WeIrd {\n  "run it": {' in text
    assert '"input:0": TensorInput<"float32", [number, 3]>;' in text
    assert '/** int64[*\\/, n] */\n      "a*/b": TensorInput<"int64", [number, n: number]>;' in text
    assert '"quo\\"te": TensorOutput<"float16", [number, n: number]>;' in text


@pytest.mark.parametrize(
    ("package", "interface"),
    [("mobilenet_v2", "MobilenetV2"), ("bert", "Bert"), ("3d-net", "Model3dNet"), ("\u2014", "Model")],
)
def test_interface_names(package: str, interface: str) -> None:
    assert interface_name(package) == interface


def test_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["types", str(FIXTURE / "fixture" / "package"), "-o", str(tmp_path / "none" / "f.d.ts")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
