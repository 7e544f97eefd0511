"""Results of the comparison -> results.json, results.md and charts (SVG and PNG).

PYTHONPATH=pyapi python -m bench.peers.report --output=OUT RESULTS.jsonl...
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import app, flags

from bench.peers.growth import FAMILIES

Row = dict[str, Any]

ENGINES = {
    "tvm-webgpu": ("tvm-webgpu", "#0b6e4f"),
    "bare-webgpu": ("the same launches, bare WebGPU", "#a3b18a"),
    "ort-webgpu-gc": ("ONNX Runtime Web", "#3f7cac"),
    "ort-webgpu": ("ONNX Runtime Web, no graph capture", "#95b8d1"),
    "litert-webgpu": ("LiteRT.js", "#e09f3e"),
    "tfjs-webgpu": ("TensorFlow.js", "#b56576"),
    "pytorch-cuda": ("PyTorch, CUDA", "#6c757d"),
}
WORKS = {
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "resnet50": "ResNet50",
    "minilm_l6": "MiniLM-L6, 128 tokens",
    "matmul_1024": "matmul 1024",
    "matmul_4096": "matmul 4096",
    "conv3x3_56x56_64": "conv 3x3, 64x56x56",
    "dwconv3x3_112x112_32": "depthwise, 32x112x112",
    "matmul_1024_f16": "matmul 1024, f16",
    "matmul_4096_f16": "matmul 4096, f16",
    "mobilenet_v2_f16": "MobileNetV2, f16",
    "minilm_l6_f16": "MiniLM-L6, f16",
}


def first_result_ms(row: Row) -> float | None:
    """From nothing to the first result: engine, model, first inference."""
    parts = [row.get(key) for key in ("init_ms", "load_ms", "first_ms")]
    return None if None in parts else sum(parts)


def spread(row: Row) -> str:
    low, high = row.get("gpu_p10"), row.get("gpu_p90")
    return "" if low is None else f"{low:.2f}-{high:.2f}"


def cell(value: float | None, digits: int = 2) -> str:
    if value is None:
        return ""
    return f"{value:.{digits if value < 100 else 0}f}"


COLUMNS = {
    "end to end": lambda r: cell(r.get("e2e_ms")),
    "GPU": lambda r: cell(r.get("gpu_ms"), 3),
    "10-90 %": spread,
    "pipelined": lambda r: cell(r.get("pipelined_ms"), 3),
    "busy": lambda r: cell(r.get("gpu_busy_ms"), 3),
    "submit": lambda r: cell(r.get("submit_ms")),
    "first": lambda r: cell(first_result_ms(r), 0),
    "launches": lambda r: str(r.get("counts", {}).get("dispatch", "")),
    "MB": lambda r: cell(r.get("gpu_peak_mb"), 1),
    "package MB": lambda r: cell(r.get("package_mb"), 1),
    "GFLOP/s": lambda r: cell(r.get("gflops"), 0),
    "error": lambda r: f"{r['check']['rel_err']:.0e}" + ("" if r["check"]["ok"] else " **wrong**"),
    "runs": lambda r: str(r.get("gpu_n", "")),
}


def engine_key(row: Row) -> str:
    """The family of an engine, whatever variant of our packages it runs."""
    name = row["engine"].removeprefix("extra:").replace("_", "-")
    return next((ours for ours in ("tvm-webgpu", "bare-webgpu") if name.startswith(ours)), row["engine"])


def read(paths: Iterable[Path]) -> list[Row]:
    """Rows of engines on works, in the order of ENGINES within a work; adapters' lines are left out."""
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines() if line.strip()]
    rows = [line for line in lines if line.get("engine") not in (None, "adapter") and "workload" in line]
    works, engines = [*WORKS, *sorted({r["workload"] for r in rows} - set(WORKS))], list(ENGINES)

    def order(row: Row) -> tuple[int, int]:
        key = engine_key(row)
        return works.index(row["workload"]), engines.index(key) if key in engines else len(engines)

    return sorted(rows, key=order)


def label(row: Row) -> str:
    key = engine_key(row)
    name = ENGINES.get(key, (row["engine"],))[0]
    variant = row["engine"].removeprefix("extra:").removeprefix("tvm_webgpu:").removeprefix("tvm-webgpu-")
    return name if key != "tvm-webgpu" or variant in ("tvm-webgpu", "tvm_webgpu", "default") else f"{name} ({variant})"


