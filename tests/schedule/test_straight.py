"""Products for software GPUs: each tile over shapes that it does not divide, and the choice among them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tvm_webgpu.codegen.schedule import Limits, Scheduler, straight
from tvm_webgpu.codegen.schedule.product import recognise

from tests.schedule import cases
from tests.schedule.check import assert_same

SHAPES = [
    "matmul",
    "matmul_transposed_twice",
    "matmul_wide",
    "matmul_transposed",
    "matmul_batched",
    "conv3x3",
    "vector_matrix_odd",
]
TILES = [straight.Straight(1, 1, 64), straight.Straight(4, 1), straight.Straight(16, 16, rolled=True)]
ROWS_OF_SUMS = [
    (straight.Straight(4, 8, steps=4), name) for name in ("matmul_transposed", "matmul_transposed_twice", "matmul_wide")
]
ROLLED = [(straight.Straight(8, 8, rolled=True), name) for name in SHAPES]
PAIRS = [*ROWS_OF_SUMS, *ROLLED, *((plan, "conv1x1") for plan in TILES), (straight.Straight(8, 8), "matmul_wide")]


@pytest.mark.parametrize(("plan", "name"), PAIRS, ids=str)
def test_tile(plan: straight.Straight, name: str) -> None:
    (func,) = cases.functions(name).values()
    assert_same(func, straight.write(recognise(func), plan, Limits()))


@pytest.mark.parametrize("name", ["matmul_epilogue", "matmul_open", "matmul_open_sum", "matmul_int"])
def test_the_choice(name: str) -> None:
    (func,) = cases.functions(name).values()
    scheduled = Scheduler(Limits(software=True))(func, name)
    assert scheduled.attrs["tvm_webgpu.plan"].startswith("Straight")
    (launch,) = assert_same(func, scheduled)
    assert launch.threads == (straight.Straight(1, 1).threads, 1, 1)


def test_few_results_get_small_tiles() -> None:
    assert straight.choose(1, 64, 3136, 576) == straight.Straight(16, 16, rolled=True)
    assert straight.choose(1, 1, 1000, 1280).rows == 1
    small = straight.choose(1, 32, 49, 64)
    assert small.rows * small.cols < 256


def test_short_work_gets_short_texts() -> None:
    """What runs for a few milliseconds is not worth a second of compilation."""
    assert straight.choose(1, 1024, 1024, 1024) == straight.Straight(16, 16, rolled=True)
    assert straight.choose(1, 384, 196, 64) == straight.Straight(8, 8, rolled=True)


def test_layers_of_many_sizes_have_few_forms() -> None:
    """MobileNetV2's layers of one kind share a kernel: compiling decides when the first result is there."""
    layers = [(96, 12544, 16), (144, 3136, 24), (192, 784, 32), (384, 196, 64), (576, 196, 96)]
    assert len({straight.choose(1, y, x, k) for y, x, k in layers}) == 1


def test_results_are_stored_by_a_loop() -> None:
    """One store for a column of the tile, not one for each result."""
    (func,) = cases.functions("matmul_wide").values()
    plan = straight.Straight(16, 16, rolled=True)
    texts = [str(straight.write(recognise(func), p, Limits())) for p in (plan, replace(plan, rolled=False))]
    short, long = (text.count("\n") for text in texts)
    assert 3 * short < 2 * long
