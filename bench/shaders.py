"""Our shaders beside TVM's own for the same schedules: bytes, and the time that Dawn takes to compile them.

PYTHONPATH=pyapi:. python -m bench.shaders --output=/tmp/bench [--dawn=backend=null]

Prints two ratios, of WGSL bytes and of compile time. Packages are those of bench/run.py, made if they are not there.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from absl import app, flags

from bench import run

TIMES = flags.DEFINE_integer("times", 5, "Compilations of which the median is given.", lower_bound=1)


def compile_ms(folders: list[Path]) -> tuple[str, list[float]]:
    """The adapter, and for each package the milliseconds to compile its kernels."""
    from tvm_webgpu.serve import runtime_bundle

    environment = {"NODE_PATH": str(runtime_bundle().parent / "node_modules"), **os.environ}
    script = Path(__file__).with_name("shaders.mjs")
    command = ["node", str(script), str(TIMES.value), " ".join(run.DAWN.value), *map(str, folders)]
    done = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return done["adapter"], done["ms"]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    print("| model | kernels | WGSL kB, ours / TVM's | ratio | compile ms, ours / TVM's | ratio | adapter |")
    print("|---|---|---|---|---|---|---|")
    for model in run.MODELS.value:
        folders = [Path(run.OUTPUT.value) / f"{model}-{variant}" for variant in ("ours", "builtin")]
        for variant, folder in zip(("ours", "builtin"), folders):
            run.compile_package(model, variant, folder)
        sizes = [run.sizes(folder) for folder in folders]
        ours, theirs = (size["bytes"]["kernels"] / 1e3 for size in sizes)
        adapter, (fast, slow) = compile_ms(folders)
        print(
            f"| {model} | {sizes[0]['kernels']} | {ours:.0f} / {theirs:.0f} | {ours / theirs:.2f} "
            f"| {fast:.0f} / {slow:.0f} | {fast / slow:.2f} | {adapter} |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
