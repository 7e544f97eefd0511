"""`tvm-webgpu bench`: a package in, its times, the work of its kernels and its memory out, as a table with bars."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import tempfile
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_webgpu.cli.run import choose_entry, read_inputs
from tvm_webgpu.errors import InputError, TvmWebgpuError, UnsupportedError
from tvm_webgpu.package import Entry, Package, TensorSpec

if TYPE_CHECKING:
    from rich.table import Table

Report = dict[str, Any]

LOG = logging.getLogger("tvm_webgpu")

HELP = "measure a package: times, kernels, memory"

DESCRIPTION = """\
Run one entry of a package many times on this machine's GPU and tell what it costs, kernel by kernel.

  tvm-webgpu bench dist/model
  tvm-webgpu bench dist/model --dim batch=8 --trace trace.json      # open the trace in ui.perfetto.dev

Inputs are random unless --input gives them. Times of kernels, and a trace of them, need a GPU with timestamps.
"""

BAR = 16
"""Characters of the longest bar."""

PROFILED = 10
"""Runs over which times of kernels are averaged."""

WIDE = 100
"""Characters of a line that has room for everything."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("package", metavar="DIR", help="the package's folder")
    parser.add_argument("--entry", help="the entry to call (default: main, or the only one)")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE.npy", help="an input (repeatable)")
    parser.add_argument(
        "--dim", action="append", default=[], metavar="NAME=N", help="a symbol of the shapes (default: 1; repeatable)"
    )
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="runs that are measured (default: 20)")
    parser.add_argument(
        "--executor",
        choices=("node", "browser", "wgpu"),
        default="node",
        help="Node with Dawn (default), headless Chromium, or wasmtime and wgpu",
    )
    parser.add_argument(
        "--variant", metavar="NAME", help='the variant to measure, or "baseline" (default: the best for this GPU)'
    )
    parser.add_argument("--trace", metavar="FILE.json", help="write the launches as a Chrome trace")
    parser.add_argument("--json", metavar="FILE.json", help="write all figures as JSON")


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    if options.runs < 1:
        raise InputError(f"--runs {options.runs} is no number of runs")
    package = Package.load(options.package)
    entry = choose_entry(package, options.entry)
    given = read_inputs(_only(entry, options.input), options.input)
    inputs = {**random_inputs(entry, _dims(entry, options.dim), skip=given), **given}
    measure = _measure_wgpu if options.executor == "wgpu" else _measure_node
    report = {"package": package.name, "entry": entry.name, **measure(options, entry, inputs)}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    return 0


def random_inputs(entry: Entry, dims: Mapping[str, int], skip: Container[str] = ()) -> dict[str, np.ndarray | int]:
    """An input for each port not in `skip`: normal numbers, or 0 and 1 where they are whole; InputError for objects."""
    random = np.random.default_rng(0)
    values: dict[str, np.ndarray | int] = {}
    for spec in entry.inputs:
        if spec.name in skip:
            continue
        if spec.kind == "object":
            raise InputError(f"input {spec.name!r} is an object of an earlier run: choose another --entry")
        shape = [dims.get(dim, 1) if isinstance(dim, str) else dim for dim in spec.shape]
        values[spec.name] = (shape[0] if shape else 1) if spec.kind != "tensor" else _random(random, spec, shape)
    return values


def _random(random: np.random.Generator, spec: TensorSpec, shape: Sequence[int]) -> np.ndarray:
    if spec.dtype == "bfloat16":  # as its bits
        return (random.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if spec.dtype.startswith("float"):
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, 2, shape).astype(spec.dtype)


def _dims(entry: Entry, arguments: Sequence[str]) -> dict[str, int]:
    symbols = {dim for spec in entry.inputs for dim in spec.shape if isinstance(dim, str)}
    dims: dict[str, int] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in symbols or not value.isdecimal():
            known = ", ".join(sorted(symbols)) or "none"
            raise InputError(f"--dim {argument!r} is not NAME=N with a symbol of the entry; it has {known}")
        dims[name] = int(value)
    return dims


def _only(entry: Entry, arguments: Sequence[str]) -> Entry:
    """The entry as if it took the inputs named only."""
    names = {argument.partition("=")[0] for argument in arguments}
    if unknown := names - {spec.name for spec in entry.inputs}:
        raise InputError(f"entry {entry.name!r} has no input {min(unknown)!r}")
    return Entry(entry.name, tuple(spec for spec in entry.inputs if spec.name in names), entry.outputs)


