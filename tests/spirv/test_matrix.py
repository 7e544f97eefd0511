"""Matrix fragments become cooperative matrices, through a SPIRV-Tools that knows only the vendor's form of them."""

from __future__ import annotations

import gpu
import pytest
import tvm
from tvm import tirx
from tvm.tirx.buffer import buffer_data
from tvm_webgpu.codegen import wgsl
from tvm_webgpu.codegen.schedule.builder import Kernel, i64
from tvm_webgpu.codegen.spirv import UnsupportedError, emit
from tvm_webgpu.spirv_tools import SpirvToolsError, cooperative, optimize, validate

TARGET = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.f16": True, "feature.subgroup_matrix": True})
PASSES = ("--eliminate-local-single-block", "--ccp", "--eliminate-dead-code-aggressive", "--compact-ids")
SIZE = 16


def product(k: int, tiles: int = 2, dtype: str = "float16", total: str = "float32") -> tirx.PrimFunc:
    """C[16, 16 * tiles] = A[16, k] B[k, 16 * tiles] by one subgroup; A passes through workgroup memory."""
    n = SIZE * tiles
    a, b, c = (tirx.decl_buffer(shape, kind, name) for shape, kind, name in
               (((SIZE, k), dtype, "A"), ((k, n), dtype, "B"), ((SIZE, n), total, "C")))
    kernel = Kernel()

    def call(name: str, *args: object) -> None:
        kernel.emit(tirx.Evaluate(tirx.call_intrin("handle", f"tirx.{name}", *args)))

    def address(buffer: tirx.Buffer, index: tirx.Expr) -> tirx.Expr:
        return tirx.address_of(tirx.BufferLoad(buffer, [index]))

    shape = (SIZE, SIZE, SIZE)
    fa, fb, fc = kernel.flat(a), kernel.flat(b), kernel.flat(c)
    with kernel.threads("blockIdx.x", 1), kernel.threads("threadIdx.x", 32) as thread:
        staged = kernel.alloc("staged", dtype, SIZE * SIZE, "shared")
        left = kernel.alloc("left", dtype, SIZE * SIZE, "wmma.matrix_a")
        right = kernel.alloc("right", dtype, SIZE * SIZE, "wmma.matrix_b")
        sums = kernel.alloc("sums", total, SIZE * SIZE * tiles, "wmma.accumulator")
        for tile in range(tiles):
            call("tvm_fill_fragment", buffer_data(sums), *shape, tile, tirx.const(0, total))
        with kernel.loop(k // SIZE, "step") as step:
            with kernel.loop(SIZE * SIZE // 32, "part") as part:
                at = part * 32 + thread
                row, column = tvm.tirx.floordiv(at, SIZE), tvm.tirx.floormod(at, SIZE)
                kernel.store(staged, at, kernel.load(fa, row * k + step * SIZE + column))
            kernel.sync()
            call("tvm_load_matrix_sync", buffer_data(left), *shape, 0, address(staged, i64(0)), SIZE, "row_major")
            for tile in range(tiles):
                place = address(fb, step * SIZE * n + tile * SIZE)
                call("tvm_load_matrix_sync", buffer_data(right), *shape, 0, place, n, "row_major")
                call("tvm_mma_sync", buffer_data(sums), tile, buffer_data(left), 0, buffer_data(right), 0,
                     buffer_data(sums), tile)
            kernel.sync()
        for tile in range(tiles):
            place = address(fc, i64(tile * SIZE))
            call("tvm_store_matrix_sync", buffer_data(sums), *shape, tile, place, n, "row_major")
    func = tirx.PrimFunc([a, b, c], kernel.finish())
    return func.with_attr({"global_symbol": "main", "tirx.noalias": True, "tirx.is_scheduled": True})


def kernel_of(func: tirx.PrimFunc, target: tvm.target.Target = TARGET):
    (name, device), = gpu.device_functions(tvm.IRModule({"main": func}), target).items()
    return emit(device, name, target)


def operations(module: bytes) -> list[int]:
    return [op for op, _ in cooperative._Module(module).code]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_fragments_become_cooperative_matrices(dtype):
    kernel = kernel_of(product(64, dtype=dtype))
    assert "chromium-experimental-subgroup-matrix" in kernel.features
    validate(kernel.spirv)
    ops = operations(kernel.spirv)
    wanted = {cooperative.TYPE: 3, cooperative.LOAD: 3, cooperative.MULADD: 2, cooperative.STORE: 2}
    assert {op: ops.count(op) for op in wanted} == wanted


def test_optimisation_gives_the_same_form_back():
    kernel = kernel_of(product(64))
    optimized = optimize(kernel.spirv, PASSES)
    assert cooperative.uses_khr(optimized)
    before, after = (cooperative._Module(module) for module in (kernel.spirv, optimized))

    def uses(module: cooperative._Module) -> list[int]:
        return sorted(module.constants[operands[5]][2] for op, operands in module.code if op == cooperative.TYPE)

    def layouts(module: cooperative._Module) -> list[int]:
        return [module.constants[operands[3]][2] for op, operands in module.code if op == cooperative.LOAD]

    assert uses(before) == uses(after) == [0, 1, 2]
    assert layouts(before) == layouts(after) == [0, 0, 0]
    validate(optimized)


def test_shapes_that_do_not_fit_are_refused_by_the_validator():
    module = cooperative._Module(kernel_of(product(32)).spirv)
    code = [(op, [*operands[:2], *reversed(operands[2:4]), *operands[4:]] if op == cooperative.MULADD else operands)
            for op, operands in module.code]
    wrong = [(op, [*operands[:4], operands[2], *operands[5:]] if op == cooperative.TYPE else operands)
             for op, operands in code]  # columns = scope = 3
    with pytest.raises(SpirvToolsError):
        validate(module.bytes(wrong))


def test_the_target_must_have_them():
    with pytest.raises(UnsupportedError, match=r"feature\.subgroup_matrix"):
        kernel_of(product(32), gpu.TARGET_F16)
    plain = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.subgroup_matrix": True})
    with pytest.raises(UnsupportedError, match=r"feature\.f16"):
        kernel_of(product(32), plain)


def staged_by_vectors(dtype: str, stride: int) -> tirx.PrimFunc:
    """C = A A by one subgroup; A passes through workgroup memory in vectors of 4, rows `stride` elements apart."""
    row = SIZE // (2 if dtype == "uint32" else 1)
    a, c = tirx.decl_buffer((SIZE * row,), dtype, "A"), tirx.decl_buffer((SIZE, SIZE), "float32", "C")
    kernel = Kernel()
    fa, fc = kernel.flat(a), kernel.flat(c)

    def call(name: str, fragments: tirx.Buffer, *args: object) -> None:
        kernel.emit(tirx.Evaluate(tirx.call_intrin("handle", f"tirx.{name}", buffer_data(fragments), *args)))

    def address(buffer: tirx.Buffer) -> tirx.Expr:
        return tirx.address_of(tirx.BufferLoad(buffer, [i64(0)]))

    shape = (SIZE, SIZE, SIZE)
    with kernel.threads("blockIdx.x", 1), kernel.threads("threadIdx.x", 32) as thread:
        staged = kernel.alloc("staged", dtype, SIZE * stride, "shared")
        left = kernel.alloc("left", "float16", SIZE * SIZE, "wmma.matrix_a")
        right = kernel.alloc("right", "float16", SIZE * SIZE, "wmma.matrix_b")
        sums = kernel.alloc("sums", "float32", SIZE * SIZE, "wmma.accumulator")
        call("tvm_fill_fragment", sums, *shape, 0, tirx.const(0, "float32"))
        for first in range(0, SIZE * row // 4, 32):
            unit = (thread + first) * 4
            at = tvm.tirx.floordiv(unit, row) * stride + tvm.tirx.floormod(unit, row)
            kernel.store(staged, at, kernel.load(fa, unit, 4), 4)
        kernel.sync()
        for fragments in (left, right):
            call("tvm_load_matrix_sync", fragments, *shape, 0, address(staged), stride, "row_major")
        call("tvm_mma_sync", sums, 0, buffer_data(left), 0, buffer_data(right), 0, buffer_data(sums), 0)
        call("tvm_store_matrix_sync", sums, *shape, 0, address(fc), SIZE, "row_major")
    func = tirx.PrimFunc([a, c], kernel.finish())
    return func.with_attr({"global_symbol": "main", "tirx.noalias": True, "tirx.is_scheduled": True})


@pytest.mark.parametrize(
    ("dtype", "stride", "element", "shown"),
    [("float16", 24, "vec4h", 6), ("uint32", 12, "vec4u", 3), ("float16", 22, "f16", 22)],
)
def test_matrices_lie_in_vectors_where_those_divide_their_rows(dtype, stride, element, shown):
    kernel = kernel_of(staged_by_vectors(dtype, stride))
    validate(kernel.spirv)
    text = wgsl.translate(optimize(kernel.spirv, PASSES)).text
    assert f"staged: array<{element}, " in text
    assert text.count(f"row_major>(&staged, 0u, {shown}u)") == 2


def test_a_matrix_in_memory_of_another_type_is_refused():
    with pytest.raises(UnsupportedError, match="a matrix of float16 in a buffer of int32"):
        kernel_of(staged_by_vectors("int32", 20))
