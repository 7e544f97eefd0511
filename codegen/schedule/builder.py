"""Writes kernels statement by statement: Python calls in, a TIR statement out.

A `Kernel` collects statements in nested scopes (`with kernel.loop(8) as i`). Index variables are int64, as everywhere
in TIR before narrowing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeAlias

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx.buffer import buffer_data

Index: TypeAlias = tirx.Expr | int


def i64(value: Index) -> tirx.Expr:
    """An int64 expression."""
    return tirx.IntImm("int64", value) if isinstance(value, int) else value


class Kernel:
    """One kernel being written. `analyzer` knows the ranges of its variables."""

    def __init__(self) -> None:
        self.analyzer = tvm.sym.Analyzer()
        self._scopes: list[list[tirx.Stmt]] = [[]]
        self._named: list[dict[int, tirx.Bind]] = [{}]
        self._flat: dict[tirx.Var, tirx.Buffer] = {}
        self._head: list[tirx.Stmt] = []
        self._words: dict[tirx.Var, tirx.Buffer] = {}
        self._views: set[tirx.Var] = set()
        self._ranged: set[tirx.Var] = set()

    def allocate(self, buffer: tirx.Buffer) -> None:
        """An intermediate result in global memory, shared by the kernels of the function."""
        flat = tirx.decl_buffer((self._size(buffer),), buffer.dtype, buffer.name)
        self._head.append(tirx.AllocBuffer(flat))
        self._flat[buffer] = flat
        self._views.add(flat)

    def is_flat(self, buffer: tirx.Buffer) -> bool:
        """Whether the buffer is such a view itself."""
        return buffer in self._views

    def _size(self, buffer: tirx.Buffer) -> tirx.Expr:
        size = i64(1)
        for dim in buffer.shape:
            size = size * dim
        return self.simplify(size)

    def flat(self, buffer: tirx.Buffer) -> tirx.Buffer:
        """A one-dimensional view of a parameter, so that a vector may cross the end of a row."""
        if buffer not in self._flat:
            data = buffer_data(buffer)
            view = tirx.decl_buffer((self._size(buffer),), buffer.dtype, f"{buffer.name}_flat", data=data)
            self._flat[buffer] = view
            self._views.add(view)
            self._head.append(tirx.DeclBuffer(view, data=data))
        return self._flat[buffer]

    def words(self, flat: tirx.Buffer) -> tirx.Buffer:
        """A flat view of 16-bit elements, an even number, as words of two."""
        if flat not in self._words:
            size = self.simplify(tvm.tirx.floordiv(flat.shape[0], 2))
            view = tirx.decl_buffer((size,), "uint32", flat.name, data=buffer_data(flat))
            self._words[flat] = view
            self._views.add(view)
            self._head.append(tirx.DeclBuffer(view, data=buffer_data(flat)))
        return self._words[flat]

    def simplify(self, expr: tirx.Expr) -> tirx.Expr:
        """The expression, simplified with what is known of the variables."""
        return self.analyzer.simplify(expr)

    def variable(self, name: str, extent: Index) -> tirx.Var:
        """A free variable known to lie in [0, extent)."""
        var = tirx.Var(name, "int64")
        self.analyzer.bind(var, tvm.ir.Range(0, i64(extent)))
        return var

    def _range(self, name: str, extent: Index) -> tirx.Var:
        """A variable of a loop or of threads."""
        var = self.variable(name, extent)
        self._ranged.add(var)
        return var

    def know(self, expr: tirx.Expr, extent: Index) -> None:
        """Tells that a named value lies in [0, extent) from here on: inside the guard that sees to it.

        Of the variables of threads and loops nothing more becomes known: they go on behind the guard.
        """
        if isinstance(expr, tirx.Var) and expr not in self._ranged:
            self.analyzer.bind(expr, tvm.ir.Range(0, i64(extent)), allow_override=True)
            for names in self._named[:-1]:  # behind the guard the value needs a name of which nothing is known
                for key in [key for key, bind in names.items() if bind.var.same_as(expr)]:
                    del names[key]

    def emit(self, stmt: tirx.Stmt) -> None:
        """Appends a statement to the current scope."""
        self._scopes[-1].append(stmt)

    def alloc(self, name: str, dtype: str, count: int, scope: str) -> tirx.Buffer:
        """A local (register) or shared (workgroup) array."""
        buffer = tirx.decl_buffer((i64(count),), dtype, name, scope=scope)
        self.emit(tirx.AllocBuffer(buffer))
        return buffer

    def let(self, name: str, value: tirx.Expr) -> tirx.Expr:
        """A name for a value, computed once: where arithmetic has a name already, that one.

        TVM's passes put a name's value wherever it is used, so what is named twice is simplified twice, in each pass.
        """
        value = self.simplify(value)
        # TVM's passes that compute bfloat16 in float32 know no names of that type.
        if isinstance(value, tirx.IntImm | tirx.Var) or str(value.ty.dtype) == "bfloat16":
            return value
        key = tvm_ffi.structural_hash(value)
        for names in self._named:
            if key in names and tvm_ffi.structural_equal(names[key].value, value):
                return names[key].var
        bind = tirx.Bind(tirx.Var(name, value.ty), value)
        self.emit(bind)
        if _is_arithmetic(value):
            self._named[-1][key] = bind
        return bind.var

    def hold(self, name: str, value: tirx.Expr) -> tirx.Expr:
        """A register with a value as it is now.

        For what is read from workgroup memory: in a `let` or a condition TVM's pass for barriers can't see the read.
        """
        register = self.alloc(name, str(value.ty.dtype), 1, "local")
        self.store(register, 0, value)
        return self.load(register, 0)

    def load(self, buffer: tirx.Buffer, index: Index, lanes: int = 1) -> tirx.Expr:
        """buffer[index], or a vector of the `lanes` elements from there."""
        return tirx.BufferLoad(buffer, [_ramp(index, lanes)])

    def store(self, buffer: tirx.Buffer, index: Index, value: tirx.Expr, lanes: int = 1) -> None:
        """buffer[index] = value, or a vector store from there."""
        self.emit(tirx.BufferStore(buffer, value, [_ramp(index, lanes)]))

    def sync(self) -> None:
        """A barrier of the workgroup."""
        self.emit(tirx.Evaluate(tirx.call_intrin("int32", "tirx.tvm_storage_sync", "shared")))

    @contextlib.contextmanager
    def _scope(self) -> Iterator[list[tirx.Stmt]]:
        self._scopes.append([])
        self._named.append({})
        yield self._scopes[-1]
        self._scopes.pop()
        self._named.pop()

    @contextlib.contextmanager
    def loop(self, count: Index, name: str = "i", kind: int = tirx.ForKind.SERIAL) -> Iterator[tirx.Expr]:
        """A loop from 0; a loop of one round leaves no trace."""
        if isinstance(count, int) and count == 1:
            yield i64(0)
            return
        var = self._range(name, count)
        with self._scope() as body:
            yield var
        self.emit(tirx.For(var, i64(0), i64(count), kind, _sequence(body)))

    def vectorized(self, count: int, name: str = "lane") -> contextlib.AbstractContextManager[tirx.Expr]:
        """A loop whose body becomes vector operations."""
        return self.loop(count, name, tirx.ForKind.VECTORIZED)

    @contextlib.contextmanager
    def when(self, condition: tirx.Expr | bool) -> Iterator[None]:
        """A branch; a condition that always holds leaves no trace."""
        if not isinstance(condition, bool):
            condition = self.simplify(condition)
        if condition is True or (isinstance(condition, tirx.IntImm) and bool(condition.value)):
            yield
            return
        with self._scope() as body:
            yield
        self.emit(tirx.IfThenElse(condition, _sequence(body), None))

    @contextlib.contextmanager
    def repeat(self, condition: tirx.Expr) -> Iterator[None]:
        """A loop for as long as the condition, which is evaluated anew each time, holds."""
        with self._scope() as body:
            yield
        self.emit(tirx.While(condition, _sequence(body)))

    @contextlib.contextmanager
    def threads(self, axis: str, count: Index) -> Iterator[tirx.Expr]:
        """A loop bound to `blockIdx.x`, `threadIdx.y` and so on."""
        var = self._range(axis.replace(".", "_"), count)
        with self._scope() as body:
            yield var
        iter_var = tirx.IterVar(None, tirx.Var("", "int64"), tirx.IterVar.ThreadIndex, axis)
        self.emit(tirx.For(var, i64(0), i64(count), tirx.ForKind.THREAD_BINDING, _sequence(body), iter_var))

    def finish(self) -> tirx.Stmt:
        """The statement written so far."""
        assert len(self._scopes) == 1
        return _sequence(self._head + self._scopes[0])


def _is_arithmetic(value: tirx.Expr) -> bool:
    """Whether a value is always the same: it reads no memory and calls nothing."""
    others: list[tvm.ir.Expr] = []
    tvm_ffi.structural_walk(value, ((tvm.ir.TensorLoad, tvm.ir.Call), others.append))
    return not others


def _ramp(index: Index, lanes: int) -> tirx.Expr:
    return i64(index) if lanes == 1 else tirx.Ramp(i64(index), i64(1), lanes)


def _sequence(stmts: list[tirx.Stmt]) -> tirx.Stmt:
    return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)
