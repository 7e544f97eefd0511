"""Our packages beside ONNX Runtime Web, TensorFlow.js, LiteRT.js and, where there is a CUDA device, PyTorch.

PYTHONPATH=pyapi:. python -m bench.peers --output=/tmp/report
    --runtime=chromium [--gpu=swiftshader]        in headless Chromium instead of Node with Dawn
    --growth                                      batches, image sizes, lengths and widths instead of the models
    --pack=/tmp/pack                              a folder for a GPU machine without network; there: bash run.sh

Every engine runs in a process of its own on the same model, weights and input; every output is compared with ONNX
Runtime on the CPU. Writes results.jsonl, results.json, results.md and charts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from absl import app, flags, logging

from bench.peers import growth, prepare, report, weights

OUTPUT = flags.DEFINE_string("output", None, "Folder for the results.")
PEERS = flags.DEFINE_string("peers", "../shared/peers", "The comparison: its setup.sh, models and adapters.")
FOLDER = flags.DEFINE_string("folder", None, "Where the comparison is set up; `comparison` in the output by default.")
RUNTIME = flags.DEFINE_enum("runtime", "node", ["node", "chromium"], "Node with Dawn, or headless Chromium.")
GPU = flags.DEFINE_enum(
    "gpu", "default", ["default", "swiftshader", "lavapipe"], "The machine's GPU, or a software one."
)
ENGINES = flags.DEFINE_list("engines", ["ort-webgpu-gc", "litert-webgpu", "tfjs-webgpu"], "Engines besides ours.")
WORKLOADS = flags.DEFINE_list("workloads", list(report.WORKS), "Which works.")
GROWTH = flags.DEFINE_bool("growth", False, "Works of growing size instead.")
VARIANT = flags.DEFINE_string("variant", "default", "A name for this set of our packages.")
FEATURES = flags.DEFINE_list(
    "features", [], "Features that our packages may use, such as f16; `software` where --gpu is a software one."
)
PACKAGE_VARIANTS = flags.DEFINE_list("package_variants", [], "Variants that our packages also have, such as start.")
SECONDS = flags.DEFINE_float("seconds", 1.0, "Seconds of each measurement, at most 300 runs.")
LIMIT = flags.DEFINE_integer("limit", 120, "Seconds after which an engine is given up.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds, of which the median counts.", lower_bound=1)
DAWN = flags.DEFINE_multi_string("dawn", [], "A flag of Dawn in Node: enable-dawn-features=allow_unsafe_apis,...")
PACK = flags.DEFINE_string("pack", None, "Make a pack in this folder instead of measuring.")

SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"  # where Debian's chromium has it

# What gives headless Chromium on Linux a GPU without a screen: on an NVIDIA H100 no other way of drawing pages did.
CHROMIUM_ON_A_GPU = (
    "--enable-features=Vulkan --use-gl=angle --use-angle=gl-egl --disable-vulkan-surface --ignore-gpu-blocklist"
)

RUN_SH = """#!/bin/bash
# bash run.sh OUT [options of bench.peers.cells]. Needs NumPy, and PyTorch for the native side.
set -e
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"; out="${1:?usage: run.sh OUT}"; shift; mkdir -p "$out"
run="${PEERS_DIR:-$here/run}"; export PYTHONPATH="$here"
[ -x "$run/node" ] || { mkdir -p "$run"; cat "$here"/parts/peers.tar.xz.* | xz -d | tar -C "$run" -xf -; }
python3 -m bench.peers.weights "$run"/bench/extra/tvm_webgpu/*/*/
python3 -m bench.peers.cells --bench="$run/bench" --node="$run/node" --out="$out/results.jsonl" "$@"
python3 -m bench.peers.native --bench="$run/bench" --out="$out/native.jsonl" || echo "no PyTorch with CUDA"
"""


def set_up(folder: Path) -> Path:
    """The comparison's folder `bench`, installed from npm unless it is there."""
    bench = folder / "bench"
    if not (bench / "vendor").exists():
        script = Path(PEERS.value, "setup.sh")
        if not script.exists():
            raise app.UsageError(f"{script} does not exist: say by --peers where the comparison lies")
        subprocess.run(["bash", str(script.resolve()), str(folder)], check=True)
    return bench


