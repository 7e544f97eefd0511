"""`tvm-webgpu spirv2wgsl`: a SPIR-V compute module, binary or assembly, in; WGSL out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tvm_webgpu.errors import InputError

HELP = "translate a SPIR-V compute module to WGSL"

DESCRIPTION = """\
Translate any SPIR-V compute module to WGSL that Chrome (Tint), Firefox (naga) and Safari take.

  tvm-webgpu spirv2wgsl shader.spv -o shader.wgsl
  glslc -fshader-stage=compute a.comp -o - | tvm-webgpu spirv2wgsl -

The input is a SPIR-V binary or, where it does not begin with SPIR-V's magic number, assembly text.
"""

MAGIC = (b"\x03\x02\x23\x07", b"\x07\x23\x02\x03")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("file", metavar="FILE", help=".spv or .spvasm; - is stdin")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: stdout")


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    from tvm_webgpu.codegen import wgsl

    try:
        data = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        raise InputError(f"can't read {options.file}: {error.strerror}") from error
    text = wgsl.translate(_module(data, options.file)).text
    if options.output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(options.output).write_text(text)
    except OSError as error:
        raise InputError(f"can't write {options.output}: {error.strerror}") from error
    return 0


def _module(data: bytes, file: str) -> bytes:
    if data[:4] in MAGIC or file.endswith(".spv"):
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is neither a SPIR-V module nor assembly text") from error
    from tvm_webgpu import spirv_tools

    return spirv_tools.assemble(text)
