"""The typed errors of every part; all derive from TvmWebgpuError."""


class TvmWebgpuError(Exception):
    """Base of all errors that this package raises on purpose; its text is meant for the user."""


class UnsupportedError(TvmWebgpuError):
    """An operator, dtype or instruction for which no correct form exists here; says which and where."""


class InvalidModuleError(TvmWebgpuError):
    """A SPIR-V module that is malformed."""


class PackageError(TvmWebgpuError):
    """A package that is missing, damaged, of another version, or in need of what the device lacks."""


class InputError(TvmWebgpuError):
    """A wrong name, dtype or shape of an input, or a file that can't be read."""


class SandboxError(TvmWebgpuError):
    """A package's WebAssembly used up what it was given: linear memory, instructions, or device memory."""


class DeviceError(TvmWebgpuError):
    """No GPU adapter, or a GPU that refused what it was told."""


class OutOfMemoryError(DeviceError):
    """Device memory ran out, at load or in a run; says for what. The model can be used on, with less at a time."""

    ADVICE = "call trim(), close other models, or run smaller inputs"


class DeviceLostError(DeviceError):
    """The device is gone: reset, taken away, or destroyed. The next run makes a new one, unless it was the caller's."""
