"""`tvm-webgpu compile`: a model file in, a package folder out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tvm_webgpu import typescript
from tvm_webgpu.cli.native_log import captured_native_stderr
from tvm_webgpu.errors import InputError
from tvm_webgpu.image_options import parse_image
from tvm_webgpu.param_storage import STORAGES

if TYPE_CHECKING:
    from rich.progress import TaskID

    from tvm_webgpu.package import Package
    from tvm_webgpu.pipeline.progress import Listener

HELP = "compile a model to a package"

DESCRIPTION = """\
Compile a model to a package: a folder that the browser runtime, Node and `tvm-webgpu run` execute.

MODEL is one of
  model.onnx          an ONNX model
  model.pt2           a program from torch.export (needs PyTorch)
  module.py:function  a Python function that returns an IRModule, an ExportedProgram or an ONNX ModelProto,
                      or an IRModule together with a dict of its parameters

Dimensions that the model names, such as batch or sequence length, stay free.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="what to compile")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="the package's folder")
    parser.add_argument("--name", help="the package's name (default: from the model)")
    parser.add_argument(
        "--target",
        default="webgpu",
        help='"webgpu" (default), or JSON like \'{"kind": "webgpu", "feature.f16": true}\'',
    )
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="NAME",
        help="allow a feature that not every device has: f16, subgroups (repeatable)",
    )
    parser.add_argument(
        "--mixed-precision", action="store_true", help="compute a float32 model in float16 where it pays (turns f16 on)"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME[=ITEM,...]",
        help="also compile for devices that can more, best first; a runtime loads the first that its device runs: f16, "
        "subgroups, subgroup_matrix, limits, software, or e.g. fast=f16,mixed_precision,threads=512; start: kernels "
        "that drivers compile soon, to answer with until the others are ready (repeatable)",
    )
    parser.add_argument(
        "--compress", action="store_true", help="compress files with gzip, for servers that do not do it themselves"
    )
    parser.add_argument(
        "--param-storage",
        choices=STORAGES,
        help="store large parameters as halves, or as bytes with a scale for each channel; decoded when loaded",
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=DIM,DIM,...",
        help="an input's shape, of numbers and names, e.g. input=1,3,224,224 (ONNX; repeatable)",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="INPUT=PRESET|JSON",
        help="an input that images fill, and how: imagenet, unit (0 to 1), signed (-1 to 1), or JSON like "
        '\'{"mean": [0.5], "std": [0.5], "channels": "BGR", "fit": "cover"}\' (repeatable)',
    )
    parser.add_argument(
        "--nocache", action="store_true", help="compile every kernel anew instead of using those kept on disk"
    )
    parser.add_argument(
        "--types", action="store_true", help="also write types.d.ts, TypeScript declarations of the entry functions"
    )


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    shapes = dict(map(_parse_shape, options.shape))
    images = dict(map(parse_image, options.image))
    target = _parse_target(options.target)
    features = {*options.feature, *(["f16"] if options.mixed_precision else [])}
    # Importing TVM takes seconds: arguments are checked first.
    with _torch_hidden(options.model.endswith(".onnx")):
        from tvm_webgpu.pipeline.build import compile

    with _progress_bar(options.verbose) as listener:
        package = compile(
            options.model,
            target,
            name=options.name,
            shapes=shapes,
            features=sorted(features),
            mixed_precision=options.mixed_precision,
            variants=options.variant,
            cache=not options.nocache,
            progress=listener,
        )
    package = package.with_images(images)
    if options.param_storage:
        package = package.with_param_storage(options.param_storage)
    if options.compress:
        package = package.with_compression()
    path = package.save(options.output)
    if options.types:
        (path / typescript.FILE).write_text(typescript.declarations(package))
    print(f"{path}: {_count(len(package.entries), 'entry', 'entries')}, {_summary(package)}")
    for variant in package.variants:
        print(f"  {variant.name}: {_summary(variant.package)}")
    return 0


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _summary(package: Package) -> str:
    stored = [len(param.stored.values) if param.stored else len(param.data) for param in package.params]
    needs = [*package.features, *(f"{name} {value}" for name, value in package.limits.items())]
    sizes = f"{len(package.wasm) / 1e3:.1f} kB of wasm, {sum(stored) / 1e6:.1f} MB of parameters"
    wants = f"; needs {', '.join(needs)}" if needs else ""
    return f"{_count(len(package.kernels), 'kernel', 'kernels')}, {sizes}{wants}"


def _parse_target(text: str) -> str | dict[str, object]:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"--target is not valid JSON: {error}") from error


def _parse_shape(text: str) -> tuple[str, list[int | str]]:
    name, separator, dims = text.rpartition("=")
    parts = dims.split(",")
    if not separator or not all(part.isdigit() or part.isidentifier() for part in parts):
        raise InputError(f"--shape {text!r} is not of the form INPUT=DIM,DIM,..., e.g. input=batch,3,224,224")
    return name, [int(part) if part.isdigit() else part for part in parts]


@contextmanager
def _torch_hidden(hidden: bool) -> Iterator[None]:
    """TVM imports PyTorch where it is installed, which takes as long as TVM itself; an ONNX model needs none."""
    if not hidden or "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # `import torch` is an ImportError then
    try:
        yield
    finally:
        del sys.modules["torch"]


@contextmanager
def _progress_bar(verbose: bool) -> Iterator[Listener | None]:
    """A bar on stderr, if that is a terminal and the log does not go there."""
    if verbose:
        yield None
        return
    terminal = sys.stderr.isatty()
    with captured_native_stderr() as stderr:
        if not terminal:
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=stderr, force_terminal=True), transient=True) as progress:
            tasks: dict[str, TaskID] = {}

            def listen(phase: str, done: int, total: int) -> None:
                if phase not in tasks:
                    tasks[phase] = progress.add_task(phase, total=total)
                progress.update(tasks[phase], completed=done, total=total)

            yield listen