def make_pack(folder: Path, pack: Path) -> None:
    """Peers, packages without weights, Node and our scripts: all that a bare GPU machine needs."""
    subprocess.run(["bash", str(folder / "pack.sh"), str(pack.resolve())], check=True)
    scripts = pack / "bench" / "peers"
    scripts.mkdir(parents=True, exist_ok=True)
    for name in ("weights.py", "native.py", "cells.py"):
        shutil.copy(Path(__file__).with_name(name), scripts)
    (pack / "run.sh").write_text(RUN_SH)


def environment(gpu: str) -> dict[str, str]:
    """The environment in which Dawn in Node, or Chromium, finds the GPU."""
    result = dict(os.environ)
    if RUNTIME.value == "chromium":
        if gpu == "default":  # where CHROMIUM_FLAGS says nothing, it takes SwiftShader
            result.setdefault("CHROMIUM_FLAGS", CHROMIUM_ON_A_GPU)
    elif gpu == "swiftshader":
        result["VK_DRIVER_FILES"] = SWIFTSHADER
    elif gpu == "lavapipe":
        from tests.vulkan import driver

        result["VK_DRIVER_FILES"] = str(driver.build(Path(OUTPUT.value, "driver")))
    return result


def measure(bench: Path, output: Path, works: list[str]) -> Path:
    """Runs all engines, a process each; gives the file of results."""
    results = (output / "results.jsonl").resolve()
    ours = [f"extra:{adapter}:{VARIANT.value}" for adapter in prepare.ADAPTERS]
    engines = ",".join([*ours, *ENGINES.value])
    command = [sys.executable, "-m", "bench.peers.cells", f"--bench={bench.resolve()}", f"--works={','.join(works)}"]
    command += [f"--engines={engines}", f"--out={results}", f"--runtime={RUNTIME.value}", f"--rounds={ROUNDS.value}"]
    command += [f"--seconds={SECONDS.value}", f"--limit={LIMIT.value}", *(f"--dawn={flag}" for flag in DAWN.value)]
    subprocess.run(command, env=environment(GPU.value), check=True)
    return results


def measure_native(bench: Path, output: Path, works: list[str]) -> list[Path]:
    """The same works in PyTorch, where it is installed and has a GPU."""
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    results = output / "native.jsonl"
    command = [sys.executable, "-m", "bench.peers.native", f"--bench={bench}", f"--out={results}"]
    subprocess.run([*command, f"--workloads={','.join(works)}"], check=True)
    return [results]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if not OUTPUT.value and not (PACK.value and FOLDER.value):
        raise app.UsageError("say by --output where the results go (or --pack and --folder)")
    if RUNTIME.value == "chromium" and GPU.value == "lavapipe":
        raise app.UsageError("Chromium has SwiftShader as its software GPU: --gpu=swiftshader")
    folder = Path(FOLDER.value or Path(OUTPUT.value, "comparison"))
    bench = set_up(folder)
    works = growth.works() if GROWTH.value else WORKLOADS.value
    if GROWTH.value:
        growth.write(bench, works)
    prepare.install_runtime(bench)
    packages = prepare.packages(bench, VARIANT.value)
    features = FEATURES.value or ([] if GPU.value == "default" else ["software"])
    options: dict[str, object] = {"features": features} if features else {}
    if PACKAGE_VARIANTS.value:
        options["variants"] = PACKAGE_VARIANTS.value
    for name in works:
        logging.info("compiling %s", name)
        prepare.compile_work(bench, name, packages / name, options)
    if PACK.value:
        make_pack(folder, Path(PACK.value))
        return
    for name in works:
        weights.restore(packages / name)
    output = Path(OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    results = [measure(bench, output, works), *measure_native(bench, output, works)]
    print(report.write(report.read(results), output), end="")


if __name__ == "__main__":
    app.run(main)
