"""What a row of the operator table is: an operator, how Relax builds it, what NumPy says it is, for which dtypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import ml_dtypes
import numpy as np
from tvm import relax

FLOATS = ("float32", "float16", "bfloat16", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = ("int32", "uint32", "int8", "uint8", "int64")
NUMBERS = (*FLOATS, *INTEGERS)
EVERY = (*NUMBERS, "bool")
# Every dtype that a buffer may have, for casts.
STORED = (*FLOATS, *SIGNED, *UNSIGNED, "bool")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# Half a unit in the last place, as a relative error.
ROUNDING = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 2.0**-53}


def dtype_of(name: str) -> np.dtype:
    """NumPy's dtype, bfloat16 included."""
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


class In(NamedTuple):
    """An input: its shape, where its values come from (values.py), and its dtype where that is not the row's."""

    shape: tuple[int, ...]
    values: str = "any"
    dtype: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `build` takes Relax variables and gives an expression (a tuple for several results); `reference` takes arrays,
    floats as float64, and gives the same; a NumPy result is rounded to the result's dtype before it is compared. The
    error allowed is `rounding` times half a unit in the last place of the dtype, of each element, or where `scaled` of
    the largest element: sums cancel. Integers are compared exactly.
    """

    name: str
    build: Callable[..., relax.Expr]
    reference: Callable[..., object]
    dtypes: Sequence[str]
    inputs: Sequence[In]
    rounding: float = 4
    scaled: bool = False
    group: str = field(default="", compare=False)


@dataclass(frozen=True)
class Case:
    """A row for one dtype."""

    row: Row
    dtype: str

    def dtypes(self) -> list[str]:
        return [given.dtype or self.dtype for given in self.row.inputs]

    def __str__(self) -> str:
        shapes = " ".join("x".join(map(str, given.shape)) or "scalar" for given in self.row.inputs)
        return f"{self.row.name} {self.dtype} [{shapes}]"
