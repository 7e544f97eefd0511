from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm_webgpu.codegen.wasm32 import Entry, Input, check_host_functions
from tvm_webgpu.errors import DeviceError, InputError, PackageError, UnsupportedError
from tvm_webgpu.executor.commands import Copy, Dispatch
from tvm_webgpu.executor.instance import INT, OBJECT, TENSOR, VALUE, Instance, Value

from tests.wasm32 import models
from tests.wasm32.device import FakeDevice
from tests.wasm32.host import Host, compile_host, lower_relax

F32 = 2 | 32 << 8 | 1 << 16
BOOL = 6 | 8 << 8 | 1 << 16
I64 = 64 << 8 | 1 << 16
I32 = 32 << 8 | 1 << 16
ENTRIES = {
    "Add": (Entry("main", (Input("x", dtype="float32", shape=(64,)), Input("y", dtype="float32", shape=(64,)))),),
    "Mlp": (Entry("main", (Input("x", dtype="float32", shape=("n", 8)),), (0, 1)),),
    "TwoInputs": (
        Entry("main", (Input("x", dtype="float32", shape=("n", "m")), Input("y", dtype="float32", shape=("m",)))),
    ),
    "Nested": (Entry("main", (Input("x", dtype="float32", shape=(4, 6)),)),),
    "Call": (Entry("main", (Input("x", dtype="float32", shape=("n", 4)),)),),
    "cache": (
        Entry("create", (Input("rows", dtype="float32", shape=(2, 2, 4)),)),
        Entry(
            "step",
            (
                Input("x", dtype="float32", shape=("s", 2, 4)),
                Input("total", "shape", shape=("total",)),
                Input("cache", "object"),
            ),
        ),
    ),
    "Branch": (Entry("main", (Input("c", dtype="bool", shape=()), Input("x", dtype="float32", shape=(4,)))),),
    "Counted": (Entry("main", (Input("x", dtype="float32", shape=(1,)), Input("n", dtype="int64", shape=(1,)))),),
    "TwoKernels": (Entry("main", (Input("x", dtype="float32", shape=("n",)),)),),
    "add_scalar": (Entry("main", (Input("x", dtype="float32", shape=("n",)), Input("k", "shape", shape=("k",)))),),
}


@functools.cache
def host(name: str) -> Host:
    model = getattr(models, name)
    return compile_host(model if isinstance(model, tvm.IRModule) else model())


@functools.cache
def wasm(name: str) -> bytes:
    return host(name).link(*ENTRIES[name])


def start(name: str, limit: int = 1 << 62) -> tuple[FakeDevice, Instance]:
    device = FakeDevice([kernel.bindings for kernel in host(name).kernels], limit=limit)
    return device, Instance(wasm(name), device)


def tensor(device: FakeDevice, array: np.ndarray, dtype: int = F32) -> Value:
    return Value(TENSOR, device.put(array), dtype=dtype, shape=array.shape)


def zeros(device: FakeDevice, *shape: int) -> Value:
    return tensor(device, np.zeros(shape, np.float32))


def call(instance: Instance, values: list[Value], entry: int = 0) -> list[Value]:
    """A call whose results are released at once."""
    results = instance.call(entry, values)
    for value in results:
        instance.release(value.object)
    return results


def test_a_launch_names_the_buffers_of_inputs_and_result() -> None:
    device, instance = start("Add")
    x, y = zeros(device, 64), zeros(device, 64)
    (result,) = call(instance, [x, y])
    (launch,) = device.last
    assert isinstance(launch, Dispatch)
    assert sorted(launch.bindings) == sorted([x.handle, y.handle, result.handle])
    assert launch.grid == (1, 1, 1) and launch.scalars == ()
    assert result.shape == (64,) and result.dtype == F32 and result.offset == 0


def test_batch_size_is_free_and_weights_come_as_parameters() -> None:
    device, instance = start("Mlp")
    with pytest.raises(PackageError, match="parameters were not bound"):
        instance.call(0, [zeros(device, 2, 8)])
    weights = [zeros(device, 8, 16), zeros(device, 16, 4)]
    instance.bind_params(weights)
    for batch in (1, 5, 300, 0):
        out, flat = call(instance, [zeros(device, batch, 8)])
        assert (out.shape, flat.shape) == ((batch, 4), (batch * 4,))
        if batch:
            assert {launch.scalars for launch in device.last} == {(batch,)}
            used = {handle for launch in device.last for handle in launch.bindings}
            assert {weight.handle for weight in weights} <= used
    constant = np.arange(4, dtype=np.float32)
    contents = [data[:16].view(np.float32) for data in device.buffers.values() if data.nbytes >= 16]
    assert any(np.array_equal(data, constant) for data in contents)


