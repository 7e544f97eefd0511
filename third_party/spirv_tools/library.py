"""ctypes binding of the bundled SPIRV-Tools library; every function takes and gives plain bytes or text."""

import ctypes
import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, byref, c_bool, c_char, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from tvm_webgpu.errors import TvmWebgpuError
from tvm_webgpu.spirv_tools import cooperative

LIBRARY_NAME = "libspirv_tools.so"
LIBRARY_VARIABLE = "TVM_WEBGPU_SPIRV_TOOLS"

_MAGIC = 0x07230203
_PRESERVE_IDS = 1 << 1  # SPV_TEXT_TO_BINARY_OPTION_PRESERVE_NUMERIC_IDS
_TEXT_OPTIONS = {
    "indent": 1 << 3,
    "no_header": 1 << 5,
    "friendly_names": 1 << 6,
}  # SPV_BINARY_TO_TEXT_OPTION_*
_MESSAGE_BYTES = 4096


class SpirvToolsError(TvmWebgpuError):
    """A module or text that SPIRV-Tools rejects; the message is the tool's own, with the place it names."""


class _Position(ctypes.Structure):
    _fields_ = [("line", c_size_t), ("column", c_size_t), ("index", c_size_t)]


class _Diagnostic(ctypes.Structure):
    _fields_ = [("position", _Position), ("error", c_char_p), ("is_text", c_bool)]


class _Binary(ctypes.Structure):
    _fields_ = [("code", POINTER(c_uint32)), ("count", c_size_t)]


class _Text(ctypes.Structure):
    _fields_ = [("text", POINTER(c_char)), ("length", c_size_t)]


# name: (result, arguments)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "spvContextCreate": (c_void_p, [c_int]),
    "spvContextDestroy": (None, [c_void_p]),
    "spvParseTargetEnv": (c_bool, [c_char_p, POINTER(c_int)]),
    "spvTextToBinaryWithOptions": (
        c_int,
        [c_void_p, c_char_p, c_size_t, c_uint32, POINTER(POINTER(_Binary)), POINTER(POINTER(_Diagnostic))],
    ),
    "spvBinaryToText": (
        c_int,
        [c_void_p, c_char_p, c_size_t, c_uint32, POINTER(POINTER(_Text)), POINTER(POINTER(_Diagnostic))],
    ),
    "spvBinaryDestroy": (None, [POINTER(_Binary)]),
    "spvTextDestroy": (None, [POINTER(_Text)]),
    "spvDiagnosticDestroy": (None, [POINTER(_Diagnostic)]),
    "spvValidatorOptionsCreate": (c_void_p, []),
    "spvValidatorOptionsDestroy": (None, [c_void_p]),
    "spvValidateWithOptions": (c_int, [c_void_p, c_void_p, POINTER(_Binary), POINTER(POINTER(_Diagnostic))]),
    "tvmw_spirv_optimize": (
        c_int,
        [c_int, c_char_p, c_size_t, POINTER(c_char_p), c_size_t, POINTER(POINTER(c_uint32)), POINTER(c_size_t),
         POINTER(c_size_t), c_char_p, c_size_t],
    ),
    "tvmw_spirv_free": (None, [POINTER(c_uint32)]),
}  # fmt: skip


def _library_path() -> Path:
    """The wheel's copy, or the file that TVM_WEBGPU_SPIRV_TOOLS names (for a source tree)."""
    named = os.environ.get(LIBRARY_VARIABLE)
    path = Path(named) if named else Path(__file__).with_name(LIBRARY_NAME)
    if not path.exists():
        raise SpirvToolsError(
            f"the SPIRV-Tools library is not at {path}: install the wheel, or build "
            f"//third_party/spirv_tools:library and name its output in {LIBRARY_VARIABLE}"
        )
    return path


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library_path()))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _environment(name: str) -> int:
    value = c_int()
    if not _library().spvParseTargetEnv(name.encode(), byref(value)):
        raise SpirvToolsError(f"{name!r} is no SPIR-V target environment; examples: vulkan1.1, spv1.3, spv1.5")
    return value.value


@contextmanager
def _context(environment: str) -> Iterator[int]:
    library = _library()
    context = library.spvContextCreate(_environment(environment))
    try:
        yield context
    finally:
        library.spvContextDestroy(context)


def _words(module: bytes) -> int:
    """The module's length in words; a stray length or magic number would make the library read past the end."""
    if len(module) < 20 or len(module) % 4:
        raise SpirvToolsError(f"a SPIR-V module is 20 bytes or more and a multiple of 4, this is {len(module)} bytes")
    if int.from_bytes(module[:4], "little") != _MAGIC:
        raise SpirvToolsError(f"not a little-endian SPIR-V module: it begins with 0x{module[:4][::-1].hex()}")
    return len(module) // 4


