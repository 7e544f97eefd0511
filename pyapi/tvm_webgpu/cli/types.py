"""`tvm-webgpu types`: a package in, TypeScript declarations of its entry functions out."""

from __future__ import annotations

import argparse
from pathlib import Path

from tvm_webgpu.errors import TvmWebgpuError
from tvm_webgpu.package import Package
from tvm_webgpu.typescript import declarations

HELP = "write TypeScript declarations of a package's entry functions"

DESCRIPTION = """\
Write TypeScript declarations of a package's entry functions, which let the compiler check what a page gives to
`run` and how it uses the results:

  import type { MobilenetV2 } from "./mobilenet_v2.js";
  const model = await loadModel<MobilenetV2>("model/");
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("package", metavar="DIR", help="the package's folder")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write them (default: standard output)")


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    text = declarations(Package.load(options.package))
    if options.output is None:
        print(text, end="")
        return 0
    try:
        Path(options.output).write_text(text)
    except OSError as error:
        raise TvmWebgpuError(f"can't write {options.output}: {error.strerror}") from error
    return 0