def test_a_second_call_allocates_nothing() -> None:
    device, instance = start("Mlp")
    instance.bind_params([zeros(device, 8, 16), zeros(device, 16, 4)])
    x = zeros(device, 32, 8)
    call(instance, [x])
    count, first = device.allocated, device.last
    call(instance, [x])
    assert device.allocated == count
    assert device.last == first, "the same call gives the same command list"


def test_trim_frees_what_nobody_uses() -> None:
    device, instance = start("Mlp")
    weights = [zeros(device, 8, 16), zeros(device, 16, 4)]
    instance.bind_params(weights)
    x = zeros(device, 32, 8)
    kept = instance.call(0, [x])
    instance.trim()
    assert {value.handle for value in (*weights, x, *kept)} <= set(device.buffers)
    for value in kept:
        instance.release(value.object)
    instance.trim()
    constants = 1
    assert len(device.buffers) == len(weights) + 1 + constants
    call(instance, [x])


def test_device_memory_that_runs_out_is_an_error_and_not_the_end() -> None:
    device, instance = start("TwoInputs", limit=100_000)
    y = zeros(device, 64)

    def multiply(rows: int) -> None:
        x = zeros(device, rows, 64)
        try:
            call(instance, [x, y])
        finally:
            device.free(x.handle)

    with pytest.raises(DeviceError, match="out of device memory: no buffer of 53248 bytes"):
        multiply(200)
    multiply(150)
    multiply(180)  # fits only because the pool is trimmed first
    assert len(device.last) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda d: [zeros(d, 3, 5)], "main takes 2 inputs, not 1"),
        (lambda d: [zeros(d, 3, 5), zeros(d, 4)], 'input "y": dimension 0 (m) is 4, but input "x" has m = 5'),
        (lambda d: [zeros(d, 3), zeros(d, 3)], 'input "x": shape (3) has rank 1, expected 2'),
        (
            lambda d: [zeros(d, 3, 5), tensor(d, np.zeros(5, np.int32), I32)],
            'input "y": dtype is int32, expected float32',
        ),
        (lambda d: [zeros(d, 3, 5), Value(INT, number=1)], 'input "y": expected a tensor'),
        (lambda d: [Value(TENSOR, 64, dtype=F32, shape=(1 << 40, 5)), zeros(d, 5)], "not a tensor in device memory"),
        (lambda d: [Value(TENSOR, 0, dtype=F32, shape=(1, 5)), zeros(d, 5)], "not a tensor in device memory"),
    ],
)
def test_bad_arguments_are_refused(values: Callable[[FakeDevice], list[Value]], message: str) -> None:
    device, instance = start("TwoInputs")
    with pytest.raises(InputError) as error:
        instance.call(0, values(device))
    assert message in str(error.value)
    call(instance, [zeros(device, 3, 5), zeros(device, 5)])


def test_unknown_entry_and_wrong_parameter_count() -> None:
    device, instance = start("Mlp")
    with pytest.raises(InputError, match="there is no entry 7"):
        instance.call(7, [])
    with pytest.raises(PackageError, match="1 parameters given, 2 needed"):
        instance.bind_params([zeros(device, 8, 16)])


def test_tuples_are_flattened_and_inputs_may_be_results() -> None:
    device, instance = start("Nested")
    x = zeros(device, 4, 6)
    results = call(instance, [x])
    assert [value.handle for value in results] == [x.handle] * 3
    assert [value.shape for value in results] == [(4, 6), (24,), (4, 6)]
    assert device.lists == []


def test_a_result_may_be_an_input_of_the_next_call() -> None:
    device, instance = start("Call")
    (first,) = instance.call(0, [zeros(device, 3, 4)])
    (second,) = instance.call(0, [first])
    assert first.handle in device.last[0].bindings and second.handle != first.handle
    instance.release(first.object)
    instance.release(second.object)


