"""Test models with random weights: a name and a few options in, an ONNX model (or a Relax module) out.

Nothing here is trained or checked in. Every weight comes from a fixed seed, so a model has the same bytes on every
machine, and is scaled so that activations stay of order one: a relative error then means something.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx

from tests.models import bert, cnn

ONNX_MODELS: dict[str, Callable[..., onnx.ModelProto]] = {
    "mobilenet_v1": cnn.mobilenet_v1,
    "mobilenet_v2": cnn.mobilenet_v2,
    "resnet18": cnn.resnet18,
    "resnet50": cnn.resnet50,
    "bert": bert.bert,
}