def table(rows: list[Row]) -> str:
    """The rows in Markdown: milliseconds, medians."""
    lines = ["| work | engine | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 2)]
    for row in rows:
        work = WORKS.get(row["workload"], row["workload"])
        reason = row.get("error") or row.get("skipped")
        if reason:
            lines.append(f"| {work} | {label(row)} | {reason.splitlines()[0][:90]} |" + " |" * (len(COLUMNS) - 1))
        else:
            lines.append(f"| {work} | {label(row)} | " + " | ".join(show(row) for show in COLUMNS.values()) + " |")
    adapters = sorted({row["adapter"] for row in rows if row.get("adapter")})
    return "\n".join([*lines, "", f"Adapters: {', '.join(adapters)}."]) + "\n"


def measured(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.get("gpu_ms") and row.get("check", {}).get("ok")]


def save_figure(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)


def chart(rows: list[Row], path: Path) -> None:
    """A panel a work, a bar an engine: GPU milliseconds, right results only; bars that would dwarf the rest are cut."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tvm-webgpu"
    from matplotlib import pyplot

    rows = measured(rows)
    ours = {row["workload"] for row in rows if engine_key(row) == "tvm-webgpu"}
    works = [work for work in WORKS if work in ours]
    if not works:
        return
    columns = min(4, len(works))
    lines = -(-len(works) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(3.9 * columns, 1.9 * lines), squeeze=False)
    for axis in axes.flat[len(works) :]:
        axis.axis("off")
    for axis, work in zip(axes.flat, works, strict=False):
        bars = [row for row in rows if row["workload"] == work][::-1]
        names = [label(row) for row in bars]
        colours = [ENGINES.get(engine_key(row), ("", "#999999"))[1] for row in bars]
        drawn = axis.barh(range(len(bars)), [row["gpu_ms"] for row in bars], color=colours)
        axis.set_yticks(range(len(bars)), names, fontsize=7)
        axis.set_title(WORKS[work], fontsize=9, loc="left", fontweight="bold")
        shortest = min(row["gpu_ms"] for row in bars if engine_key(row) == "tvm-webgpu")
        axis.set_xlim(0, 1.3 * min(max(row["gpu_ms"] for row in bars), 6 * shortest))
        for bar, row in zip(drawn, bars, strict=True):
            edge = axis.get_xlim()[1]
            cut = bar.get_width() > edge
            where, side = (edge, "right") if cut else (bar.get_width(), "left")
            text = f" {row['gpu_ms']:.3g}" + (" \u25b8" if cut else "")
            axis.text(where, bar.get_y() + bar.get_height() / 2, text, va="center", ha=side, fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    # Of Vulkan's adapters Dawn tells the driver; CUDA tells the GPU.
    telling = sorted(rows, key=lambda row: engine_key(row) != "pytorch-cuda")
    adapter = next((row["adapter"] for row in telling if row.get("adapter")), "")
    figure.suptitle(f"Milliseconds an inference, GPU to GPU; shorter is better ({adapter})", fontsize=10)
    figure.tight_layout()
    save_figure(figure, path)
    pyplot.close(figure)


def growth_chart(rows: list[Row], path: Path) -> None:
    """A panel a family: GPU milliseconds against its size, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tvm-webgpu"
    from matplotlib import pyplot, ticker

    by_work: dict[str, list[Row]] = {}
    for row in measured(rows):
        by_work.setdefault(row["workload"], []).append(row)
    families = [f for f in FAMILIES.values() if any(f.name.format(size) in by_work for size in f.sizes)]
    if not families:
        return
    figure, axes = pyplot.subplots(1, len(families), figsize=(3.8 * len(families), 3.2), squeeze=False)
    for axis, family in zip(axes.flat, families, strict=True):
        points: dict[str, list[tuple[int, float]]] = {}
        for size in family.sizes:
            for row in by_work.get(family.name.format(size), []):
                points.setdefault(engine_key(row), []).append((size, row["gpu_ms"]))
        for engine, line in points.items():
            name, colour = ENGINES.get(engine, (engine, "#999999"))
            axis.plot(*zip(*line, strict=True), marker="o", markersize=3, label=name, color=colour)
        axis.set(xscale="log", yscale="log", xlabel=family.axis)
        axis.set_xticks(family.sizes, [str(size) for size in family.sizes], fontsize=7)
        axis.minorticks_off()
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.tick_params(axis="y", labelsize=7)
        axis.set_title(family.name.split("_{")[0].rsplit("_", 1)[0], fontsize=9, loc="left", fontweight="bold")
        axis.grid(alpha=0.3)
    axes.flat[0].set_ylabel("ms, GPU to GPU")
    axes.flat[-1].legend(fontsize=7)
    figure.tight_layout()
    save_figure(figure, path)
    pyplot.close(figure)


def write(rows: list[Row], output: Path) -> str:
    """Writes all forms into the folder; gives the table."""
    output.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    (output / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    (output / "results.md").write_text(text)
    chart(rows, output / "chart")
    growth_chart(rows, output / "growth")
    return text


def main(argv: list[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("name one or more results.jsonl")
    print(write(read(map(Path, argv[1:])), Path(flags.FLAGS.output)), end="")


if __name__ == "__main__":
    flags.DEFINE_string("output", None, "Folder for the report.", required=True)
    app.run(main)