def test_an_input_inside_a_larger_buffer_is_moved() -> None:
    device, instance = start("Call")
    rows = np.arange(20, dtype=np.float32)
    whole = device.put(rows)
    call(instance, [Value(TENSOR, whole, dtype=F32, shape=(2, 4), offset=16)])
    copy, launch, *_ = device.last
    assert isinstance(copy, Copy) and (copy.source, copy.source_offset, copy.size) == (whole, 16, 32)
    assert copy.destination in launch.bindings and whole not in launch.bindings


def test_functions_of_the_module_call_each_other() -> None:
    device, instance = start("Call")
    (result,) = call(instance, [zeros(device, 3, 4)])
    assert len(device.last) == 2 and result.shape == (3, 4)
    assert device.last[0].bindings != device.last[1].bindings


def test_integers_reach_kernels_as_scalars() -> None:
    device, instance = start("add_scalar")
    call(instance, [zeros(device, 10), Value(INT, number=-7)])
    assert {word - (word >> 31 << 32) for word in device.last[0].scalars} == {10, -7}
    with pytest.raises(Exception, match=r"RangeError: kernel .* does not fit 32 bits"):
        instance.call(0, [zeros(device, 10), Value(INT, number=1 << 40)])
    with pytest.raises(InputError, match='input "k": expected an integer'):
        instance.call(0, [zeros(device, 10), zeros(device, 1)])


def test_kv_cache_grows_and_shows_what_was_appended() -> None:
    device, instance = start("cache")
    (cache,) = instance.call(0, [zeros(device, 2, 2, 4)])
    assert cache.kind == OBJECT
    everything = np.random.default_rng(0).random((9, 2, 4), np.float32)
    done = 0
    for rows in (1, 3, 1, 4):
        x = tensor(device, everything[done : done + rows])
        done += rows
        arguments = [x, Value(INT, number=done), Value(OBJECT, object=cache.object)]
        view, grown = instance.call(1, arguments)
        assert grown.object == cache.object
        np.testing.assert_array_equal(device.get(view.handle, view.shape), everything[:done])
        if done < 9:
            instance.release(view.object)
        instance.release(grown.object)
    with pytest.raises(InputError, match=r"holds 10 rows of shape .2, 4.; a view of shape .99, 2, 4. was asked for"):
        instance.call(1, [zeros(device, 1, 2, 4), Value(INT, number=99), Value(OBJECT, object=cache.object)])
    with pytest.raises(InputError, match="expected an object"):
        instance.call(1, [zeros(device, 1, 2, 4), Value(INT, number=99), zeros(device, 1)])
    with pytest.raises(InputError, match="a KV cache was expected"):
        instance.call(1, [zeros(device, 1, 2, 4), Value(INT, number=1), Value(OBJECT, object=view.object)])
    instance.release(cache.object)


@pytest.mark.parametrize("name", ["Mlp", "cache"])
def test_ten_thousand_calls_leak_nothing(name: str) -> None:
    device, instance = start(name)
    device.flush = lambda words: None  # type: ignore[method-assign]
    if name == "Mlp":
        instance.bind_params([zeros(device, 8, 16), zeros(device, 16, 4)])
        rounds = [(0, zeros(device, 5, 8), 2)]
    else:
        rounds = [(0, zeros(device, 2, 2, 4), 1)]
    store, raw = instance._store, instance._exports
    pointer = raw["malloc"](store, 256)

    def once(entry: int, value: Value, results: int) -> None:
        shape = struct.pack(f"<{len(value.shape)}q", *value.shape)
        header = VALUE.pack(value.kind, value.handle, 0, value.dtype, len(value.shape), pointer + 32, bytes(8))
        instance._memory.write(store, header + shape, pointer)
        assert raw["tvmw_call"](store, entry, pointer, 1) == 0
        table = raw["tvmw_results"](store)
        data = instance._memory.read(store, table, table + 8 + 32 * results)
        assert int.from_bytes(data[:4], "little") == results
        for index in range(results):
            raw["tvmw_release"](store, int.from_bytes(data[8 + 32 * index + 8 :][:4], "little"))

    for step in range(10_000):
        for arguments in rounds:
            once(*arguments)
        if step == 100:
            memory, buffers = instance._memory.data_len(store), len(device.buffers)
    # Memory grows by 64 KiB: less than 7 bytes a call could have been lost.
    assert (instance._memory.data_len(store), len(device.buffers)) == (memory, buffers)


