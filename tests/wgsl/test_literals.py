"""Numbers in the text are the shortest that have exactly the module's bits, and that both compilers take."""

import random
import struct

import pytest
from tvm_webgpu.codegen.wgsl import expr, types

FLT_MAX = 0x7F7FFFFF


SHORTEST = {
    0: "0f", 0x80000000: "-0f", 0x3F800000: "1f", 0x3DCCCCCD: "0.1f", 0x3EAAAAAB: "0.33333334f", 0x5E0AC723: "2.5e18f",
    1: "1e-45f",
}  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), SHORTEST.items())
def test_shortest(bits: int, text: str) -> None:
    made = expr.floating(bits, 32)
    assert made is not None and made.text == text


def test_exact_and_in_range() -> None:
    dice = random.Random(7)
    for bits in [FLT_MAX, FLT_MAX | 1 << 31, 0x00800000, 0x007FFFFF, *(dice.getrandbits(32) for _ in range(3000))]:
        made = expr.floating(bits, 32)
        if made is None:
            assert bits >> 23 & 0xFF == 0xFF  # NaN and infinities have no literal
            continue
        value = float(made.text[:-1])
        assert struct.pack("<f", value) == struct.pack("<I", bits)
        # A decimal rounded up past the largest finite number is an error in WGSL.
        assert abs(value) <= struct.unpack("<f", struct.pack("<I", FLT_MAX))[0]


def test_halves() -> None:
    for bits in range(1 << 16):
        made = expr.floating(bits, 16)
        if made is not None:
            value = float(made.text[:-1])
            assert struct.pack("<e", value) == struct.pack("<H", bits) and abs(value) <= 65504


def test_integers() -> None:
    assert expr.integer(0x80000000, types.I32).text == "i32(-2147483648)"
    assert expr.integer(0xFFFFFFFF, types.I32).text == "-1i"
    assert expr.integer(0xFFFFFFFF, types.U32).text == "4294967295u"


def test_no_comparison_reads_as_a_template() -> None:
    """`i < n >> 2u` would: WGSL looks for a list of template parameters between `<` and `>`."""
    i, n, two = expr.Expr("i"), expr.Expr("n"), expr.Expr("2u")
    assert expr.binary("<", i, expr.binary(">>", n, two)).text == "i < (n >> 2u)"
    assert expr.binary("<=", i, expr.binary(">>", n, two)).text == "i <= n >> 2u"
