"""Package: what is saved is what is loaded, and what is damaged says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tvm_webgpu.errors import PackageError
from tvm_webgpu.package import SHARD_BYTES, Entry, Kernel, Package, Param, Scalar, TensorSpec


@pytest.fixture
def package() -> Package:
    return Package(
        name="small",
        entries=(
            Entry("main", (TensorSpec("x", "float32", ("n", 4)),), (TensorSpec("y", "float32", ("n * 2", 4)),), (0, 1)),
            Entry(
                "step", (TensorSpec("total", shape=("total",), kind="shape"), TensorSpec("cache", kind="object")), ()
            ),
        ),
        params=(Param("w", "float32", (2, 3), bytes(range(24))), Param("b", "int8", (5,), b"\x01\x02\x03\x04\x05")),
        kernels=(
            Kernel("first", "// é\n", (8, 8, 1), ("read", "read_write"), (Scalar("n", "int32"),), (), b"spir"),
            Kernel("second", "fn\n", (64, 1, 1), ("read_write",), (), ("shader-f16",), b"v!!!"),
        ),
        wasm=b"\0asm",
        features=("shader-f16",),
        limits={"maxComputeInvocationsPerWorkgroup": 64},
        producer={"tvm_webgpu": "0", "tvm": "0"},
    )


def test_round_trip(package: Package, tmp_path: Path) -> None:
    loaded = Package.load(package.save(tmp_path / "p"))
    assert loaded == package
    assert [bytes(param.data) for param in loaded.params] == [bytes(param.data) for param in package.params]


def test_same_content_same_bytes(package: Package) -> None:
    assert package.files() == replace(package).files()


def test_parameters_are_aligned_and_sharded(package: Package) -> None:
    big = replace(package, params=(Param("a", "int8", (SHARD_BYTES,), bytes(SHARD_BYTES)), *package.params))
    manifest = json.loads(big.files()["manifest.json"])
    assert [(param["file"], param["offset"]) for param in manifest["params"]] == [
        ("params-0.bin", 0),
        ("params-1.bin", 0),
        ("params-1.bin", 256),
    ]
    assert all(file["bytes"] % 4 == 0 for file in manifest["files"] if file["role"] == "params")


def test_save_replaces_a_package_but_nothing_else(package: Package, tmp_path: Path) -> None:
    target = package.save(tmp_path / "p")
    (target / "stale").write_text("old")
    replace(package, name="other").save(target)
    assert not (target / "stale").exists()
    assert Package.load(target).name == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(PackageError, match="is not a package"):
        package.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("path", ["model.wasm", "kernels.wgsl", "params-0.bin"])
def test_every_flipped_or_missing_byte_is_named(package: Package, tmp_path: Path, path: str) -> None:
    target = package.save(tmp_path / "p")
    data = bytearray((target / path).read_bytes())
    data[len(data) // 2] ^= 1
    (target / path).write_bytes(data)
    with pytest.raises(PackageError, match=f"{path} does not match its SHA-256"):
        Package.load(target)
    (target / path).write_bytes(data[:-1])
    with pytest.raises(PackageError, match=f"{path} holds .* truncated"):
        Package.load(target)
    (target / path).unlink()
    with pytest.raises(PackageError, match=f"can't read .*{path}"):
        Package.load(target)


def test_debug_files_are_not_needed(package: Package, tmp_path: Path) -> None:
    target = package.save(tmp_path / "p")
    (target / "kernels.spv").unlink()
    assert [kernel.spirv for kernel in Package.load(target).kernels] == [b"", b""]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"kernels": [{}]}, "damaged"),
        ({"params": []}, "names a parameter that is not there"),
        ({"entries": None}, "damaged"),
    ],
)
def test_bad_manifest(package: Package, tmp_path: Path, change: dict, message: str) -> None:
    target = package.save(tmp_path / "p")
    manifest = json.loads((target / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(PackageError, match=message):
        Package.load(target)


@pytest.mark.parametrize("path", ["../secret", "a/b", "..", "c:\\x", ""])
def test_paths_can_not_leave_the_folder(package: Package, tmp_path: Path, path: str) -> None:
    target = package.save(tmp_path / "p")
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"][0]["path"] = path
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="outside of the package"):
        Package.load(target)


def test_not_a_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is not a package"):
        Package.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(PackageError, match="not valid JSON"):
        Package.load(tmp_path)


def test_names_are_listed(package: Package) -> None:
    with pytest.raises(PackageError, match="has no entry 'x'; it has main, step"):
        package.entry("x")
    with pytest.raises(PackageError, match="has no kernel 'x'; it has first, second"):
        package.kernel("x")
