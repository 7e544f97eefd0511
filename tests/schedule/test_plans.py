"""Every plan of the product table, whatever the table would choose, over shapes that no tile divides."""

from __future__ import annotations

import numpy as np
import pytest
from tvm_webgpu.codegen.schedule import Limits, gemm, matrix, rule_product, table
from tvm_webgpu.codegen.schedule.blocks import NotApplicable
from tvm_webgpu.codegen.schedule.product import recognise

from tests.schedule import cases, runner
from tests.schedule.check import assert_same

HALVES = [row.plan for row in table.PRODUCTS if isinstance(row.plan, gemm.Tile) and row.plan.half]
# Matrix units have tests of their own, and what takes only float16.
CHOSEN = {row.plan for row in table.PRODUCTS if not isinstance(row.plan, matrix.MatrixTile)} - {*HALVES}
PLANS = sorted(CHOSEN | {gemm.Tile(32, 32, 16, 4, 4, 4, turn=True)}, key=str)
SHAPES = ["matmul", "matmul_wide", "matmul_transposed", "conv1x1", "matmul_open_sum"]
# Every plan over two shapes; all shapes for one plan of each way to stage an operand.
THOROUGH = {gemm.Tile(32, 32, 8, 4, 4, 4), gemm.Tile(32, 32, 16, 4, 4, 4, turn=True), gemm.Tile(16, 32, 16, 4, 4, 4)}
PAIRS = [(plan, name) for plan in PLANS for name in (SHAPES if plan in THOROUGH else ["matmul_wide", "conv1x1"])]


@pytest.mark.parametrize(("plan", "name"), PAIRS, ids=str)
def test_plan(plan: table.Plan, name: str) -> None:
    (func,) = cases.functions(name).values()
    product = recognise(func)
    if not plan.fits(product, Limits()):
        pytest.skip("more workgroup memory than the default limit")
    assert_same(func, rule_product.write(product, plan, Limits()))


@pytest.mark.parametrize("plan", [*HALVES, gemm.Tile(32, 32, 8, 4, 4, half=True)], ids=str)
@pytest.mark.parametrize("shape", [(36, 132, 68), (33, 64, 20)], ids=str)
def test_products_in_float16(plan: table.Plan, shape: tuple[int, int, int]) -> None:
    (y, k, x), half = shape, cases.F16
    cases.CASES["half"] = cases.case("product", cases.matmul, (y, k, half), (k, x, half))
    (func,) = cases.functions("half").values()
    product = recognise(func)
    if not plan.fits(product, Limits()):
        pytest.skip("rows of k that are not whole vectors are not turned")
    if not runner.has_f16():
        pytest.skip("the adapter has no 16-bit floats")
    inputs = cases.arrays(func)
    outcome = runner.run(rule_product.write(product, plan, Limits()), inputs, runner.TARGET_F16)
    exact = inputs[0].astype(np.float64) @ inputs[1].astype(np.float64)
    assert np.abs(outcome.buffers[-1] - exact).max() < 2e-3 * np.abs(exact).max()


def test_products_in_float16_are_for_float16_results() -> None:
    half = cases.F16
    cases.CASES["half_wide"] = cases.case("product", cases.matmul_wide_sums, (36, 64, half), (64, 68, half), (68,))
    (func,) = cases.functions("half_wide").values()
    assert not gemm.Tile(32, 32, 8, 4, 4, half=True).fits(recognise(func), Limits())


def test_a_plan_beyond_the_limits_is_refused() -> None:
    (func,) = cases.functions("matmul").values()
    with pytest.raises(NotApplicable, match="too large"):
        gemm.write(recognise(func), gemm.Tile(128, 128, 32, 4, 4), Limits())


def test_weights_are_read_as_they_lie() -> None:
    along = {name: recognise(next(iter(cases.functions(name).values()))) for name in ("conv1x1", "matmul_wide")}
    assert along["conv1x1"].operand_y.along == "k"  # [out, in, 1, 1]
    assert along["conv1x1"].operand_x.along == "own"  # pixels
    assert along["matmul_wide"].operand_x.along == "own"
    assert along["conv1x1"].vector_store
