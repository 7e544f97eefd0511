"""NumPy's and ml_dtypes' names of data types <-> DLPack's codes as values carry them."""

from __future__ import annotations

import numpy as np

from tvm_webgpu.errors import PackageError, UnsupportedError

CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}
# Floats of 8 bits: their names end in what the bits are for.
FLOAT8 = {
    "float8_e3m4": 7, "float8_e4m3": 8, "float8_e4m3b11fnuz": 9, "float8_e4m3fn": 10, "float8_e4m3fnuz": 11,
    "float8_e5m2": 12, "float8_e5m2fnuz": 13, "float8_e8m0fnu": 14,
}  # fmt: skip


def dlpack(name: str) -> int:
    """Code | bits << 8 | lanes << 16; PackageError for a name that is none of the format's."""
    if name in FLOAT8:
        return FLOAT8[name] | 8 << 8 | 1 << 16
    kind = name.rstrip("0123456789")
    bits = 8 if name == "bool" else int(name[len(kind) :] or 0)
    if kind not in CODES or bits not in (8, 16, 32, 64):
        raise PackageError(f"unknown data type {name!r}")
    return CODES[kind] | bits << 8 | 1 << 16


def numpy(name: str) -> np.dtype:
    """NumPy's dtype; bfloat16 and the floats of 8 bits need the package ml_dtypes."""
    if name != "bfloat16" and name not in FLOAT8:
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise UnsupportedError(f"{name} arrays need ml_dtypes: run `pip install ml_dtypes`") from error
    return np.dtype(getattr(ml_dtypes, name))


def name_of(code: int) -> str:
    """The name of a DLPack code that a result carries."""
    kind = {number: kind for kind, number in (CODES | FLOAT8).items()}.get(code & 255)
    if kind is None or code >> 16 != 1:
        raise PackageError(f"model.wasm gave a result of unknown data type {code:#x}")
    return kind if kind == "bool" or kind in FLOAT8 else f"{kind}{code >> 8 & 255}"
