"""The cases that the package `onnx` brings: a model of one operator, or of what it expands to, and data for it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import onnx

EXPANDED = "_expanded"
"""Stands in the name of a case that tests an operator by the function that ONNX defines it to be."""


@dataclass(frozen=True)
class Case:
    """`datasets` holds pairs of inputs and expected outputs, in the order of the graph's; `op` is what is tested."""

    name: str
    op: str
    model: bytes
    datasets: tuple[tuple[list, list], ...]
    rtol: float
    atol: float

    def proto(self) -> onnx.ModelProto:
        """The model."""
        return onnx.load_from_string(self.model)


def collect(modules: Iterable[str] = ()) -> list[Case]:
    """All cases, or those of the named modules of `onnx.backend.test.case.node` (`relu`, ...); ONNX seeds the data."""
    node = import_module("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if modules:
            for module in modules:
                import_module(f"{node.__name__}.{module}")
            found = list(node._NodeTestCases)
        else:
            found = node.collect_testcases(None)
    ops = {case.name: case.model.graph.node[0].op_type for case in found if EXPANDED not in case.name}
    return [
        Case(
            case.name,
            ops[case.name.partition(EXPANDED)[0]],
            case.model.SerializeToString(),
            tuple((list(inputs), list(outputs)) for inputs, outputs in case.data_sets),
            case.rtol,
            case.atol,
        )
        for case in found
    ]


def collect_once(folder: Path) -> dict[str, Case]:
    """All cases by name; collected once, which takes 15 s, and kept in the folder for this version of ONNX."""
    path = folder / f"cases-{onnx.__version__}.pickle"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".new")
        made.write_bytes(pickle.dumps(collect()))
        made.replace(path)
    return {case.name: case for case in pickle.loads(path.read_bytes())}
