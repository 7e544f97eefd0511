"""Compiles MobileNetV2 and ResNet50 with our WGSL and with TVM's, runs both in Node with Dawn, tells what each costs.

PYTHONPATH=pyapi python -m bench.run --output=/tmp/bench

Both variants have the same graph, schedules, host code and runtime; only the shaders' text differs. Writes
`results.json` and the table `results.md` into the output folder; packages are kept there and used again.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from pathlib import Path
from unittest import mock

os.environ["TVM_DEVICE_BACKEND_AUTOLOAD"] = "0"  # TVM's own generator is wanted, too

from absl import app, flags

from bench import builtin_wgsl
from tests.models import ONNX_MODELS

OUTPUT = flags.DEFINE_string("output", None, "Folder for packages and results.", required=True)
MODELS = flags.DEFINE_list("models", ["mobilenet_v2", "resnet50"], "Which of the convolutional test models.")
VARIANTS = flags.DEFINE_list("variants", ["ours", "builtin"], "Whose WGSL: ours, or TVM's built-in generator's.")
RUNS = flags.DEFINE_integer("runs", 20, "Runs of which the medians are given.", lower_bound=1)
DAWN = flags.DEFINE_list("dawn", [], "Flags for Dawn, such as enable-dawn-features=allow_unsafe_apis.")
MEASURE = flags.DEFINE_bool("measure", True, "Run the packages; without, only compile them.")

Result = dict[str, object]


def compile_package(model: str, variant: str, folder: Path) -> Result:
    """Compiles into the folder, unless it holds a package; gives the seconds it took."""
    from tvm_webgpu.pipeline import build, kernels

    if not (folder / "manifest.json").exists():
        build_shader = builtin_wgsl.build_shader if variant == "builtin" else kernels.build_shader
        start = time.perf_counter()
        with mock.patch.object(kernels, "build_shader", build_shader):
            build.compile(ONNX_MODELS[model](), target="webgpu", cache=False).save(folder)
        (folder / "seconds").write_text(f"{time.perf_counter() - start:.1f}")
    return {"compile_s": float((folder / "seconds").read_text()), **sizes(folder)}


def sizes(folder: Path) -> Result:
    """Bytes of the package's parts, as they are and with gzip, and the number of distinct kernels."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {"manifest": folder / "manifest.json"}
    files |= {file["role"]: folder / file["path"] for file in manifest["files"] if file["role"] in ("wasm", "kernels")}
    contents = {role: path.read_bytes() for role, path in files.items()}
    return {
        "kernels": len(manifest["kernels"]),
        "package_bytes": sum(file["bytes"] for file in manifest["files"] if file["role"] != "debug"),
        "bytes": {role: len(data) for role, data in contents.items()},
        "gzip_bytes": {role: len(gzip.compress(data, mtime=0)) for role, data in contents.items()},
    }


def measure(folder: Path) -> Result:
    from tvm_webgpu.serve import runtime_bundle

    bundle = runtime_bundle()
    script = Path(__file__).with_name("measure.mjs")
    environment = {"NODE_PATH": str(bundle.parent / "node_modules"), **os.environ}
    command = ["node", str(script), str(folder), str(bundle / "tvm-webgpu.mjs"), str(RUNS.value), *DAWN.value]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"error": f"exit status {done.returncode}"}
    return json.loads(done.stdout)


def runtime_sizes() -> Result:
    from tvm_webgpu.serve import runtime_bundle

    data = (runtime_bundle() / "tvm-webgpu.mjs").read_bytes()
    return {"bytes": len(data), "gzip_bytes": len(gzip.compress(data, mtime=0))}


COLUMNS = {
    "model": lambda r: r["model"],
    "WGSL": lambda r: r["variant"],
    "kernels": lambda r: r["kernels"],
    "launches": lambda r: r["per_run"]["dispatches"],
    "host us/launch, encode + submit": lambda r: f"{r['encode_us_per_launch']:.1f} + {r['submit_us_per_launch']:.1f}",
    "GPU ms": lambda r: "-" if r["gpu_ms"] is None else f"{r['gpu_ms']:.2f}",
    "CPU to CPU ms": lambda r: f"{r['e2e_ms']:.2f}",
    "load ms": lambda r: f"{r['load_ms']:.0f}",
    "first run ms": lambda r: f"{r['first_ms']:.1f}",
    "compile s": lambda r: f"{r['compile_s']:.0f}",
    "wasm kB (gzip)": lambda r: _kilobytes(r, "wasm"),
    "WGSL kB (gzip)": lambda r: _kilobytes(r, "kernels"),
    "package MB": lambda r: f"{r['package_bytes'] / 1e6:.1f}",
}


def _kilobytes(result: Result, role: str) -> str:
    return f"{result['bytes'][role] / 1e3:.0f} ({result['gzip_bytes'][role] / 1e3:.1f})"


def table(results: list[Result], runtime: Result) -> str:
    """The results in Markdown."""
    measured = [result for result in results if "e2e_ms" in result]
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *([str(cell(r)) for cell in COLUMNS.values()] for r in measured)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines += [f"{r['model']}, {r['variant']}: {r['error']}" for r in results if "error" in r]
    adapters = ", ".join(sorted({str(result["adapter"]) for result in measured}))
    lines.append(
        f"\nAdapter: {adapters}. Medians of {RUNS.value} runs. Runtime: {runtime['bytes'] / 1e3:.1f} kB, "
        f"{runtime['gzip_bytes'] / 1e3:.1f} kB with gzip."
    )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    output = Path(OUTPUT.value)
    results = []
    for model in MODELS.value:
        for variant in VARIANTS.value:
            folder = output / f"{model}-{variant}"
            result = {"model": model, "variant": variant, **compile_package(model, variant, folder)}
            if MEASURE.value:
                result |= measure(folder)
            print(json.dumps(result), flush=True)
            results.append(result)
    if MEASURE.value:
        runtime = runtime_sizes()
        (output / "results.json").write_text(json.dumps({"runtime": runtime, "results": results}, indent=1) + "\n")
        (output / "results.md").write_text(table(results, runtime))
        print(table(results, runtime), end="")


if __name__ == "__main__":
    app.run(main)
