"""`python -m tvm_webgpu.cli` is `tvm-webgpu`."""

import sys

from tvm_webgpu.cli import main

sys.exit(main())
