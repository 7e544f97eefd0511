"""Puts our engine and its compiled models beside the peers of a comparison set up from ../shared/peers.

PYTHONPATH=pyapi python -m bench.peers.prepare --bench=/some/folder/bench [--workloads=mobilenet_v2,resnet50]

Afterwards, in that folder: `node bench.mjs --engines extra:tvm_webgpu,ort-webgpu-gc --workloads mobilenet_v2`. The
models' weights are filled in by the comparison's own code, so that every engine has the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from absl import app, flags

BENCH = flags.DEFINE_string("bench", None, "The comparison's folder `bench`.", required=True)
WORKLOADS = flags.DEFINE_list("workloads", ["mobilenet_v1", "mobilenet_v2", "resnet50", "minilm_l6"], "Which models.")
VARIANT = flags.DEFINE_string("variant", "default", "Name for this set of packages.")

FILL = """
import { readFileSync, writeFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
const [name, output] = process.argv.slice(2);
const { fillModel } = await import(`${process.cwd()}/lib/prng.mjs`);
const { onnx, dtype } = JSON.parse(readFileSync("models/manifest.json"))[name];
writeFileSync(output, fillModel(gunzipSync(readFileSync(`models/${onnx.file}`)), onnx.fills, dtype));
"""


def compile_workload(bench: Path, name: str, folder: Path) -> None:
    import tvm_webgpu

    dtype = json.loads((bench / "models" / "manifest.json").read_text())[name]["dtype"]
    with tempfile.TemporaryDirectory() as scratch:
        script, model = Path(scratch, "fill.mjs"), Path(scratch, "model.onnx")
        script.write_text(FILL)
        subprocess.run(["node", str(script), name, str(model)], cwd=bench, check=True)
        features = ["f16"] if dtype == "float16" else []
        tvm_webgpu.compile(model, target="webgpu", name=name, features=features).save(folder)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    from tvm_webgpu.serve import runtime_bundle

    bench = Path(BENCH.value)
    extra = bench / "extra"
    (extra / "tvm_webgpu").mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("tvm_webgpu.mjs"), extra)
    shutil.copy(runtime_bundle() / "tvm-webgpu.mjs", extra / "tvm_webgpu")
    for name in WORKLOADS.value:
        compile_workload(bench, name, extra / "tvm_webgpu" / VARIANT.value / name)
        print(f"{name}: compiled", flush=True)


if __name__ == "__main__":
    app.run(main)
