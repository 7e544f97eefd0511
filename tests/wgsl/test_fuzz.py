"""Damaged modules: each ends in a typed error or in WGSL that compiles, in bounded time, whatever the damage.

    python test_fuzz.py COUNT [SEED] [--compile] [--jobs N] [--first INPUT] [--keep FOLDER]

runs as many as wanted and prints what went wrong; with --compile naga also compiles every text, and Tint those of every
fifth. Half of the damage is to words, anywhere; the other half keeps instructions whole and swaps their operands and
opcodes, which gets past the reader far more often. An input depends on the seed and its number alone: `1 SEED --first
INPUT` runs one again, `--keep` writes those that fail to files.
"""

import argparse
import collections
import concurrent.futures
import functools
import multiprocessing
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import wgsl
from tvm_webgpu.errors import TvmWebgpuError

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "corpora")]

import compilers  # noqa: E402
import generate  # noqa: E402

TIME_LIMIT = 5.0  # seconds of the processor for one small module
MEMORY_LIMIT = 4 << 30  # bytes of address space beyond what the process has at the start
HEADER = 5  # words
FUNCTIONS = 54  # OpFunction
PIECE = 250  # inputs that a process takes at a time

Found = tuple[int, bytes, str]  # number, input, what is wrong


@functools.cache
def seeds() -> list[bytes]:
    written = [spirv_tools.assemble(path.read_text()) for path in sorted(HERE.glob("*.spvasm"))]
    return written + [spirv_tools.assemble(generate.generate(seed)) for seed in range(20)]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """A few random changes of one kind."""
    words = list(struct.unpack(f"<{len(data) // 4}I", data))
    change = dice.choice((change_words, change_instructions))
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        change(words, dice)
    return struct.pack(f"<{len(words)}I", *words)


def change_words(words: list[int], dice: random.Random) -> None:
    """Bits, words, swapped ids, cut or doubled stretches."""
    at = dice.randrange(len(words))
    match dice.randrange(6):
        case 0:
            words[at] ^= 1 << dice.randrange(32)
        case 1:
            words[at] = dice.choice((0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, len(words), dice.randrange(1 << 16)))
        case 2:
            words[at] = words[dice.randrange(len(words))]
        case 3:
            # Small changes of ids keep a module well-formed more often than not.
            words[at] = (words[at] + dice.choice((-2, -1, 1, 2))) & 0xFFFFFFFF
        case 4 if len(words) > 16:
            del words[at : at + dice.randrange(1, 8)]
        case 5:
            words[at:at] = words[at : at + dice.randrange(1, 8)]


def instructions(words: list[int]) -> list[int]:
    """Where the instructions begin, as far as their lengths make sense."""
    found, at = [], HEADER
    while at < len(words) and words[at] >> 16:
        found.append(at)
        at += words[at] >> 16
    return found


def change_instructions(words: list[int], dice: random.Random) -> None:
    """An operand or opcode of another instruction, or a whole instruction gone, doubled or moved."""
    starts = instructions(words)
    if not starts:
        return
    # Instructions of functions, where most meaning is, three times of four.
    inside = [at for at in starts if at > next((s for s in starts if words[s] & 0xFFFF == FUNCTIONS), 0)]
    at = dice.choice(inside if inside and dice.random() < 0.75 else starts)
    size = words[at] >> 16
    other = dice.choice(starts)
    match dice.randrange(8):
        case 0 | 1 | 2 if size > 1:
            words[at + dice.randrange(1, size)] = dice.randrange(1, max(words[3], 2))
        case 3 if size > 1 and words[other] >> 16 > 1:
            words[at + dice.randrange(1, size)] = words[other + dice.randrange(1, words[other] >> 16)]
        case 4:
            alike = [s for s in starts if words[s] >> 16 == size]
            words[at] = words[dice.choice(alike)]
        case 5:
            words[at] = (words[at] & 0xFFFF0000) | dice.choice((dice.randrange(120, 260), dice.randrange(1, 410)))
        case 6:
            del words[at : at + size]
        case 7:
            words[other:other] = words[at : at + size]


def failures(numbers: Iterable[int], seed: int, compiled: bool, counts: collections.Counter[str]) -> Iterator[Found]:
    """Tries the damaged modules of these numbers; gives those that end in anything but text or a typed error."""
    for number in numbers:
        dice = random.Random(f"{seed}/{number}")
        data = mutate(dice.choice(seeds()), dice)
        start = time.process_time()
        text = None
        try:
            text = wgsl.translate(data).text
            counts["translated"] += 1
        except TvmWebgpuError as error:
            counts[type(error).__name__] += 1
        except Exception:
            yield number, data, traceback.format_exc()
        if time.process_time() - start > TIME_LIMIT:
            yield number, data, f"took {time.process_time() - start:.1f} s"
        if text is not None and compiled:
            refusal = refused(text, number % 5 == 0)
            if refusal is not None:
                yield number, data, refusal


@functools.cache
def tint() -> compilers.Tint | None:
    return compilers.Tint() if compilers.Tint.available() else None


def refused(text: str, both: bool) -> str | None:
    """Which compiler refuses the text, and why."""
    # Only Tint knows subgroup matrices.
    error = None if "subgroup_matrix" in text else compilers.naga(text)
    if error is not None:
        return f"naga refuses the text: {error}"
    dawn = tint() if both else None
    error = dawn(text) if dawn is not None else None
    return None if error is None else f"Tint refuses the text: {error}"


def piece(numbers: range, seed: int, compiled: bool) -> tuple[list[Found], collections.Counter[str]]:
    """`failures` in a process of a pool."""
    counts: collections.Counter[str] = collections.Counter()
    return list(failures(numbers, seed, compiled, counts)), counts


def test_damaged_modules() -> None:
    assert piece(range(1500), 1, False)[0] == []


def test_texts_of_damaged_modules_compile() -> None:
    if compilers.device() is None:
        pytest.skip("no Vulkan device")
    assert piece(range(600), 2, True)[0] == []


def limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that fail")
    options = parser.parse_args()
    last = options.first + options.count
    pieces = [range(at, min(at + PIECE, last)) for at in range(options.first, last, PIECE)]
    run = functools.partial(piece, seed=options.seed, compiled=options.compile)
    counts: collections.Counter[str] = collections.Counter()
    found, start = 0, time.monotonic()
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, fresh, limit_memory) as pool:
        for failed, some in pool.map(run, pieces):
            counts += some
            for number, data, what in failed:
                found += 1
                print(f"input {number} of seed {options.seed}: {what}", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}_{number}.spv").write_bytes(data)
    print(f"{dict(counts)}, {found} failures in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
