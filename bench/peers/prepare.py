"""Compiles the comparison's models and puts them, our runtime and our adapter beside its engines."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from bench.peers import weights

ADAPTER = "tvm_webgpu"
ADAPTERS = (ADAPTER, "bare_webgpu")


def packages(bench: Path, variant: str) -> Path:
    return bench / "extra" / ADAPTER / variant


def install_runtime(bench: Path) -> None:
    """Our adapters, the loop of bare calls, and our runtime's one file."""
    from tvm_webgpu.serve import runtime_bundle

    folder = bench / "extra" / ADAPTER
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(__file__).parent
    for adapter in ADAPTERS:
        shutil.copy(here / f"{adapter}.mjs", folder.parent)
    shutil.copy(here.parent / "launch" / "measure.mjs", folder)
    shutil.copy(runtime_bundle() / "tvm-webgpu.mjs", folder)


def compile_work(bench: Path, name: str, folder: Path, options: dict[str, object]) -> None:
    """Compiles one of the comparison's models into a package without weights, but with their recipe.

    A package that the same compiler made with the same options stays as it is.
    """
    import tvm_webgpu
    from tvm_webgpu.pipeline import cache

    stamp = hashlib.sha256(cache.version() + json.dumps(options, sort_keys=True).encode()).hexdigest()
    stamp_file = folder / "compiler.sha256"
    if stamp_file.exists() and stamp_file.read_text() == stamp:
        return
    work = json.loads((bench / "models" / "manifest.json").read_text())[name]
    model = bytearray(gzip.decompress((bench / "models" / work["onnx"]["file"]).read_bytes()))
    weights.fill(model, work["onnx"]["fills"], work["dtype"])
    features = ["f16"] if work["dtype"] == "float16" else []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.onnx")
        path.write_bytes(model)
        package = tvm_webgpu.compile(path, **{"target": "webgpu", "name": name, "features": features, **options})
    scratch_folder = folder.with_name(folder.name + ".new")
    shutil.rmtree(scratch_folder, ignore_errors=True)
    package.save(scratch_folder)
    network = json.loads(gzip.decompress((bench / "models" / f"{name}.net.json.gz").read_bytes()))
    weights.strip(scratch_folder, network["weights"].values(), work["dtype"])
    (scratch_folder / stamp_file.name).write_text(stamp)
    shutil.rmtree(folder, ignore_errors=True)
    scratch_folder.rename(folder)