@functools.cache
def _knows_cooperative_matrices() -> bool:
    try:
        assemble("OpCapability CooperativeMatrixKHR")
    except SpirvToolsError:
        return False
    return True


def _known_form(module: bytes) -> tuple[bytes, bool]:
    """The module as this library knows it, and whether that took a translation (`cooperative`)."""
    _words(module)
    if not cooperative.uses_khr(module) or _knows_cooperative_matrices():
        return module, False
    return cooperative.to_nv(module), True


def _rejection(what: str, diagnostic: Any) -> SpirvToolsError:
    if not diagnostic:
        return SpirvToolsError(f"{what}: rejected without a diagnostic")
    content = diagnostic.contents
    place = content.position
    where = f"line {place.line + 1}, column {place.column + 1}" if content.is_text else f"word {place.index}"
    error = SpirvToolsError(f"{what}: {content.error.decode(errors='replace').strip()} ({where})")
    _library().spvDiagnosticDestroy(diagnostic)
    return error


def validate(module: bytes, environment: str = "vulkan1.1") -> None:
    """Checks a module against the SPIR-V specification and the environment's rules.

    Raises SpirvToolsError with the validator's message and the word where it stopped.
    """
    module = _known_form(module)[0]
    count = _words(module)
    library = _library()
    buffer = (c_uint32 * count).from_buffer_copy(module)
    binary = _Binary(ctypes.cast(buffer, POINTER(c_uint32)), count)
    diagnostic = POINTER(_Diagnostic)()
    options = library.spvValidatorOptionsCreate()
    try:
        with _context(environment) as context:
            if library.spvValidateWithOptions(context, options, byref(binary), byref(diagnostic)):
                raise _rejection("invalid SPIR-V", diagnostic)
    finally:
        library.spvValidatorOptionsDestroy(options)


def optimize(module: bytes, passes: Sequence[str], environment: str = "vulkan1.1") -> bytes:
    """Runs optimiser passes in order; a pass is named as spirv-opt's flag, e.g. `--eliminate-dead-code-aggressive`.

    The module is not validated. Raises SpirvToolsError for an unknown pass or when a pass fails.
    """
    module, translated = _known_form(module)
    count = _words(module)
    library = _library()
    flags = (c_char_p * len(passes))(*(name.encode() for name in passes))
    out, out_count, bad = POINTER(c_uint32)(), c_size_t(), c_size_t()
    messages = ctypes.create_string_buffer(_MESSAGE_BYTES)
    status = library.tvmw_spirv_optimize(
        _environment(environment), module, count, flags, len(passes), byref(out), byref(out_count), byref(bad),
        messages, _MESSAGE_BYTES,
    )  # fmt: skip
    if status == 1:
        raise SpirvToolsError(f"spirv-opt has no pass {passes[bad.value]!r}")
    if status:
        detail = messages.value.decode(errors="replace").strip() or "no message"
        raise SpirvToolsError(f"spirv-opt failed: {detail}")
    try:
        optimized = ctypes.string_at(out, out_count.value * 4)
    finally:
        library.tvmw_spirv_free(out)
    return cooperative.to_khr(optimized) if translated else optimized


def assemble(text: str, environment: str = "vulkan1.1", *, preserve_ids: bool = False) -> bytes:
    """Assembly text to a module; raises SpirvToolsError with line and column."""
    library = _library()
    encoded = text.encode()
    binary, diagnostic = POINTER(_Binary)(), POINTER(_Diagnostic)()
    with _context(environment) as context:
        options = _PRESERVE_IDS if preserve_ids else 0
        if library.spvTextToBinaryWithOptions(
            context, encoded, len(encoded), options, byref(binary), byref(diagnostic)
        ):
            raise _rejection("invalid SPIR-V assembly", diagnostic)
    try:
        return ctypes.string_at(binary.contents.code, binary.contents.count * 4)
    finally:
        library.spvBinaryDestroy(binary)


def disassemble(module: bytes, environment: str = "vulkan1.1", *, friendly_names: bool = True) -> str:
    """A module to assembly text, indented, without the header comment; raises SpirvToolsError."""
    count = _words(module)
    library = _library()
    text, diagnostic = POINTER(_Text)(), POINTER(_Diagnostic)()
    options = _TEXT_OPTIONS["indent"] | _TEXT_OPTIONS["no_header"]
    if friendly_names:
        options |= _TEXT_OPTIONS["friendly_names"]
    with _context(environment) as context:
        if library.spvBinaryToText(context, module, count, options, byref(text), byref(diagnostic)):
            raise _rejection("invalid SPIR-V", diagnostic)
    try:
        return ctypes.string_at(text.contents.text, text.contents.length).decode()
    finally:
        library.spvTextDestroy(text)
