"""Package: what is saved is what is loaded, and what is damaged says so."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tvm_webgpu.errors import InputError, PackageError
from tvm_webgpu.package import (
    Entry,
    Kernel,
    Package,
    Param,
    Requirements,
    Scalar,
    TensorSpec,
    Variant,
    choose_variant,
)
from tvm_webgpu.package_files import PIECE_BYTES, SHARD_BYTES
from tvm_webgpu.param_storage import SMALLEST, store


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
        ({"format": 3}, "format 3, this version reads 1 to 2"),
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


@pytest.mark.parametrize("path", ["../secret", "a/b", "..", "c:\\x", "", "%2e%2e", "x?y", "a\\b", ".x"])
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


def _weights(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Normal numbers whose channels, along the first axis, differ by up to a factor of 1000."""
    random = np.random.default_rng(5)
    scales = np.geomspace(0.01, 10, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (random.standard_normal(shape) * scales).astype(dtype)


def _param(name: str, array: np.ndarray) -> Param:
    return Param(name, str(array.dtype), array.shape, array.tobytes())


def _values(param: Param) -> np.ndarray:
    return np.frombuffer(param.data, param.dtype).reshape(param.shape)


def test_half_storage_rounds_as_numpy(package: Package, tmp_path: Path) -> None:
    weights, bias = _weights((64, 3, 5, 7)), _weights((64,))
    full = replace(package, params=(_param("w", weights), _param("b", bias)))
    small = full.with_param_storage("float16")
    loaded = Package.load(small.save(tmp_path / "p"))
    for found in (small, loaded):
        assert (_values(found.params[0]) == weights.astype(np.float16).astype(np.float32)).all()
        assert (_values(found.params[1]) == bias).all()
    assert loaded.files() == small.files()
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert [(p["bytes"], p.get("storage")) for p in manifest["params"]] == [(13440, {"dtype": "float16"}), (256, None)]


@pytest.mark.parametrize(
    ("shape", "dtype", "kept"),
    [
        ((64, 640), "float32", (0,)),  # output channels first
        ((64, 16, 3, 3), "float16", (0,)),
        ((2, 1, 4096), "float32", (0,)),
    ],
)
def test_byte_storage_has_a_scale_for_each_channel(
    package: Package, tmp_path: Path, shape: tuple[int, ...], dtype: str, kept: tuple[int, ...]
) -> None:
    weights = _weights(shape, dtype)
    loaded = Package.load(
        replace(package, params=(_param("w", weights), package.params[1]))
        .with_param_storage("int8")
        .save(tmp_path / "p")
    )
    stored = loaded.params[0].stored
    assert stored is not None
    assert stored.scales_shape == tuple(extent if axis in kept else 1 for axis, extent in enumerate(shape))
    reduced = tuple(axis for axis in range(len(shape)) if axis not in kept)
    exact = weights.astype(np.float32)
    half_a_step = np.abs(exact).max(axis=reduced, keepdims=True) / 254
    rounding = np.finfo(dtype).eps * np.abs(exact)
    assert (np.abs(_values(loaded.params[0]).astype(np.float32) - exact) <= half_a_step * 1.001 + rounding).all()


def test_scales_follow_channels_that_lie_last_or_in_tiles() -> None:
    weights = _weights((64, 1024))
    last = np.ascontiguousarray(weights.T)
    tiles = np.ascontiguousarray(weights.reshape(4, 16, 1024).transpose(0, 2, 1))
    for array, shape in ((last, (1, 64)), (tiles, (4, 1, 16))):
        stored = store(array.tobytes(), "float32", array.shape, "int8")
        assert stored is not None and stored.scales_shape == shape


@pytest.mark.parametrize(
    ("array", "storage"),
    [
        (np.full((2, SMALLEST), 7e4, np.float32), "float16"),
        (np.full((2, SMALLEST), np.inf, np.float32), "float16"),
        (np.full((2, SMALLEST), np.nan, np.float32), "int8"),
        (np.ones(SMALLEST - 1, np.float32), "float16"),
        (np.ones((2, SMALLEST), np.int32), "int8"),
        (np.ones((2, SMALLEST), np.float16), "float16"),
        (np.ones((2,), np.float32), "int8"),
    ],
)
def test_what_would_be_lost_or_is_small_stays(array: np.ndarray, storage: str) -> None:
    assert store(array.tobytes(), str(array.dtype), array.shape, storage) is None


def test_zeros_stay_zeros() -> None:
    stored = store(bytes(4 * 2 * SMALLEST), "float32", (2, SMALLEST), "int8")
    assert stored is not None and not np.frombuffer(stored.decode("float32", (2, SMALLEST)), np.float32).any()


def test_unknown_storage(package: Package) -> None:
    with pytest.raises(InputError, match="only as float16 or int8"):
        package.with_param_storage("int3")


def test_compressed_files(package: Package, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, SHARD_BYTES, np.uint8)
    full = replace(package, params=(_param("noise", noise), _param("zeros", np.zeros(9000, np.float32))))
    small = replace(full, compressed=True, wasm=bytes(1000))
    loaded = Package.load(small.save(tmp_path / "p"))
    assert loaded == small
    assert [bytes(param.data) for param in loaded.params] == [bytes(param.data) for param in full.params]
    assert loaded.files() == small.files()
    files = {file["path"]: file for file in json.loads((tmp_path / "p" / "manifest.json").read_text())["files"]}
    assert files["params-0.bin"].keys() & {"encoding"} == set()  # noise would not get smaller
    assert (files["params-1.bin"]["encoding"], files["params-1.bin"]["decoded_bytes"]) == ("gzip", 36000)
    assert gzip.decompress((tmp_path / "p" / "model.wasm").read_bytes()) == bytes(1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "brotli"}, "unknown encoding 'brotli'"),
        ({"decoded_bytes": 7}, "unpacks to 1000 bytes, not 7"),
    ],
)
def test_damaged_compression(package: Package, tmp_path: Path, change: dict, message: str) -> None:
    target = replace(package, compressed=True, wasm=bytes(1000)).save(tmp_path / "p")
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"][0] |= change
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=message):
        Package.load(target)


