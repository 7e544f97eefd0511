"""Python source: `path/module.py:function` in, what the function returns when called without arguments out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tvm_webgpu.errors import InputError


def call(reference: str) -> object:
    """Runs the file as a module and calls the function; InputError if either is missing or raises."""
    path, _, name = reference.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise InputError(f"can't read {path}: no such file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise InputError(f"can't load {path} as a Python module")
    module = importlib.util.module_from_spec(spec)
    # TVMScript and dataclasses look the module up by name while its body runs.
    previous = sys.modules.get(spec.name)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
        if not callable(function):
            raise InputError(f"{path} has no function {name!r}")
        return function()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{reference} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent.resolve()))
        if previous is None:
            del sys.modules[spec.name]
        else:
            sys.modules[spec.name] = previous
