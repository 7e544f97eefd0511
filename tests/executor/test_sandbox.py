"""Hostile modules: what the executor keeps from a package's WebAssembly, and what it stops."""

from __future__ import annotations

import time

import pytest
import wasmtime
from tvm_webgpu.errors import PackageError, SandboxError, TvmWebgpuError
from tvm_webgpu.executor.instance import INT, Instance, Sandbox, Value

WASI = {
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    "fd_prestat_get": "(param i32 i32) (result i32)",
    "fd_readdir": "(param i32 i32 i32 i64 i32) (result i32)",
    "sock_send": "(param i32 i32 i32 i32 i32) (result i32)",
    "sock_recv": "(param i32 i32 i32 i32 i32 i32) (result i32)",
    "environ_sizes_get": "(param i32 i32) (result i32)",
    "args_sizes_get": "(param i32 i32) (result i32)",
    "proc_exit": "(param i32)",
}
BAD_DESCRIPTOR = 8


def module(call: str, imports: tuple[str, ...] = (), memory: str = "1", extra: str = "") -> bytes:
    """A module with the exports that an executor wants, of which tvmw_call runs `call`, an expression of type i32.

    tvmw_results gives one int result, which tvmw_call stores at byte 40.
    """
    wasi = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} {WASI[name]}))' for name in imports if name in WASI
    )
    gpu = {"alloc": "(param i32) (result i32)", "free": "(param i32)", "flush": "(param i32 i32)"}
    webgpu = "".join(
        f'(import "webgpu" "{name}" (func ${name} {kind}))' for name, kind in gpu.items() if name in imports
    )
    return wasmtime.wat2wasm(f"""(module {wasi} {webgpu} {extra}
      (memory (export "memory") {memory})
      (data (i32.const 0) "\\01\\00\\00\\00\\00\\00\\00\\00\\02")
      (data (i32.const 128) "SomeError: said so\\00")
      (func (export "_initialize"))
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "free") (param i32))
      (func (export "tvmw_bind_params") (param i32 i32) (result i32) (i32.const 0))
      (func (export "tvmw_call") (param i32 i32 i32) (result i32)
        (i32.store (i32.const 32) {call}) (i32.const 0))
      (func (export "tvmw_results") (result i32) (i32.const 0))
      (func (export "tvmw_release") (param i32))
      (func (export "tvmw_error") (result i32) (i32.const 128))
      (func (export "tvmw_trim")))""")


