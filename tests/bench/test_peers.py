"""The comparison with other engines: weights leave a package and come back byte for byte, results become a report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bench.peers import growth, report, weights

SPECS = [
    {"shape": [8, 4, 3, 3], "seed": 7, "bound": 0.5},
    {"shape": [8], "seed": 9, "bound": 0.1, "base": 1.0},
]


def save(folder: Path, arrays: list[np.ndarray]) -> bytes:
    """Writes a parameter file and what a manifest says of it; gives the file's bytes."""
    data, params = b"", []
    for array in arrays:
        data += bytes(-len(data) % 256)
        place = {"file": "params-0.bin", "offset": len(data), "bytes": array.nbytes}
        params.append({"dtype": str(array.dtype), "shape": array.shape, **place})
        data += array.tobytes()
    file = {"path": "params-0.bin", "role": "params", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "params-0.bin").write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps({"files": [file], "params": params}))
    return data


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_weights_come_back(tmp_path: Path, dtype: str) -> None:
    kernel, scale = (weights.values(spec, dtype) for spec in SPECS)
    folded = np.arange(5, dtype=dtype)  # what no seed gives travels as it is
    joined = np.concatenate([kernel, kernel], axis=-1)
    data = save(tmp_path, [np.ascontiguousarray(kernel.transpose(1, 2, 3, 0)), folded, scale, joined])
    weights.strip(tmp_path, SPECS, dtype)
    assert not (tmp_path / "params-0.bin").exists()
    assert (tmp_path / weights.RECIPE).stat().st_size < 1000
    weights.restore(tmp_path)
    assert (tmp_path / "params-0.bin").read_bytes() == data


def test_a_wrong_weight_is_found(tmp_path: Path) -> None:
    save(tmp_path, [weights.values(SPECS[0], "float32")])
    weights.strip(tmp_path, SPECS, "float32")
    recipe = (tmp_path / weights.RECIPE).read_text()
    (tmp_path / weights.RECIPE).write_text(recipe.replace('"seed": 7', '"seed": 8'))
    with pytest.raises(ValueError, match="another SHA-256"):
        weights.restore(tmp_path)


def row(engine: str, work: str, milliseconds: float, right: bool = True) -> report.Row:
    check = {"ok": right, "rel_err": 1e-6}
    return {"engine": engine, "workload": work, "gpu_ms": milliseconds, "check": check, "adapter": "a GPU"}


def test_report(tmp_path: Path) -> None:
    rows = [
        {"kind": "adapter", "engine": "adapter"},
        row("ort-webgpu-gc", "matmul_1024", 2.0),
        row("tvm-webgpu", "matmul_1024", 1.0),
        row("litert-webgpu", "matmul_1024", 0.5, right=False),
        {"engine": "tfjs-webgpu", "workload": "matmul_1024", "error": "first: timeout"},
        row("tvm-webgpu", "matmul_width_128", 0.1),
        row("tvm-webgpu", "matmul_width_256", 0.2),
    ]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(line) + "\n" for line in rows))
    text = report.write(report.read([results]), tmp_path / "report")
    lines = text.splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:6]] == [
        "tvm-webgpu",
        "ONNX Runtime Web",
        "LiteRT.js",
        "TensorFlow.js",
    ]
    assert "**wrong**" in lines[4] and "first: timeout" in lines[5]
    assert len(report.measured(report.read([results]))) == 4  # a wrong answer has no speed
    for name in ("chart.svg", "chart.png", "growth.svg", "growth.png", "results.json"):
        assert (tmp_path / "report" / name).stat().st_size > 100


def test_works_of_growing_size_have_names_of_their_own() -> None:
    names = growth.works()
    assert len(set(names)) == len(names) == sum(len(family.sizes) for family in growth.FAMILIES.values())
