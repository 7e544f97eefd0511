"""The command `tvm-webgpu`: arguments in, an exit status out (0 right, 1 failed, 2 wrong usage)."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import tvm_webgpu
from tvm_webgpu.cli import bench, compile, inspect, run, serve, spirv2wgsl, types
from tvm_webgpu.errors import TvmWebgpuError

COMMANDS = (compile, run, serve, bench, inspect, types, spirv2wgsl)

DESCRIPTION = """\
Compile machine learning models to WebGPU and WebAssembly, and run, serve or inspect the result.

  tvm-webgpu compile model.onnx -o dist/model
  tvm-webgpu run dist/model --input input=x.npy --output y.npy
  tvm-webgpu serve dist/model
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("everywhere")
    group.add_argument("-v", "--verbose", action="store_true", help="log each phase and its time")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser(
        prog="tvm-webgpu", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"tvm-webgpu {tvm_webgpu.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        subparser = subparsers.add_parser(
            name,
            parents=[common],
            help=command.HELP,
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(handler=command.main)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; an error that is meant for the user is one line on stderr."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("tvm_webgpu").setLevel(logging.INFO if options.verbose else logging.WARNING)
    with _interruptions() as interruptions:
        return _run(options, interruptions)


def _run(options: argparse.Namespace, interruptions: Sequence[int]) -> int:
    try:
        return options.handler(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if interruptions:
            return 130
        if options.debug:
            raise
        print(f"tvm-webgpu: {_one_line(error)}", file=sys.stderr)
        return 1


@contextmanager
def _interruptions() -> Iterator[Sequence[int]]:
    """The Ctrl-C signals so far: where one meets Python code that TVM called, TVM makes a RuntimeError of it."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.default_int_handler(number, frame)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread, which alone receives signals
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, TvmWebgpuError):
        return " ".join(lines)
    return f"internal error ({type(error).__name__}): {lines[-1]} (--debug shows where)"


if __name__ == "__main__":
    sys.exit(main())
