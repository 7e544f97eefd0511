"""Turns an operand of a product in memory before the product reads it: a kernel of its own that writes it k-major.

Rows of k can be turned while they are staged too, but that costs every workgroup bank conflicts or registers: on an
H100 4096^3 reaches 49 TFLOP/s with a k-major left operand and 41 at best without, and turning it takes 2 % of the time.
"""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import tirx

from .axis import Axis, ceil_div
from .builder import Kernel, i64
from .nest import uses
from .product import VECTOR, Operand, Product
from .source import Source, cast

# A workgroup turns a square of this size, one vector a thread; the odd stride keeps threads on different banks.
SIDE = 32
THREADS = SIDE * SIDE // VECTOR


def can_turn(product: Product) -> bool:
    """Whether Y has runs of 4 along k, and k-major will have runs of 4 along y."""
    sizes = (product.y.extent, product.k.extent)
    return product.operand_y.along == "k" and all(isinstance(n, int) and n % VECTOR == 0 for n in sizes)


def turn_y(kernel: Kernel, product: Product) -> Product:
    """Emits the kernel; returns the product whose Y is the turned copy, in the accumulator's dtype of the operand."""
    operand = product.operand_y
    batch = Axis(tuple((v, e) for v, e in product.s.iterators if uses(operand.value, v)))
    shape = (i64(batch.extent), i64(product.k.extent), i64(product.y.extent))
    turned = tirx.decl_buffer(shape, operand.dtype, "turned")
    kernel.allocate(turned)
    _write(kernel, product, batch, turned)
    place = [batch.position(), product.k.position(), product.y.position()]
    return replace(product, operand_y=Operand(tirx.BufferLoad(turned, place), operand.dtype, "own"))


def _write(kernel: Kernel, product: Product, batch: Axis, turned: tirx.Buffer) -> None:
    tiles_y, tiles_k = ceil_div(product.y.extent, SIDE), ceil_div(product.k.extent, SIDE)
    only = replace(product, s=batch)
    with (
        kernel.threads("blockIdx.y", tiles_k) as block_k,
        kernel.threads("blockIdx.x", tiles_y * i64(batch.extent)) as block_y,
        kernel.threads("threadIdx.x", THREADS) as thread,
    ):
        s = kernel.let("s", tvm.tirx.floordiv(block_y, i64(tiles_y)))
        first_y = kernel.let("first_y", tvm.tirx.floormod(block_y, i64(tiles_y)) * SIDE)
        first_k = kernel.let("first_k", block_k * SIDE)
        square = kernel.alloc("square", product.operand_y.dtype, SIDE * (SIDE + 1), "shared")
        source = Source(kernel, only, product.operand_y, product.y, s, SIDE, SIDE)
        outer = kernel.let("outer", tvm.tirx.floordiv(thread, SIDE // VECTOR))
        inner = kernel.let("inner", tvm.tirx.floormod(thread, SIDE // VECTOR) * VECTOR)
        held = kernel.alloc("held", product.operand_y.dtype, VECTOR, "local")
        kernel.store(held, 0, cast(source.vector(first_y + outer, first_k + inner), product.operand_y.dtype), VECTOR)
        for lane in range(VECTOR):
            kernel.store(square, (inner + lane) * (SIDE + 1) + outer, kernel.load(held, lane))
        kernel.sync()
        for lane in range(VECTOR):
            kernel.store(held, lane, kernel.load(square, outer * (SIDE + 1) + inner + lane))
        k, y = first_k + outer, first_y + inner
        with kernel.when(k < i64(product.k.extent)), kernel.when(y < i64(product.y.extent)):
            offset = (s * i64(product.k.extent) + k) * i64(product.y.extent) + y
            kernel.store(kernel.flat(turned), kernel.simplify(offset), kernel.load(held, 0, VECTOR), VECTOR)