class Device:
    """Buffers that are only counted."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def alloc(self, size: int) -> int:
        self.made.append(size)
        return 64 * len(self.made)

    def free(self, handle: int) -> None:
        raise AssertionError(f"freed {handle}")

    def write(self, handle: int, offset: int, data: bytes | bytearray) -> None: ...

    def flush(self, words: memoryview) -> None: ...

    def read(self, ranges: object) -> list[memoryview]:
        return []


def run(wasm: bytes, sandbox: Sandbox | None = None) -> int:
    """What the expression gave."""
    (result,) = Instance(wasm, Device(), sandbox).call(0, [])
    assert isinstance(result, Value) and result.kind == INT
    return int(result.number)


def test_the_harness_runs_a_module() -> None:
    assert run(module("(i32.const 7)")) == 7


@pytest.mark.parametrize("descriptor", range(3, 8))
def test_there_is_no_file_and_no_folder(descriptor: int) -> None:
    here = f"(i32.const {descriptor})"
    name, rights = "(i32.const 200) (i32.const 1)", "(i64.const 2) (i64.const 2)"
    opened = f"(call $path_open {here} (i32.const 0) {name} (i32.const 0) {rights} (i32.const 0) (i32.const 256))"
    assert run(module(opened, ("path_open",))) == BAD_DESCRIPTOR
    assert run(module(f"(call $fd_prestat_get {here} (i32.const 256))", ("fd_prestat_get",))) == BAD_DESCRIPTOR
    listed = f"(call $fd_readdir {here} (i32.const 256) (i32.const 64) (i64.const 0) (i32.const 512))"
    assert run(module(listed, ("fd_readdir",))) == BAD_DESCRIPTOR


@pytest.mark.parametrize("descriptor", [0, 1, 2, 3, 4])
def test_there_is_no_network(descriptor: int) -> None:
    data = f"(i32.const {descriptor}) (i32.const 256) (i32.const 1) (i32.const 0)"
    assert run(module(f"(call $sock_send {data} (i32.const 512))", ("sock_send",))) != 0
    assert run(module(f"(call $sock_recv {data} (i32.const 512) (i32.const 516))", ("sock_recv",))) != 0


@pytest.mark.parametrize("what", ["environ", "args"])
def test_there_is_no_environment(what: str) -> None:
    got = f"(call ${what}_sizes_get (i32.const 256) (i32.const 260))"
    assert run(module(f"(i32.add {got} (i32.load (i32.const 256)))", (f"{what}_sizes_get",))) == 0


def test_other_imports_are_refused() -> None:
    with pytest.raises(PackageError, match="env"):
        run(module("(i32.const 0)", extra='(import "env" "system" (func (param i32) (result i32)))'))


def test_a_loop_that_never_ends_is_stopped() -> None:
    start = time.monotonic()
    with pytest.raises(SandboxError, match="1000000 instructions"):
        run(module("(loop $l (result i32) (br $l))"), Sandbox(instructions=1_000_000))
    assert time.monotonic() - start < 10


def test_an_instance_that_was_stopped_stays_so() -> None:
    instance = Instance(module("(loop $l (result i32) (br $l))"), Device(), Sandbox(instructions=10_000))
    with pytest.raises(SandboxError):
        instance.call(0, [])
    with pytest.raises(TvmWebgpuError, match="load the package again"):
        instance.call(0, [])


def test_instructions_are_counted_for_each_call() -> None:
    busy = "(loop $l (result i32) (i32.store (i32.const 300) (i32.add (i32.load (i32.const 300)) (i32.const 1)))"
    busy += " (br_if $l (i32.rem_u (i32.load (i32.const 300)) (i32.const 1000))) (i32.load (i32.const 300)))"
    instance = Instance(module(busy), Device(), Sandbox(instructions=20_000))
    assert [instance.call(0, [])[0].number for _ in range(5)] == [1000 * n for n in range(1, 6)]


def test_memory_is_bounded() -> None:
    sandbox = Sandbox(memory_bytes=4 << 20)
    grow = "(memory.grow (i32.const 32))"
    assert run(module(grow), sandbox) == 1  # the pages that there were
    # 1 page and 2 MiB and 2 MiB do not fit in 4 MiB: the second growth fails.
    assert run(module(f"(block (result i32) (drop {grow}) {grow})"), sandbox) & 0xFFFFFFFF == 0xFFFFFFFF
    with pytest.raises(SandboxError, match="memory"):
        run(module("(i32.const 0)", memory="65"), sandbox)


def test_a_module_that_fails_for_want_of_memory_says_so() -> None:
    grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
    give_up = f"(block (result i32) {grow} (unreachable))"
    with pytest.raises(SandboxError, match="used up its 1048576 bytes"):
        run(module(give_up), Sandbox(memory_bytes=1 << 20))


def test_device_memory_is_bounded() -> None:
    two = "(block (result i32) (drop (call $alloc (i32.const 600))) (call $alloc (i32.const 600)))"
    assert run(module(two, ("alloc",))) == 128
    with pytest.raises(SandboxError, match="1000 bytes of device memory"):
        run(module(two, ("alloc",)), Sandbox(device_bytes=1000))


def test_a_module_frees_only_what_it_made() -> None:
    with pytest.raises(PackageError, match="not its own"):
        run(module("(block (result i32) (call $free (i32.const 64)) (i32.const 0))", ("free",)))


def test_a_list_outside_of_memory_is_refused() -> None:
    flush = "(block (result i32) (call $flush (i32.const 65000) (i32.const -1)) (i32.const 0))"
    with pytest.raises(PackageError, match="memory that it does not have"):
        run(module(flush, ("flush",)))


def test_leaving_the_process_ends_the_module_alone() -> None:
    with pytest.raises(TvmWebgpuError, match="failed in tvmw_call"):
        run(module("(block (result i32) (call $proc_exit (i32.const 3)) (i32.const 0))", ("proc_exit",)))


def test_deep_recursion_is_a_typed_error() -> None:
    extra = "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))"
    with pytest.raises(TvmWebgpuError, match="failed in tvmw_call"):
        run(module("(call $deep (i32.const 0))", extra=extra))