def test_wide_grids_are_folded_or_refused() -> None:
    compiled = host("TwoInputs")
    folding = dataclasses.replace(
        compiled, kernels=tuple(dataclasses.replace(kernel, folds_grid=True) for kernel in compiled.kernels)
    )
    for which, folds in ((compiled, False), (folding, True)):
        device = FakeDevice([kernel.bindings for kernel in which.kernels])
        device.put = lambda array, device=device: device.alloc(0)  # type: ignore[method-assign]
        device.alloc = lambda size: 64  # type: ignore[method-assign]
        instance = Instance(which.link(*ENTRIES["TwoInputs"]), device)
        values = [Value(TENSOR, 64, dtype=F32, shape=(1 << 20, 256)), Value(TENSOR, 64, dtype=F32, shape=(256,))]
        if not folds:
            with pytest.raises(UnsupportedError, match=r"needs a grid of .* workgroups"):
                instance.call(0, values)
            continue
        call(instance, values)
        (launch,) = device.last
        extent = launch.scalars[-1]
        x, y, z = launch.grid
        assert extent > 65535 and y == 1 and max(x, z) <= 65535 and extent <= x * z < extent + z


def test_scratch_buffers_of_kernel_wrappers_return_to_the_pool() -> None:
    """TVMBackendAllocWorkspace: a PrimFunc of several kernels keeps its intermediate on the device."""
    compiled = host("TwoKernels")
    assert "TVMBackendAllocWorkspace" in compiled.ir
    device, instance = start("TwoKernels")
    x = zeros(device, 100)
    call(instance, [x])
    count = device.allocated
    call(instance, [x])
    first, second = device.last
    assert device.allocated == count and set(first.bindings) & set(second.bindings)


def test_what_the_runtime_lacks_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"somewhere\.else"):
        compile_host(models.Lacking).link(Entry("main", (Input("x", dtype="float32", shape=(4,)),)))


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_is_taken_by_data_of_the_device(condition: bool) -> None:
    device, instance = start("Branch")
    names = [kernel.name for kernel in host("Branch").kernels]
    c, x = tensor(device, np.array(condition), BOOL), zeros(device, 4)
    for _ in range(2):
        device.lists.clear()
        (result,) = call(instance, [c, x])
        first, second = (command for commands in device.lists for command in commands)
        assert isinstance(first, Dispatch) and isinstance(second, Dispatch)
        assert names[first.kernel].startswith("subtract"), "runs once, although the call is made twice"
        assert names[second.kernel].startswith("add" if condition else "multiply")
        assert len(set(first.bindings) & set(second.bindings)) == 1 and result.handle in second.bindings
    assert device.reads == 2


def test_a_shape_is_read_from_the_device() -> None:
    device, instance = start("Counted")
    for count in (5, 300, 5, 0):
        n = tensor(device, np.array([count], np.int64), I64)
        (result,) = call(instance, [zeros(device, 1), n])
        assert result.shape == (count,)
    with pytest.raises(DeviceError, match="too large"):
        call(instance, [zeros(device, 1), tensor(device, np.array([1 << 40], np.int64), I64)])


def test_a_call_that_is_not_made_again_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    device, instance = start("Branch")
    x, yes, no = zeros(device, 4), *(tensor(device, np.array(value), BOOL) for value in (True, False))
    call(instance, [yes, x])
    count = device.allocated
    with monkeypatch.context() as patch:
        patch.setattr(device, "read", lambda ranges: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call(instance, [yes, x])
    device.lists.clear()
    call(instance, [no, x])
    assert len([command for commands in device.lists for command in commands]) == 2
    assert device.allocated == count


def test_computing_on_the_cpu_with_gpu_data_is_refused() -> None:
    function = models.TwoKernels["both"].with_attr("tirx.is_host_func", True)
    lowered = relax.vm_build._vmcodegen(relax.ExecBuilder(), lower_relax(models.TwoKernels), "compiled")
    check_host_functions(lowered)
    lowered[lowered.get_global_var("both")] = function
    with pytest.raises(UnsupportedError, match="main calls both, which would compute on the CPU"):
        check_host_functions(lowered)


def test_bytes_depend_on_the_input_alone() -> None:
    assert host("Mlp").link(*ENTRIES["Mlp"]) == wasm("Mlp")


def test_only_the_agreed_imports() -> None:
    import wasmtime

    for name in ("Add", "Mlp", "cache"):
        module = wasmtime.Module(wasmtime.Engine(), wasm(name))
        imports = {(part.module, part.name) for part in module.imports}
        assert imports <= {("webgpu", part) for part in ("alloc", "free", "write", "flush")}
