"""Products on matrix units, over shapes that no tile divides.

The software GPUs of the tests have no matrix units, so each thread computes whole fragments here, with the same
staging, layouts and stores.
"""

from __future__ import annotations

import pytest
from tvm import tirx
from tvm_webgpu.codegen.schedule import Limits, matrix
from tvm_webgpu.codegen.schedule.builder import Kernel
from tvm_webgpu.codegen.schedule.product import recognise

from tests.schedule import cases
from tests.schedule.check import assert_same

LIMITS = Limits(subgroup_matrix=True)
TILES = [matrix.MatrixTile(32, 32, 16, 16, 16), matrix.MatrixTile(32, 16, 32, 16, 16, pad=0)]


class _Kernel(Kernel):
    """Fragments in registers."""

    def alloc(self, name: str, dtype: str, count: int, scope: str) -> tirx.Buffer:
        return super().alloc(name, dtype, count, "local" if scope.startswith("wmma") else scope)


def _emulate(kernel: Kernel, name: str, fragments: tirx.Buffer, *args: tirx.Expr) -> None:
    size = matrix.SIDE
    with kernel.loop(size, "row") as row, kernel.loop(size, "column") as column:
        inside = row * size + column
        if name == "tvm_fill_fragment":
            kernel.store(fragments, args[3] * size * size + inside, args[4])
        elif name == "tvm_mma_sync":
            index, a, index_a, b, index_b = args[:5]
            mine = index * size * size + inside
            with kernel.loop(size, "k") as k:
                left = kernel.load(a.args[0], index_a * size * size + row * size + k)
                right = kernel.load(b.args[0], index_b * size * size + k * size + column)
                term = tirx.Cast("float32", left) * tirx.Cast("float32", right)
                kernel.store(fragments, mine, kernel.load(fragments, mine) + term)
        else:
            index, address, stride, layout = args[3:]
            element = address.args[0]
            outer, inner = (row, column) if layout == "row_major" else (column, row)
            place, mine = element.indices[0] + outer * stride, index * size * size + inside
            words = str(element.source.dtype) == "uint32"
            if words and name == "tvm_store_matrix_sync":
                bits = tirx.call_intrin("uint32", "tirx.reinterpret", kernel.load(fragments, mine))
                kernel.store(element.source, place + inner, bits)
            elif words:
                word = kernel.load(element.source, place + tirx.floordiv(inner, 2))
                half = tirx.Cast("uint16", word >> tirx.Cast("uint32", tirx.floormod(inner, 2) * 16))
                kernel.store(fragments, mine, tirx.call_intrin("float16", "tirx.reinterpret", half))
            elif name == "tvm_load_matrix_sync":
                kernel.store(fragments, mine, kernel.load(element.source, place + inner))
            else:
                kernel.store(element.source, place + inner, kernel.load(fragments, mine))


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("name", ["half", "half_words", "half_short", "half_transposed", "half_wide"])
def test_tile(monkeypatch: pytest.MonkeyPatch, tile: matrix.MatrixTile, name: str) -> None:
    monkeypatch.setattr(matrix, "Kernel", _Kernel)
    monkeypatch.setattr(matrix, "_call", _emulate)
    half = cases.F16
    build = {
        "half": cases.case("product", cases.matmul, (33, 40, half), (40, 36, half)),
        "half_words": cases.case("product", cases.matmul, (33, 40, half), (40, 24, half)),
        "half_short": cases.case("product", cases.matmul, (33, 16, half), (16, 24, half)),
        "half_transposed": cases.case(
            "product", lambda bb, a, b: cases.R.einsum((a, b), "ki,jk->ij"), (40, 36, half), (20, 40, half)
        ),
        "half_wide": cases.case("product", cases.matmul_wide_sums, (2, 33, 45, half), (45, 21, half), (21,)),
    }
    monkeypatch.setitem(cases.CASES, name, build[name])
    (func,) = cases.functions(name).values()
    assert_same(func, matrix.write(recognise(func), tile, LIMITS))


def test_the_code_asks_for_matrix_units() -> None:
    (func,) = cases.functions("matmul_f16").values()
    text = matrix.write(recognise(func), TILES[0], LIMITS).script()
    assert "tvm_mma_sync" in text
    assert "wmma.matrix_a" in text


def test_runs_of_8_pass_as_words() -> None:
    (func,) = cases.functions_of(cases.case("", cases.matmul, (33, 40, cases.F16), (40, 36, cases.F16))).values()
    text = matrix.write(recognise(func), TILES[0], LIMITS).script()
    memory = {line.split(" = ")[0].strip(): line for line in text.split("\n") if "_staged = " in line}
    assert "uint32" in memory["y_staged"]  # rows of 40
    assert "float16" in memory["x_staged"]  # rows of 36


def test_who_gets_matrix_units() -> None:
    (half,) = cases.functions("matmul_f16").values()
    (full,) = cases.functions("matmul_wide").values()
    assert TILES[0].fits(recognise(half), LIMITS)
    assert not TILES[0].fits(recognise(full), LIMITS)
    assert not TILES[0].fits(recognise(half), Limits())
