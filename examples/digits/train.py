"""Trains a small MobileNetV2 on scikit-learn's handwritten digits and writes `digits.onnx`; prints its accuracy.

    pip install torch==2.13.0 onnxscript && python examples/digits/train.py

About a minute on one thread. The architecture is that of Sandler et al., arXiv:1801.04381, cut down to pictures of 8x8.
"""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import torch
from absl import app, flags, logging
from dataset import Digits, load
from torch import Tensor, nn
from torch.nn import functional as F

EPOCHS = flags.DEFINE_integer("epochs", 60, "Passes over the training set.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", str(Path(__file__).with_name("digits.onnx")), "ONNX file to write.")

BATCH = 64
SEED = 0


def conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            *conv_bn(inputs, hidden, 1),
            nn.ReLU6(),
            *conv_bn(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(),
            *conv_bn(hidden, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class MobileNetV2(nn.Sequential):
    """Pictures `[n, 1, 8, 8]` in, ten logits out."""

    def __init__(self) -> None:
        super().__init__(
            *conv_bn(1, 16, 3),
            nn.ReLU6(),
            InvertedResidual(16, 16, 1),
            InvertedResidual(16, 24, 2),
            InvertedResidual(24, 24, 1),
            InvertedResidual(24, 40, 2),
            InvertedResidual(40, 40, 1),
            *conv_bn(40, 128, 1),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(128, 10),
        )


def augment(images: Tensor) -> Tensor:
    """Draws each digit again, a little turned, slanted, stretched, shifted, and with another pen.

    The 8x8 pictures count the ink in 4x4 blocks of a 32x32 bitmap. So does this: it guesses the bitmap, moves it, and
    counts again; the threshold of the bitmap is the width of the pen.
    """
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n) * (high - low) + low

    angle, slant = uniform(-0.2, 0.2), uniform(-0.2, 0.2)
    x_scale, y_scale = uniform(0.85, 1.25), uniform(0.92, 1.12)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([cos * x_scale, (slant - sin) * y_scale, uniform(-0.16, 0.16)], 1),
        torch.stack([sin * x_scale, cos * y_scale, uniform(-0.1, 0.1)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, 32, 32], align_corners=False)
    bitmap = F.interpolate(images, scale_factor=4, mode="bicubic", align_corners=False)
    moved = F.grid_sample(bitmap, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    inked = torch.sigmoid((moved - uniform(0.3, 0.65).view(n, 1, 1, 1)) * 12)
    return (F.avg_pool2d(inked, 4) * 16).round() / 16


def train(model: nn.Module, data: Digits, epochs: int) -> None:
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = epochs * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    model.train()
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(labels)).split(BATCH):
            # A third of the pictures stay as they are: the held-out set is of their kind.
            original = (torch.rand(len(batch)) < 1 / 3).view(-1, 1, 1, 1)
            x = torch.where(original, images[batch], augment(images[batch]))
            loss = F.cross_entropy(model(x), labels[batch], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if (epoch + 1) % 10 == 0:
            seconds = time.perf_counter() - start
            print(f"epoch {epoch + 1}: loss {total / len(labels):.3f}, {seconds:.1f} s")


def accuracy(model: nn.Module, data: Digits) -> float:
    model.eval()
    with torch.no_grad():
        predicted = model(torch.from_numpy(data.images)).argmax(1).numpy()
    return float((predicted == data.labels).mean())


def export(model: nn.Module, path: Path) -> None:
    """Writes the model with an open batch size, and without the exporter's notes on where each node came from."""
    model.eval()
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    for item in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.ERROR)  # the exporter tells of every node that it folds
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_set, held_out = load()
    model = MobileNetV2()
    train(model, train_set, EPOCHS.value)
    export(model, Path(OUTPUT.value))
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}")
    print(f"accuracy on the {len(held_out.labels)} held-out digits: {accuracy(model, held_out):.2%}")


if __name__ == "__main__":
    app.run(main)