def test_large_files_have_digests_of_their_pieces(package: Package) -> None:
    big = replace(package, params=(Param("a", "int8", (2 * PIECE_BYTES + 8,), bytes(2 * PIECE_BYTES + 8)),), entries=())
    files = json.loads(big.files()["manifest.json"])["files"]
    assert [len(file.get("pieces", ())) for file in files if file["role"] == "params"] == [3]


@pytest.fixture
def with_variants(package: Package) -> Package:
    half = replace(
        package,
        features=("shader-f16",),
        wasm=b"\0asmhalf",
        params=(package.params[0], Param("b", "int8", (5,), b"other")),
    )
    wide = replace(package, features=(), limits={"maxStorageBuffersPerShaderStage": 10}, wasm=b"\0asmwide")
    return replace(package, features=()).with_variants([Variant("f16", half), Variant("wide", wide)])


def test_variants_round_trip_and_share_equal_files(with_variants: Package, tmp_path: Path) -> None:
    target = with_variants.save(tmp_path / "p")
    assert Package.load(target) == with_variants
    names = {path.name for path in target.iterdir()}
    # The parameters of "wide" are those of the baseline; kernels are all the same.
    assert {name for name in names if "params" in name} == {"params-0.bin", "f16-params-0.bin"}
    assert {name for name in names if "wgsl" in name} == {"kernels.wgsl"}
    assert {name for name in names if "manifest" in name} == {
        "manifest.json",
        "manifest-f16.json",
        "manifest-wide.json",
    }


def test_one_variant_needs_only_its_own_files(with_variants: Package, tmp_path: Path) -> None:
    target = with_variants.save(tmp_path / "p")
    (target / "f16-model.wasm").unlink()
    assert Package.load(target, "wide") == with_variants.variants[1].package
    assert Package.load(target, "baseline") == replace(with_variants, variants=())
    with pytest.raises(PackageError, match=r"f16-model\.wasm"):
        Package.load(target)
    with pytest.raises(PackageError, match="no variant 'f8'; it has baseline, f16, wide"):
        Package.load(target, "f8")


def test_a_variant_is_chosen_by_what_runs(with_variants: Package, tmp_path: Path) -> None:
    target = with_variants.save(tmp_path / "p")

    def has(*features: str, buffers: int = 8):
        def runs(asked: Requirements) -> bool:
            return set(asked.features) <= set(features) and all(buffers >= limit for limit in asked.limits.values())

        return runs

    assert choose_variant(target, has("shader-f16", buffers=100)) == "f16"
    assert choose_variant(target, has(buffers=100)) == "wide"
    assert choose_variant(target, has()) == "baseline"
    assert choose_variant(target, has(), "wide") == "wide"
    with pytest.raises(PackageError, match="no variant 'x'"):
        choose_variant(target, has(), "x")


def test_variants_must_fit_their_package(package: Package) -> None:
    other = replace(package, entries=package.entries[:1])
    with pytest.raises(InputError, match="'f16' has other entries"):
        package.with_variants([Variant("f16", other)])
    for name in ("", "a/b", "baseline"):
        with pytest.raises(InputError, match="can't name a variant"):
            package.with_variants([Variant(name, package)])
    with pytest.raises(InputError, match="can't name a variant"):
        package.with_variants([Variant("a", package), Variant("a", package)])


def test_a_variants_manifest_is_verified(with_variants: Package, tmp_path: Path) -> None:
    target = with_variants.save(tmp_path / "p")
    (target / "manifest-f16.json").write_text((target / "manifest-f16.json").read_text().replace("small", "smaLl"))
    with pytest.raises(PackageError, match=r"manifest-f16\.json does not match its SHA-256"):
        Package.load(target, "f16")
