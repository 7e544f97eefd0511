"""What random programs have found, each as small as it gets."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import te, tirx

from tests.fuzz.run import check


@pytest.mark.parametrize("amount", [31, 32, 33, 63])
@pytest.mark.parametrize("shift", [tirx.shift_right, tirx.shift_left])
def test_a_small_64_bit_value_is_shifted_by_32_and_more(shift, amount: int) -> None:
    values = np.array([-4, -1, 0, 1, 5, 2**31 - 1, -(2**31)], "int32")
    x = te.placeholder((len(values),), "int32", "x")
    out = te.compute((len(values),), lambda i: shift(x(i).astype("int64"), tirx.const(amount, "int64")), name="out")
    func = te.create_prim_func([x, out])
    check(func, func, [values, np.zeros(len(values), "int64")])
