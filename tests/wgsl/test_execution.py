"""Our WGSL computes what the SPIR-V does: both run on the same random buffers, and every word is compared.

Random structured modules (tests/corpora/generate.py) always; a sample of the corpus outside the repository where it is
(TVMW_CORPUS_EVERY=1 takes all of it, `tests/corpora/execute.py` prints what became of each module).
"""

import collections
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tvm_webgpu import spirv_tools

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "corpora")]

import compilers  # noqa: E402
import execute  # noqa: E402
import generate  # noqa: E402
import run  # noqa: E402
import vulkan  # noqa: E402

GENERATED = 25
EVERY = int(os.environ.get("TVMW_CORPUS_EVERY", "11"))
# 64-bit atomics; a private array of megabytes that software drivers compile for minutes; workgroup memory that is read
# before it is written (zero in WGSL, in SPIR-V what was there).
LEFT_OUT = {"00017.spv", "00758.spv", "00814.spv"}


@pytest.fixture(scope="module")
def compare() -> Iterator[execute.Runner]:
    if compilers.device() is None or vulkan.device() is None:
        pytest.skip("no Vulkan device")
    runner = execute.Runner()
    yield runner
    runner.close()


def test_generated_modules(compare: execute.Runner, tmp_path: Path) -> None:
    failed = {}
    for seed in range(GENERATED):
        path = tmp_path / "module.spv"
        path.write_bytes(spirv_tools.assemble(generate.generate(seed)))
        result = compare(path)
        if result[0] != "same":
            failed[seed] = result
    assert not failed


@pytest.mark.skipif(not run.CORPUS.is_dir(), reason="the corpus is not here")
def test_corpus(compare: execute.Runner, tmp_path: Path) -> None:
    counts: collections.Counter[str] = collections.Counter()
    failed = {}
    for item in run.corpus(every=EVERY):
        path = tmp_path / "module.spv"
        path.write_bytes(item.spirv)
        result = compare(path)
        counts[result[0]] += 1
        if not result[0].startswith("same") and item.name not in LEFT_OUT:
            failed[item.name] = result
    print(dict(counts))
    assert not failed
