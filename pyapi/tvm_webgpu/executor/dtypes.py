"""NumPy's names of data types, and bfloat16, <-> DLPack's codes as values carry them."""

from __future__ import annotations

import numpy as np

from tvm_webgpu.errors import PackageError, UnsupportedError

CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}


def dlpack(name: str) -> int:
    """Code | bits << 8 | lanes << 16; PackageError for a name that is none of the format's."""
    kind = name.rstrip("0123456789")
    bits = 8 if name == "bool" else int(name[len(kind) :] or 0)
    if kind not in CODES or bits not in (8, 16, 32, 64):
        raise PackageError(f"unknown data type {name!r}")
    return CODES[kind] | bits << 8 | 1 << 16


def numpy(name: str) -> np.dtype:
    """NumPy's dtype; bfloat16 needs the package ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise UnsupportedError("bfloat16 arrays need ml_dtypes: run `pip install ml_dtypes`") from error
    return np.dtype(bfloat16)


def name_of(code: int) -> str:
    """The name of a DLPack code that a result carries."""
    kind = {number: kind for kind, number in CODES.items()}.get(code & 255)
    if kind is None or code >> 16 != 1:
        raise PackageError(f"model.wasm gave a result of unknown data type {code:#x}")
    return "bool" if kind == "bool" else f"{kind}{code >> 8 & 255}"
