"""Runs every module of a corpus twice on the same random buffers: as SPIR-V on the driver, and as our WGSL in wgpu.

    PYTHONPATH=pyapi python tests/corpora/execute.py [--every N] [--first N] [--differing] [--corpus FOLDER]
                                                         [--optimise SEED]

Each module has a time limit in a process of its own, since a loop may never end and a driver may crash. Buffers are
compared bit by bit, floats with a tolerance (WGSL and SPIR-V bound the same errors, not the same bits); padding is not
compared. A module is left out where its interface or the driver doesn't allow it; the counts say so. With --optimise
random passes of spirv-opt go over each module first, which makes forms of it that no compiler would.
"""

import argparse
import collections
import itertools
import json
import math
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "wgsl")]

import execute_wgsl  # noqa: E402
import optimised  # noqa: E402
import run  # noqa: E402
import vulkan  # noqa: E402
from tvm_webgpu.codegen import wgsl  # noqa: E402
from tvm_webgpu.codegen.wgsl import module, reader, types  # noqa: E402
from tvm_webgpu.errors import TvmWebgpuError  # noqa: E402

TIME_LIMIT = 20.0  # seconds for one module; software drivers compile slowly
ELEMENTS = 64  # of a runtime array
RELATIVE, ABSOLUTE = 2e-3, 1e-4  # of two floats; f16 gets ten times that
Scalar = tuple[int, str, int]  # offset in bytes, kind, width in bits


def scalars(m: module.Module, type: types.Type, at: int, matrix: tuple[int, bool] = (16, False)) -> Iterator[Scalar]:
    """Every scalar of a buffer's type, with its place. ``matrix`` is the stride of matrices, and whether row-major."""
    match type:
        case types.Scalar(kind=kind, width=width):
            yield at, kind, width
        case types.Vector(elem=elem, count=count):
            for i in range(count):
                yield at + i * elem.width // 8, elem.kind, elem.width
        case types.Matrix(column=column, count=count):
            stride, by_row = matrix
            size = column.elem.width // 8
            for i in range(count):
                for j in range(column.count):
                    yield at + (j * stride + i * size if by_row else i * stride + j * size), "float", column.elem.width
        case types.Array(elem=elem, length=length, stride=stride):
            if stride is None:
                raise ValueError("an array without a stride")
            for i in range(ELEMENTS if length is None else min(length, 1 << 12)):
                yield from scalars(m, elem, at + i * stride, matrix)
        case types.Struct(id=id, members=members):
            for i, member in enumerate(members):
                matrix = (
                    m.member_decoration(id, i, "MatrixStride") or 16,
                    m.member_decoration(id, i, "RowMajor") is not None,
                )
                yield from scalars(m, member, at + (m.member_decoration(id, i, "Offset") or 0), matrix)
        case _:
            raise ValueError(f"no data of the type {type}")


