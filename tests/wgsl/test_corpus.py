"""A sample of a SPIR-V corpus outside the repository: all of it translates, and naga and Tint take the text.

TVMW_CORPUS_EVERY=1 takes all of its modules; one of 1,689 is refused, for its atomics of 64 bits.
"""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "corpora")]

import compilers  # noqa: E402

run = pytest.importorskip("run", reason="the corpus's reader is not here")

EVERY = int(os.environ.get("TVMW_CORPUS_EVERY", "11"))
REFUSED = {"00017.spv"}  # atomics of 64 bits


@pytest.mark.skipif(not run.CORPUS.is_dir(), reason="the corpus is not here")
def test_all_but_the_named_are_accepted() -> None:
    if compilers.device() is None:
        pytest.skip("no Vulkan device")
    tint = compilers.Tint() if compilers.Tint.available() else None
    refused = {}
    for item in run.corpus(every=EVERY):
        result, message = run.verdict(item, tint)
        if result != "ok" and item.name not in REFUSED:
            refused[item.name] = f"{result}: {message}"
    if tint is not None:
        tint.close()
    assert not refused
