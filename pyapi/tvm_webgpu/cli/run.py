"""`tvm-webgpu run`: a package and .npy files in, the outputs as .npy files or as a summary out."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tvm_webgpu.errors import InputError, TvmWebgpuError
from tvm_webgpu.package import Entry, Package, TensorSpec

Value = np.ndarray | int

HELP = "run a package on inputs from .npy files"

DESCRIPTION = """\
Run one entry of a package once, on this machine's GPU, and write or summarise its outputs.

  tvm-webgpu run dist/model --input input=x.npy --output y.npy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("package", metavar="DIR", help="the package's folder")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="an input (repeatable); an integer stands for itself, e.g. total=7, and - is stdin",
    )
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="[NAME=]FILE.npy",
        help="where to write an output; without a name, the only or first one (repeatable; default: a summary)",
    )
    parser.add_argument("--entry", help="the entry to call (default: main, or the only one)")
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help='the variant to run, or "baseline" (default: the best for this GPU)',
    )
    parser.add_argument(
        "--executor", choices=("wgpu", "node"), default="wgpu", help="wasmtime and wgpu (default), or Node with Dawn"
    )


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    package = Package.load(options.package)
    entry = choose_entry(package, options.entry)
    inputs = read_inputs(entry, options.input)
    targets = _parse_outputs(entry, options.output)
    if options.executor == "node":
        outputs = _run_node(options.package, entry, inputs, options.variant)
    else:
        outputs = _run_wgpu(options.package, entry, inputs, options.variant)
    for name, path in targets.items():
        try:
            np.save(path, np.asarray(outputs[name]))
        except OSError as error:
            raise InputError(f"can't write {path}: {error.strerror}") from error
    if not targets:
        _print_summary(outputs)
    return 0


def choose_entry(package: Package, name: str | None) -> Entry:
    """The entry named, else `main`, else the only one; PackageError lists them."""
    if name is None and len(package.entries) == 1:
        return package.entries[0]
    return package.entry(name or "main")


def read_inputs(entry: Entry, arguments: Sequence[str]) -> dict[str, Value]:
    """NAME=FILE pairs to values that fit the entry; InputError says which does not, and why."""
    specs = {spec.name: spec for spec in entry.inputs}
    values: dict[str, Value] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not separator:
            raise InputError(f"--input {argument!r} is not of the form NAME=FILE.npy")
        if name not in specs:
            raise InputError(f"entry {entry.name!r} has no input {name!r}; it has {', '.join(specs) or 'none'}")
        if name in values:
            raise InputError(f"input {name!r} is given twice")
        values[name] = _read_value(specs[name], path)
    if missing := [f"{name} ({spec})" for name, spec in specs.items() if name not in values]:
        raise InputError(f"missing input {', '.join(missing)}; give --input NAME=FILE.npy")
    check_shapes(specs, {name: value for name, value in values.items() if isinstance(value, np.ndarray)})
    return values


def check_shapes(specs: Mapping[str, TensorSpec], arrays: Mapping[str, np.ndarray]) -> None:
    """Checks dtypes and shapes, and that a symbol has one value; InputError otherwise."""
    values: dict[str, tuple[int, str]] = {}
    for name, array in arrays.items():
        spec = specs[name]
        if str(array.dtype) != spec.dtype:
            raise InputError(f"input {name!r} is {array.dtype}, the model takes {spec.dtype}")
        if array.ndim != len(spec.shape):
            raise InputError(f"input {name!r} has shape {list(array.shape)}, the model takes {spec}")
        for size, dim in zip(array.shape, spec.shape):
            expected, whose = values.setdefault(dim, (size, name)) if isinstance(dim, str) else (dim, "")
            if size != expected:
                other = f" ({dim} is {expected} in {whose!r})" if whose and whose != name else ""
                raise InputError(f"input {name!r} has shape {list(array.shape)}, the model takes {spec}{other}")


def _read_value(spec: TensorSpec, text: str) -> Value:
    if spec.kind == "object":
        raise InputError(f"input {spec.name!r} is an opaque object, which no file can hold")
    if spec.kind != "tensor":
        if not text.removeprefix("-").isdecimal():
            raise InputError(f"input {spec.name!r} is an integer, not {text!r}")
        return int(text)
    return _read_array(spec.name, text)


def _read_array(name: str, path: str) -> np.ndarray:
    try:
        array = np.load(sys.stdin.buffer if path == "-" else path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"can't read {path} for input {name!r}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} for input {name!r} is not a .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} for input {name!r} is an archive of arrays; give a .npy file")
    return array


def _parse_outputs(entry: Entry, arguments: Sequence[str]) -> dict[str, str]:
    names = [spec.name for spec in entry.outputs if spec.kind == "tensor"]
    targets: dict[str, str] = {}
    for argument in arguments:
        name, separator, path = argument.rpartition("=")
        name = name if separator else next(iter(names), "")
        if name not in names:
            raise InputError(
                f"entry {entry.name!r} has no tensor {name!r} to write; it gives {', '.join(names) or 'none'}"
            )
        targets[name] = path
    return targets


def _run_wgpu(directory: str, entry: Entry, inputs: Mapping[str, Value], variant: str | None) -> Mapping[str, object]:
    from tvm_webgpu.executor import load

    return load(directory, variant=variant).run(dict(inputs), entry=entry.name)


def _run_node(directory: str, entry: Entry, inputs: Mapping[str, Value], variant: str | None) -> Mapping[str, object]:
    from tvm_webgpu.serve import runtime_bundle

    script = runtime_bundle() / "node_cli.mjs"
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["node", str(script), "run", str(directory), "--entry", entry.name]
        arguments += ["--variant", variant] if variant else []
        tensors = [spec.name for spec in entry.outputs if spec.kind == "tensor"]
        outputs = {name: Path(scratch, f"out{index}.npy") for index, name in enumerate(tensors)}
        for index, (name, value) in enumerate(inputs.items()):
            path = Path(scratch, f"in{index}.npy")
            if isinstance(value, np.ndarray):
                np.save(path, np.ascontiguousarray(value))
            arguments += ["--input", f"{name}={path if isinstance(value, np.ndarray) else value}"]
        for name, path in outputs.items():
            arguments += ["--output", f"{name}={path}"]
        try:
            result = subprocess.run(arguments, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise TvmWebgpuError("--executor node needs Node.js 20 or newer as `node` on the PATH") from error
        if result.returncode:
            raise TvmWebgpuError(f"node: {_node_error(result.stderr) or f'exit status {result.returncode}'}")
        return {name: np.load(path) for name, path in outputs.items()}


def _node_error(stderr: str) -> str:
    """The last `Kind: message` with what follows it; Dawn's own warnings may stand before."""
    lines = stderr.strip().splitlines()
    starts = [index for index, line in enumerate(lines) if re.match(r"[A-Z]\w*: ", line)]
    return " ".join(line.strip() for line in lines[starts[-1] if starts else -1 :])


def _print_summary(outputs: Mapping[str, object]) -> None:
    for name, array in outputs.items():
        if not isinstance(array, np.ndarray):
            print(f"{name}: {array if isinstance(array, int | float) else 'an opaque object'}")
            continue
        print(f"{name}: {array.dtype}{list(array.shape)}")
        if array.size and array.ndim == 2 and array.dtype.kind == "f":
            for row in array[:4].astype(np.float32):
                best = np.argsort(row)[::-1][:5]
                print("  highest: " + ", ".join(f"[{index}] {row[index]:.6g}" for index in best))
        elif array.size:
            print("  " + np.array2string(array, threshold=16, edgeitems=2, precision=6).replace("\n", "\n  "))