def random_scalar(dice: random.Random, kind: str, width: int) -> bytes:
    """Numbers that programs can count and index with more often than not."""
    if kind == "float":
        value = dice.choice((dice.uniform(-8, 8), float(dice.randrange(-4, 9)), dice.uniform(0, 1)))
        return struct.pack({16: "<e", 32: "<f", 64: "<d"}[width], value)
    value = dice.choice((dice.randrange(8), dice.randrange(8), dice.randrange(1 << 8), dice.getrandbits(width)))
    return (value & ((1 << width) - 1)).to_bytes(width // 8, "little")


def close(a: bytes, b: bytes, kind: str, width: int) -> bool:
    if a == b or kind != "float":
        return a == b
    code, more = {16: ("<e", 10), 32: ("<f", 1), 64: ("<d", 1)}[width]
    x, y = struct.unpack(code, a)[0], struct.unpack(code, b)[0]
    if math.isnan(x) or math.isnan(y) or math.isinf(x) or math.isinf(y):
        # WGSL lets an implementation assume that neither is there.
        return not (math.isfinite(x) and math.isfinite(y))
    return abs(x - y) <= more * (ABSOLUTE + RELATIVE * max(abs(x), abs(y)))


def compare(spirv: bytes, seed: int = 1) -> tuple[str, str]:
    """(what happened, the message): same, differs, refused, skipped, or failed in either run."""
    try:
        shader = wgsl.translate(spirv)
    except TvmWebgpuError as error:
        return "refused", str(error)
    m, _ = reader.read(spirv)
    dice = random.Random(seed)
    data: dict[vulkan.BufferKey, bytes] = {}
    parts: dict[vulkan.BufferKey, list[Scalar]] = {}
    kinds = {}
    for binding in shader.bindings:
        key = binding.group, binding.binding
        if key in data:
            return "skipped", "two variables at one binding"
        data[key], parts[key] = _filled(m, _variable(m, *key), dice, binding.size)
        kinds[key] = execute_wgsl.KINDS[binding.kind, binding.access]
    push = b""
    ours, our_kinds = dict(data), dict(kinds)
    if shader.push_constants is not None:
        variable = next(v for v in m.variables.values() if v.args[0] == 9)
        push, _ = _filled(m, m.value_types[variable.id].pointee, dice, shader.push_constants.size)  # type: ignore[union-attr]
        assert shader.push_constants.binding is not None
        ours[0, shader.push_constants.binding], our_kinds[0, shader.push_constants.binding] = push, "uniform"
    entry = shader.entry_points[0]
    try:
        mine = execute_wgsl.run(shader.text, entry.wgsl_name, ours, our_kinds)
    except Exception as error:
        return "wgsl failed", " ".join(str(error).split())
    try:
        theirs = vulkan.run(spirv, entry.name, data, kinds, push=push)
    except vulkan.VulkanError as error:
        return "spirv failed", str(error)
    for key, expected in theirs.items():
        for at, kind, width in parts[key]:
            a, b = (d[at : at + width // 8] for d in (mine[key], expected))
            if not close(a, b, kind, width):
                return "differs", f"buffer {key}, {kind}{width} at byte {at}: {a.hex()} ours, {b.hex()} the driver's"
    return "same" if any(d != data[k] for k, d in theirs.items()) else "same, nothing written", ""


def _variable(m: module.Module, group: int, binding: int) -> types.Type:
    for id in m.variables:
        if (m.decoration(id, "DescriptorSet"), m.decoration(id, "Binding")) == (group, binding):
            pointer = m.value_types[id]
            assert isinstance(pointer, types.Pointer)
            return pointer.pointee
    raise LookupError(f"no variable at {group}, {binding}")


def _filled(m: module.Module, type: types.Type, dice: random.Random, size: int) -> tuple[bytes, list[Scalar]]:
    parts = list(scalars(m, type, 0))
    data = bytearray(-(-max([size, *(at + width // 8 for at, _, width in parts)]) // 16) * 16)
    for at, kind, width in parts:
        data[at : at + width // 8] = random_scalar(dice, kind, width)
    return bytes(data), parts


def worker() -> None:
    """Says when it has started; then paths of modules on stdin, a verdict for each on stdout."""
    print("started", flush=True)
    for line in sys.stdin:
        try:
            verdict = compare(Path(line.rstrip("\n")).read_bytes())
        except ValueError as error:
            verdict = "skipped", str(error)
        print(json.dumps(verdict), flush=True)


class Runner:
    """A worker process that is started anew after a crash or when time is up."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path) -> tuple[str, str]:
        import selectors

        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            # Imports take seconds, on a busy machine more than the limit.
            assert self.process.stdout is not None and self.process.stdout.readline() == "started\n"
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            answer = process.stdout.readline() if selector.select(TIME_LIMIT) else None
        if answer:
            verdict: tuple[str, str] = tuple(json.loads(answer))
            return verdict
        self.close()
        return ("timed out", f"after {TIME_LIMIT} s") if answer is None else ("crashed", "the process ended")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, default=run.CORPUS)
    parser.add_argument("--every", type=int, default=1, help="take every n-th module")
    parser.add_argument("--differing", action="store_true", help="list every module that did not give the same")
    parser.add_argument("--first", type=int, default=0, help="of the modules taken, where to begin")
    parser.add_argument("--optimise", type=int, metavar="SEED", help="run random passes of spirv-opt first")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    compare_one = Runner()
    with tempfile.TemporaryDirectory() as folder:
        for item in itertools.islice(run.corpus(options.corpus, options.every), options.first, None):
            path, passes, spirv = Path(folder) / "module.spv", [], item.spirv
            if options.optimise is not None:
                passes = optimised.choose(random.Random(f"{options.optimise}/{item.name}"))
                changed = optimised.optimised(spirv, passes)
                if changed is None:
                    counts["not optimised"] += 1
                    continue
                spirv = changed
            path.write_bytes(spirv)
            result, message = compare_one(path)
            counts[result] += 1
            if options.differing and not result.startswith("same"):
                print(f"{item.name} ({item.source}) {' '.join(passes)}: {result}: {message[:300]}", flush=True)
    compare_one.close()
    for result, count in counts.most_common():
        print(f"{count:5} {result}")
    print(f"{time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    worker() if "--worker" in sys.argv else main()
