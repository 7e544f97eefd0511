"""Keeps what TVM's C++ code writes to stderr away from the user, and for the log: a file descriptor is borrowed."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

LOG = logging.getLogger("tvm_webgpu.native")


@contextmanager
def captured_native_stderr() -> Iterator[TextIO]:
    """Sends file descriptor 2 to the log (level DEBUG) while the body runs; gives a stream to the real stderr."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as capture, os.fdopen(real, "w", buffering=1, closefd=True) as stream:
        os.dup2(capture.fileno(), 2)
        try:
            yield stream
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            capture.seek(0)
            for line in capture.read().decode(errors="replace").splitlines():
                LOG.debug("%s", line)
