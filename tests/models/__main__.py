"""Writes a test model to a file: `python -m tests.models --model mobilenet_v2 --output mobilenet_v2.onnx`."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from tests.models import ONNX_MODELS

MODEL = flags.DEFINE_enum("model", None, sorted(ONNX_MODELS), "Which model.", required=True)
OUTPUT = flags.DEFINE_string("output", None, "ONNX file to write.", required=True)
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "Type of the weights and activations.")
BATCH = flags.DEFINE_string("batch", "1", "Batch size of a CNN: a number, or a name to leave it open.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    batch = int(BATCH.value) if BATCH.value.isdecimal() else BATCH.value
    options = {} if MODEL.value == "bert" else {"batch": batch}
    model = ONNX_MODELS[MODEL.value](dtype=DTYPE.value, **options)
    Path(OUTPUT.value).write_bytes(model.SerializeToString())


if __name__ == "__main__":
    app.run(main)
