"""Weights that are functions of a seed: filled into models, taken out of packages and put back.

python -m bench.peers.weights PACKAGE...        # puts the weights back into packages that travelled without them

Random weights can't be compressed, and a machine that is lent for minutes takes in only so much. A package's recipe
(`weights.json`) says of each parameter from which seed, by which permutation of axes, it came; the manifest's SHA-256
says whether it came back right.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

RECIPE = "weights.json"
Spec = dict[str, Any]  # a weight or an input of the comparison: shape, seed, bound, maybe base


def random_values(seed: int, count: int, bound: float) -> np.ndarray:
    """The comparison's generator (its lib/prng.mjs): a hash of seed and index, scaled into [-bound, bound)."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64((seed * 0x9E3779B9) & 0xFFFFFFFF)).astype(np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return ((2 * ((x >> np.uint32(8)).astype(np.float64) * 2.0**-24) - 1) * bound).astype(np.float32)


def values(spec: Spec, dtype: str) -> np.ndarray:
    """The weight itself, in its shape."""
    result = random_values(spec["seed"], math.prod(spec["shape"]), spec["bound"]).astype(dtype)
    if spec.get("base") is not None:
        result = (result.astype(np.float32) + np.float32(spec["base"])).astype(dtype)
    return result.reshape(spec["shape"])


def fill(model: bytearray, fills: Iterable[tuple[int, int, int, float]], dtype: str) -> None:
    """Writes the weights into a serialised model at their offsets, in place."""
    for offset, count, seed, bound in fills:
        data = random_values(seed, count, bound).astype(dtype).tobytes()
        model[offset : offset + len(data)] = data


def orders(array: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Permutations of axes; those of axes of one element are all alike and left as they are."""
    return itertools.permutations(range(array.ndim)) if array.ndim <= 4 else iter(())


class Origins:
    """Which weight, with its axes in which order, an array is; or which weights, joined along the last axis."""

    def __init__(self, specs: Iterable[Spec], dtype: str) -> None:
        self._by_digest: dict[str, Spec] = {}
        self._by_rows: dict[tuple[int, ...], list[tuple[np.ndarray, Spec]]] = {}
        for spec in specs:
            array = values(spec, dtype)
            self._by_rows.setdefault(array.shape[:-1], []).append((array, self._piece(spec, tuple(range(array.ndim)))))
            for order in orders(array):
                self._by_digest.setdefault(_digest(array.transpose(order)), self._piece(spec, order))

    @staticmethod
    def _piece(spec: Spec, order: tuple[int, ...]) -> Spec:
        return {"order": order, **{key: spec.get(key) for key in ("shape", "seed", "bound", "base")}}

    def find(self, array: np.ndarray) -> list[Spec] | None:
        """The weights that the array is made of, or None."""
        whole = self._by_digest.get(_digest(array))
        return [whole] if whole else self._find_parts(array)

    def _find_parts(self, array: np.ndarray) -> list[Spec] | None:
        parts: list[Spec] = []
        while array.size:
            for part, piece in self._by_rows.get(array.shape[:-1], []):
                width = part.shape[-1]
                if width <= array.shape[-1] and np.array_equal(array[..., :width], part):
                    parts.append(piece)
                    array = array[..., width:]
                    break
            else:
                return None
        return parts


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def strip(package: Path, specs: Iterable[Spec], dtype: str) -> None:
    """Replaces a package's parameter files by the recipe that `restore` follows."""
    origins = Origins(specs, dtype)
    manifest = json.loads((package / "manifest.json").read_text())
    pieces: dict[str, list[Spec]] = {file["path"]: [] for file in manifest["files"] if file["role"] == "params"}
    files = {path: (package / path).read_bytes() for path in pieces}
    for parameter in manifest["params"]:
        data = files[parameter["file"]][parameter["offset"] : parameter["offset"] + parameter["bytes"]]
        piece: Spec = {"offset": parameter["offset"]}
        known = parameter["dtype"] == dtype and parameter["shape"]
        parts = origins.find(np.frombuffer(data, dtype).reshape(parameter["shape"])) if known else None
        piece |= {"parts": parts} if parts else {"data": base64.b64encode(data).decode()}
        pieces[parameter["file"]].append(piece)
    (package / RECIPE).write_text(json.dumps({"dtype": dtype, "files": pieces}))
    for path in pieces:
        (package / path).unlink()


def _content(piece: Spec, dtype: str) -> bytes:
    if "data" in piece:
        return base64.b64decode(piece["data"])
    parts = [values(part, dtype).transpose(part["order"]) for part in piece["parts"]]
    return np.concatenate(parts, axis=-1).tobytes()


def restore(package: Path) -> None:
    """Puts the parameter files back, unless they are there.

    Raises:
        ValueError: a file is not what the manifest says.
    """
    recipe = json.loads((package / RECIPE).read_text())
    for file in json.loads((package / "manifest.json").read_text())["files"]:
        path = package / file["path"]
        if file["role"] != "params" or path.exists():
            continue
        data = bytearray(file["bytes"])
        for piece in recipe["files"][file["path"]]:
            content = _content(piece, recipe["dtype"])
            data[piece["offset"] : piece["offset"] + len(content)] = content
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise ValueError(f"{path} came back with another SHA-256 than the manifest has")
        path.write_bytes(data)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        restore(Path(name))
