"""Gathers go into one kernel with what comes before and behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
import tvm_webgpu
from tvm import relax
from tvm.relax import op as R

RNG = np.random.default_rng(11)
TABLE = RNG.standard_normal((50, 24)).astype("float32")
PLACES = RNG.standard_normal((6, 24)).astype("float32")
IDS = np.array([[3, -1, 49, 0, 7, -50], [1, 1, 2, 3, 5, 8]], "int64")
X = RNG.standard_normal((1, 3, 5, 4)).astype("float32")


def build(graph: Callable[..., relax.Expr], *inputs: np.ndarray) -> tvm.IRModule:
    """The module of a function of these inputs."""
    bb = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(a.shape, str(a.dtype))) for i, a in enumerate(inputs)]
    with bb.function("main", params):
        with bb.dataflow():
            out = bb.emit_output(graph(bb, *params))
        bb.emit_func_output(out)
    return bb.get()


def embed(bb: relax.BlockBuilder, ids: relax.Expr, table: relax.Expr) -> relax.Expr:
    """Rows by number, negative ones from the end, plus a row for each place."""
    size = relax.const(50, "int64")
    ids = bb.emit(R.where(bb.emit(R.less(ids, relax.const(0, "int64"))), bb.emit(R.add(ids, size)), ids))
    rows = bb.emit(R.take(table, ids, axis=0))
    return bb.emit(R.add(rows, relax.const(PLACES)))


def enlarge(bb: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    """The nearest of the roots, and as many again."""
    near = R.image.resize2d(
        bb.emit(R.sqrt(bb.emit(R.abs(x)))),
        relax.ShapeExpr((10, 8)),
        layout="NCHW",
        method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric",
        rounding_method="floor",
    )
    return bb.emit(R.multiply(bb.emit(near), relax.const(np.float32(2))))


CASES = [
    (embed, (IDS, TABLE), TABLE[IDS] + PLACES),
    (enlarge, (X,), 2 * np.sqrt(np.abs(X)).repeat(2, 2).repeat(2, 3)),
]


@pytest.mark.parametrize(("graph", "inputs", "expected"), CASES, ids=["embed", "enlarge"])
def test_one_kernel(
    graph: Callable[..., relax.Expr], inputs: tuple[np.ndarray, ...], expected: np.ndarray, tmp_path: Path
) -> None:
    package = tvm_webgpu.compile(build(graph, *inputs), cache=False)
    package.save(tmp_path / "package")
    feeds = {f"x{i}": array for i, array in enumerate(inputs)}
    (result,) = tvm_webgpu.load(tmp_path / "package").run(feeds).values()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert len(package.kernels) == 1


def test_what_adds_to_its_results_stays_alone(tmp_path: Path) -> None:
    updates, at = np.ones((4, 24), "float32"), np.array([[0], [5], [5], [9]], "int64")

    def scatter(bb: relax.BlockBuilder, at: relax.Expr, updates: relax.Expr) -> relax.Expr:
        out = bb.emit(R.scatter_nd(relax.const(TABLE), at, bb.emit(R.negative(updates)), "add"))
        return bb.emit(R.negative(out))

    package = tvm_webgpu.compile(build(scatter, at, updates), cache=False)
    package.save(tmp_path / "package")
    (result,) = tvm_webgpu.load(tmp_path / "package").run({"x0": at, "x1": updates}).values()
    expected = TABLE.copy()
    np.add.at(expected, at[:, 0], -updates)
    np.testing.assert_allclose(result, -expected, rtol=1e-5, atol=1e-6)
    assert len(package.kernels) > 1
