"""Translates the modules of a SPIR-V corpus and counts what naga and Tint make of the WGSL.

    PYTHONPATH=pyapi python tests/corpora/run.py [--every N] [--refused]

The corpus (`dev.tar.xz` with `dev.json` beside it) lies outside the repository; --corpus names another place.
"""

import argparse
import collections
import io
import json
import lzma
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "wgsl"))

import compilers  # noqa: E402
from tvm_webgpu.codegen import wgsl  # noqa: E402
from tvm_webgpu.errors import TvmWebgpuError  # noqa: E402

CORPUS = HERE.parents[2] / "shared" / "corpora" / "spirv"


@dataclass
class Item:
    """A module, and whether naga or Tint accepted it as SPIR-V."""

    name: str
    source: str
    accepted: bool
    spirv: bytes


def corpus(folder: Path = CORPUS, every: int = 1) -> Iterator[Item]:
    """Every n-th module of the corpus."""
    listed = json.loads((folder / "dev.json").read_text())[::every]
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress((folder / "dev.tar.xz").read_bytes()))) as archive:
        files = {Path(member.name).name: member for member in archive.getmembers()}
        for item in listed:
            file = archive.extractfile(files[item["file"]])
            assert file is not None
            yield Item(item["file"], item["source"], "ok" in (item["naga"], item["tint"]), file.read())


def verdict(item: Item, tint: "compilers.Tint | None") -> tuple[str, str]:
    """(what happened, the message): "ok", "error" for a refused translation, or who refused the WGSL."""
    try:
        text = wgsl.translate(item.spirv).text
    except TvmWebgpuError as error:
        return "error", str(error)
    refusals = {"naga": compilers.naga(text), "tint": tint(text) if tint else None}
    refused = {who: why for who, why in refusals.items() if why is not None}
    return ("+".join(refused) or "ok"), " ".join(" ".join(refused.values()).split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--every", type=int, default=1, help="take every n-th module")
    parser.add_argument("--refused", action="store_true", help="list what was not accepted, and why")
    options = parser.parse_args()
    tint = compilers.Tint() if compilers.Tint.available() else None
    counts: collections.Counter[tuple[bool, str]] = collections.Counter()
    start = time.monotonic()
    for item in corpus(options.corpus, options.every):
        result, message = verdict(item, tint)
        counts[item.accepted, result] += 1
        if options.refused and result != "ok":
            print(f"{item.name} ({item.source}): {result}: {message[:300]}")
    if tint is None:
        print("Tint was not asked: npm's webgpu is not installed (set TVMW_NODE_MODULES to its folder)")
    for (accepted, result), count in sorted(counts.items(), reverse=True):
        print(f"{count:5} {'accepted' if accepted else 'refused'} as SPIR-V, {result} as our WGSL")
    print(f"{time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
