"""Packages made without the shader pipeline: host code from small Relax modules, kernels written by hand."""

from __future__ import annotations

import functools

import numpy as np
import tvm
from tvm_webgpu.codegen import wasm32
from tvm_webgpu.package import Entry, Kernel, Package, Param, Scalar, TensorSpec

from tests.wasm32 import models
from tests.wasm32.host import compile_host

MAIN = """
@group(0) @binding(0) var<storage, read_write> out: array<{type}>;
{inputs}
struct Scalars {{ {fields} }}
{uniform}
@compute @workgroup_size(256) fn {name}(@builtin(global_invocation_id) id: vec3<u32>) {{
  let i = id.x;
  if (i < {count}) {{ out[i] = {expression}; }}
}}
"""


def elementwise(
    name: str, inputs: tuple[str, ...], scalars: tuple[str, ...], count: str, expression: str, kind: str = "f32"
) -> Kernel:
    """A kernel `out[i] = expression` with the output at binding 0, inputs after it, and int32 scalars."""
    declared = [f"@group(0) @binding({k + 1}) var<storage, read> {x}: array<{kind}>;" for k, x in enumerate(inputs)]
    uniform = f"@group(0) @binding({len(inputs) + 1}) var<uniform> s: Scalars;" if scalars else ""
    wgsl = MAIN.format(
        name=name,
        type=kind,
        inputs="\n".join(declared),
        fields=", ".join(f"{scalar}: i32" for scalar in scalars or ("unused",)),
        uniform=uniform,
        count=count,
        expression=expression,
    )
    bindings = ("read_write", *("read" for _ in inputs))
    return Kernel(name, wgsl, (256, 1, 1), bindings, tuple(Scalar(scalar, "int32") for scalar in scalars))


def package(
    model: tvm.IRModule, entries: tuple[Entry, ...], given: tuple[Kernel, ...], params: tuple[Param, ...] = ()
) -> Package:
    host = compile_host(model)
    by_name = {kernel.name: kernel for kernel in given}
    # TVM also emits kernels that no function launches.
    unused = Kernel("unused", "", (1, 1, 1), ())
    kernels = tuple(by_name.get(kernel.name, unused) for kernel in host.kernels)
    assert set(by_name) <= {kernel.name for kernel in host.kernels}
    signatures = [
        wasm32.Entry(
            entry.name,
            tuple(
                wasm32.Input(spec.name, spec.kind, spec.dtype, None if spec.kind == "object" else spec.shape)
                for spec in entry.inputs
            ),
            entry.params,
        )
        for entry in entries
    ]
    return Package("test", entries, params, kernels, host.link(*signatures))


@functools.cache
def multiply() -> Package:
    """main(x: f32[n, m], y: f32[m]) -> f32[n, m]."""
    entry = Entry(
        "main",
        (TensorSpec("x", "float32", ("n", "m")), TensorSpec("y", "float32", ("m",))),
        (TensorSpec("out", "float32", ("n", "m")),),
    )
    kernel = elementwise("multiply_kernel", ("x", "y"), ("count", "m"), "u32(s.count)", "x[i] * y[i % u32(s.m)]")
    return package(models.TwoInputs, (entry,), (kernel,))


@functools.cache
def scaled() -> Package:
    """main(x: f32[n]) -> f32[n], times a parameter of 64 values, plus x twice: two launches."""
    entry = Entry(
        "main",
        (TensorSpec("x", "float32", (64,)),),
        (TensorSpec("out", "float32", (64,)),),
        (0,),
    )
    kernel = elementwise("add_kernel", ("x", "y"), (), "64u", "x[i] + y[i]")
    weight = np.linspace(-1, 1, 64, dtype=np.float32)
    return package(models.Add, (entry,), (kernel,), (Param("weight", "float32", (64,), weight.tobytes()),))


@functools.cache
def four_times() -> Package:
    """main(x: f32[n, 4]) -> 4 x, by two launches of one kernel."""
    entry = Entry("main", (TensorSpec("x", "float32", ("n", 4)),), (TensorSpec("out", "float32", ("n", 4)),))
    kernel = elementwise("add_kernel", ("x", "y"), ("count", "n"), "u32(s.count)", "x[i] + y[i]")
    return package(models.Call, (entry,), (kernel,))


@functools.cache
def cache() -> Package:
    """create(rows) -> cache; step(x: f32[s, 2, 4], total, cache) -> (f32[total, 2, 4], cache)."""
    create = Entry("create", (TensorSpec("rows", "float32", (2, 2, 4)),), (TensorSpec("cache", kind="object"),))
    step = Entry(
        "step",
        (
            TensorSpec("x", "float32", ("s", 2, 4)),
            TensorSpec("total", shape=("total",), kind="shape"),
            TensorSpec("cache", kind="object"),
        ),
        (TensorSpec("all", "float32", ("total", 2, 4)), TensorSpec("cache", kind="object")),
    )
    return package(models.cache(), (create, step), ())


@functools.cache
def nested() -> Package:
    """main(x: f32[4, 6]) -> x, x flat, x."""
    outputs = (("a", (4, 6)), ("b", (24,)), ("c", (4, 6)))
    entry = Entry(
        "main",
        (TensorSpec("x", "float32", (4, 6)),),
        tuple(TensorSpec(name, "float32", shape) for name, shape in outputs),
    )
    return package(models.Nested, (entry,), ())