def _measure_wgpu(options: argparse.Namespace, entry: Entry, inputs: Mapping[str, np.ndarray | int]) -> Report:
    from tvm_webgpu.executor import load, trace_of

    def elapsed(start: float) -> float:
        return (time.perf_counter() - start) * 1e3

    start = time.perf_counter()
    with load(options.package, variant=options.variant) as executor:
        report: Report = {"executor": "wgpu", "variant": executor.variant, "adapter": executor.adapter}
        report |= {"load_ms": elapsed(start), "ms": []}
        for _ in range(options.runs + 1):
            start = time.perf_counter()
            executor.run(inputs, entry.name)
            report["ms"].append(elapsed(start))
        try:
            report["profile"] = executor.profile(inputs, entry.name, min(options.runs, PROFILED))
        except UnsupportedError as error:
            if options.trace:
                raise
            LOG.warning("no times of kernels: %s", error)
        if options.trace:
            Path(options.trace).write_text(trace_of(report["profile"], f"{executor.package.name}: {entry.name}"))
        report["memory"] = executor.memory()
    return report


def _measure_node(options: argparse.Namespace, entry: Entry, inputs: Mapping[str, np.ndarray | int]) -> Report:
    from tvm_webgpu.serve import runtime_bundle

    with tempfile.TemporaryDirectory(prefix="tvm-webgpu-bench-") as scratch:
        folder = Path(scratch)
        files: dict[str, str | int] = {}
        for index, (name, value) in enumerate(inputs.items()):
            if isinstance(value, np.ndarray):
                np.save(folder / f"{index}.npy", value)
            files[name] = f"{index}.npy" if isinstance(value, np.ndarray) else value
        run: Report = {"entry": entry.name, "inputs": files, "repeat": options.runs + 1}
        run["profile"] = {"runs": min(options.runs, PROFILED), **({"trace": "trace.json"} if options.trace else {})}
        job = {"package": str(Path(options.package).absolute()), "runs": [run]}
        if options.variant:
            job["variant"] = options.variant
        (folder / "job.json").write_text(json.dumps(job))
        command = ["node", str(runtime_bundle() / "node_cli.mjs"), "--job", str(folder / "job.json"), "--json"]
        command += ["--browser"] if options.executor == "browser" else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise TvmWebgpuError(
                f"--executor {options.executor} needs Node.js 20 or newer on the PATH; wgpu does not"
            ) from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise TvmWebgpuError(f"{options.executor}: {lines[-1]}")
        report = json.loads(done.stdout)
        if options.trace:
            Path(options.trace).write_bytes((folder / "trace.json").read_bytes())
    (measured,) = report["runs"]
    keys = ("ms", "dispatches", "submits", "memory", "profile")
    return {
        "executor": options.executor,
        "variant": report["variant"],
        "adapter": report["adapter"],
        "load_ms": report["load_ms"],
        **{key: measured[key] for key in keys},
    }


def show(report: Report) -> None:
    """Prints a report of `main`: milliseconds and bytes in it, kernels by their time."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    first, *later = report["ms"]
    times = sorted(later)
    console.print(
        f"[bold]{report['package']}[/], {report['entry']}, variant {report['variant']}, "
        f"{report['executor']} on {report['adapter']}\n"
        f"load {report['load_ms']:.0f} ms, first run {first:.2f} ms; then {times[len(times) // 2]:.2f} ms "
        f"({times[0]:.2f} to {times[-1]:.2f} in {len(times)} runs), from arrays to arrays"
    )
    if profile := report.get("profile"):
        console.print(_table(profile["kernels"], amounts=console.width >= WIDE))
        console.print(
            f"{len(profile['launches'])} launches, {profile['ms']:.3f} ms of kernels "
            f"in {profile['span']:.3f} ms on the GPU"
        )
        if profile["resolution"] >= 0.01:
            console.print(f"the GPU's clock steps by {profile['resolution']:.3f} ms: short kernels are rough")
    if memory := report.get("memory"):
        console.print("GPU memory: " + ", ".join(f"{name} {_size(size)}" for name, size in memory.items()))


def _table(kernels: Sequence[Report], amounts: bool) -> Table:
    """A row for each kernel, the longest first; with what it computes and moves where there is room for it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kernel", overflow="fold")
    work = ("MFLOP", "GFLOP/s", "MB", "GB/s") if amounts else ("GFLOP/s", "GB/s")
    for name in ("launches", "ms", *work, "share"):
        table.add_column(name, justify="right")
    table.add_column("", min_width=BAR, no_wrap=True)
    longest = max((kernel["share"] for kernel in kernels), default=1) or 1
    for kernel in kernels:
        ms = kernel["ms"]
        figures = [
            figure
            for amount in (kernel.get("flops"), kernel.get("bytes"))
            for figure in ((_figure(amount, 1), _figure(amount, ms)) if amounts else (_figure(amount, ms),))
        ]
        share, bar = kernel["share"], "█" * max(1, round(BAR * kernel["share"] / longest)) if ms else ""
        name = kernel["kernel"].replace("_kernel", "")  # in all names, and they are long
        row = [name, str(kernel["launches"]), f"{ms:.3f}", *figures, f"{100 * share:.1f}%", f"[cyan]{bar}[/]"]
        table.add_row(*row)
    return table


def _figure(amount: float | None, milliseconds: float) -> str:
    """Millions, or thousands of millions a second: three digits that count."""
    if amount is None or milliseconds <= 0:
        return ""
    value = amount / milliseconds / 1e6
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _size(size: float) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
