"""Damaged modules: each ends in a typed error or in text, in bounded time, whatever the damage.

`python test_fuzz.py COUNT [SEED]` runs as many as wanted and prints what went wrong.
"""

import random
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import wgsl
from tvm_webgpu.errors import TvmWebgpuError

HERE = Path(__file__).parent
TIME_LIMIT = 5.0  # seconds for one small module


def seeds() -> list[bytes]:
    return [spirv_tools.assemble(path.read_text()) for path in sorted(HERE.glob("*.spvasm"))]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """A few random changes: bits, words, swapped ids, cut or doubled stretches."""
    words = list(struct.unpack(f"<{len(data) // 4}I", data))
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
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
            case 4:
                del words[at : at + dice.randrange(1, 8)]
            case 5:
                words[at:at] = words[at : at + dice.randrange(1, 8)]
        if not words:
            words = [0]
    return struct.pack(f"<{len(words)}I", *words)


def failures(count: int, seed: int) -> Iterator[str]:
    """Tries ``count`` damaged modules; yields a text for each that ends in anything but text or a typed error."""
    dice, originals = random.Random(seed), seeds()
    for i in range(count):
        data = mutate(dice.choice(originals), dice)
        start = time.monotonic()
        try:
            wgsl.translate(data)
        except TvmWebgpuError:
            pass
        except Exception:
            yield f"input {i} of seed {seed}: {traceback.format_exc()}"
        if time.monotonic() - start > TIME_LIMIT:
            yield f"input {i} of seed {seed}: took {time.monotonic() - start:.1f} s"


def test_damaged_modules() -> None:
    assert list(failures(1500, 1)) == []


if __name__ == "__main__":
    found = 0
    for failure in failures(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        found += 1
        print(failure)
    print(f"{found} failures")
