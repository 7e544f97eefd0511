"""The linker that the package carries: what it refuses comes as an error with its own words."""

from pathlib import Path

import pytest
from tvm_webgpu import lld
from tvm_webgpu.codegen.wasm32.linker import PREBUILT


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(lld.LinkerError, match=r"cannot open none\.o"):
        lld.wasm_ld("none.o", "-o", "out.wasm", cwd=tmp_path)


def test_an_undefined_function_is_named(tmp_path: Path) -> None:
    with pytest.raises(lld.LinkerError, match="symbol exported via --export not found: nothing"):
        lld.wasm_ld("--no-entry", "--export=nothing", str(PREBUILT / "libc.o"), "-o", "out.wasm", cwd=tmp_path)


def test_bitcode_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bc").write_bytes(b"BC\xc0\xde" + bytes(60))
    with pytest.raises(lld.LinkerError, match="takes objects, no bitcode"):
        lld.wasm_ld("a.bc", "-o", "out.wasm", cwd=tmp_path)


def test_a_linker_that_is_not_there_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lld, "PROGRAM", tmp_path / "wasm-ld")
    with pytest.raises(lld.LinkerError, match=r"can't be run.*build it again"):
        lld.wasm_ld("--version", cwd=tmp_path)
