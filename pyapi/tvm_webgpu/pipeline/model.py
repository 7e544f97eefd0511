"""What a front end gives to the pipeline: a Relax module whose inputs and outputs have names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np
import tvm


@dataclass(frozen=True)
class ImportOptions:
    """What the caller may say about a model: a name, shapes of inputs (numbers or symbols), parameters."""

    name: str | None = None
    shapes: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)

    def with_name(self, name: str) -> ImportOptions:
        """These options, with a name unless there is one."""
        return self if self.name else replace(self, name=name)

    def with_params(self, params: Mapping[str, object]) -> ImportOptions:
        """These options, with more parameters; those already given win."""
        return replace(self, params={**params, **self.params})


@dataclass(frozen=True)
class Signature:
    """The names of one entry's inputs and outputs, in order; outputs may be empty: then they are numbered."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """An imported model. `constant_names` maps a constant's fingerprint to the name that its author gave it."""

    name: str
    mod: tvm.IRModule
    entries: Mapping[str, Signature]
    constant_names: Mapping[str, str] = field(default_factory=dict)


def to_numpy(tensor: tvm.runtime.Tensor) -> np.ndarray:
    """A tensor's values; bfloat16, which NumPy lacks, as ml_dtypes' type."""
    array = tensor.numpy()
    return array.view(ml_dtypes.bfloat16) if str(tensor.dtype) == "bfloat16" else array


def fingerprint(array: np.ndarray, dtype: str | None = None) -> str:
    """A hash of a constant's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{dtype or array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # not `tobytes`, which would copy
    return digest.hexdigest()
