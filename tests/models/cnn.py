"""MobileNetV1, MobileNetV2, ResNet18 and ResNet50 as ONNX: batch, image size and dtype in, a model out.

The graphs are what an exporter that folds nothing writes: convolution, BatchNormalization and activation are separate
nodes. Sources: Howard et al., arXiv:1704.04861 (table 1); Sandler et al., arXiv:1801.04381 (table 2); He et al.,
arXiv:1512.03385 (table 1), with the stride on the 3x3 convolution as torchvision has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps

import numpy as np
import onnx
import onnxruntime

from tests.models.graph import Graph

CLASSES = 1000


Statistics = dict[str, np.ndarray]


@dataclass(frozen=True)
class Feature:
    """A value of the graph and its channels."""

    value: str
    channels: int


class Net(Graph):
    """Layers of a convolutional network over a 4-D value.

    Without `statistics`, batch normalisation takes the mean and variance of what it sees and adds both to the outputs;
    with them it is the node that an exporter writes. A network with statistics that fit keeps its inputs apart: with
    arbitrary ones, 50 layers on, all pictures look alike and an error in the first layers would not show.
    """

    def __init__(self, name: str, *, seed: int, dtype: str, statistics: Statistics | None) -> None:
        super().__init__(name, seed=seed, dtype=dtype)
        self.statistics = statistics

    def conv_bn(
        self, x: Feature, name: str, out: int, kernel: int, *, stride: int = 1, groups: int = 1, gain: float = 1.0
    ) -> Feature:
        """Convolution without bias, then batch normalisation to a standard deviation of about `gain`."""
        shape = (out, x.channels // groups, kernel, kernel)
        weight = self.normal(f"{name}.weight", shape, np.prod(shape[1:]) ** -0.5)
        pad = kernel // 2
        value = self.op(
            "Conv", x.value, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups
        )
        scale = self.uniform(f"{name}.bn.weight", (out,), 0.8 * gain, 1.2 * gain)
        # Mostly positive, as in trained networks: at zero mean every layer would amplify rounding errors.
        bias = self.normal(f"{name}.bn.bias", (out,), 0.3 * gain, mean=0.5 * gain)
        return Feature(self._batch_norm(value, f"{name}.bn", scale, bias, out), out)

    def _batch_norm(self, x: str, name: str, scale: str, bias: str, channels: int) -> str:
        if self.statistics is not None:
            moments = [self.weight(f"{name}.{m}", self.statistics[f"{name}.{m}"]) for m in ("mean", "var")]
        else:
            axes = self.ints(0, 2, 3)
            centred = self.op("Sub", x, self.op("ReduceMean", x, axes))
            both = (
                self.op("ReduceMean", x, axes, keepdims=0),
                self.op("ReduceMean", self.op("Mul", centred, centred), axes, keepdims=0),
            )
            for moment, value in zip(("mean", "var"), both):
                self.output(value, f"{name}.{moment}", (channels,))
            moments = list(both)
        return self.op("BatchNormalization", x, scale, bias, *moments, epsilon=1e-5)

    def relu(self, x: Feature) -> Feature:
        return Feature(self.op("Relu", x.value), x.channels)

    def relu6(self, x: Feature) -> Feature:
        return Feature(self.op("Clip", x.value, self.scalar(0), self.scalar(6)), x.channels)

    def add(self, x: Feature, y: Feature) -> Feature:
        return Feature(self.op("Add", x.value, y.value), x.channels)

    def classify(self, x: Feature) -> str:
        """Global average pooling and a linear layer."""
        pooled = self.op("Flatten", self.op("GlobalAveragePool", x.value), axis=1)
        weight = self.normal("classifier.weight", (CLASSES, x.channels), x.channels**-0.5)
        bias = self.normal("classifier.bias", (CLASSES,), 0.1)
        return self.op("Gemm", pooled, weight, bias, transB=1)


def _network(body: Callable[[Net, Feature], Feature]) -> Callable[..., onnx.ModelProto]:
    """Makes a model function of a network: builds it once to measure its statistics, then with them."""

    def build(batch: int | str, size: int, dtype: str, seed: int, statistics: Statistics | None) -> onnx.ModelProto:
        net = Net(body.__name__, seed=seed, dtype=dtype, statistics=statistics)
        x = Feature(net.input("input", (batch, 3, size, size)), 3)
        net.output(net.classify(body(net, x)), "logits", (batch, CLASSES))
        return net.build()

    @cache
    def measure(seed: int) -> Statistics:
        model = build(4, 96, "float32", seed, None)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, {"input": image(4, 96, seed=seed)})))

    @wraps(body)
    def make(*, batch: int | str = 1, size: int = 224, dtype: str = "float32", seed: int = 1) -> onnx.ModelProto:
        return build(batch, size, dtype, seed, measure(seed))

    return make


@_network
def mobilenet_v1(net: Net, x: Feature) -> Feature:
    x = net.relu(net.conv_bn(x, "stem", 32, 3, stride=2))
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for i, (channels, stride) in enumerate(blocks):
        x = net.relu(net.conv_bn(x, f"block{i}.depthwise", x.channels, 3, stride=stride, groups=x.channels))
        x = net.relu(net.conv_bn(x, f"block{i}.pointwise", channels, 1))
    return x


@_network
def mobilenet_v2(net: Net, x: Feature) -> Feature:
    x = net.relu6(net.conv_bn(x, "stem", 32, 3, stride=2))
    stages = [  # expansion, channels, repeats, first stride
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    for s, (expansion, channels, repeats, first) in enumerate(stages):
        for i in range(repeats):
            x = _inverted_residual(net, x, f"stage{s}.{i}", expansion, channels, first if i == 0 else 1)
    return net.relu6(net.conv_bn(x, "head", 1280, 1))


def _inverted_residual(net: Net, x: Feature, name: str, expansion: int, channels: int, stride: int) -> Feature:
    hidden = x.channels * expansion
    y = net.relu6(net.conv_bn(x, f"{name}.expand", hidden, 1)) if expansion != 1 else x
    y = net.relu6(net.conv_bn(y, f"{name}.depthwise", hidden, 3, stride=stride, groups=hidden))
    y = net.conv_bn(y, f"{name}.project", channels, 1)
    return net.add(x, y) if stride == 1 and channels == x.channels else y


@_network
def resnet18(net: Net, x: Feature) -> Feature:
    return _resnet(net, x, (2, 2, 2, 2), _basic_block)


@_network
def resnet50(net: Net, x: Feature) -> Feature:
    return _resnet(net, x, (3, 4, 6, 3), _bottleneck)


Block = Callable[[Net, Feature, str, int, int], Feature]


def _resnet(net: Net, x: Feature, depths: tuple[int, ...], block: Block) -> Feature:
    x = net.relu(net.conv_bn(x, "stem", 64, 7, stride=2))
    pooled = net.op("MaxPool", x.value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = Feature(pooled, x.channels)
    for s, depth in enumerate(depths):
        for i in range(depth):
            x = block(net, x, f"layer{s + 1}.{i}", 64 << s, 2 if s > 0 and i == 0 else 1)
    return x


def _shortcut(net: Net, x: Feature, name: str, channels: int, stride: int) -> Feature:
    if stride == 1 and x.channels == channels:
        return x
    return net.conv_bn(x, f"{name}.downsample", channels, 1, stride=stride)


def _basic_block(net: Net, x: Feature, name: str, width: int, stride: int) -> Feature:
    y = net.relu(net.conv_bn(x, f"{name}.conv1", width, 3, stride=stride))
    y = net.conv_bn(y, f"{name}.conv2", width, 3, gain=0.5)
    return net.relu(net.add(_shortcut(net, x, name, width, stride), y))


def _bottleneck(net: Net, x: Feature, name: str, width: int, stride: int) -> Feature:
    y = net.relu(net.conv_bn(x, f"{name}.conv1", width, 1))
    y = net.relu(net.conv_bn(y, f"{name}.conv2", width, 3, stride=stride))
    y = net.conv_bn(y, f"{name}.conv3", 4 * width, 1, gain=0.5)
    return net.relu(net.add(_shortcut(net, x, name, 4 * width, stride), y))


def image(batch: int, size: int = 224, *, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """A batch of random pictures `[batch, 3, size, size]` with coarse and fine structure, of mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    tile = -(-size // 8)
    coarse = np.kron(rng.normal(size=(batch, 3, 8, 8)), np.ones((1, 1, tile, tile)))[:, :, :size, :size]
    return ((coarse + rng.normal(size=coarse.shape)) / np.sqrt(2)).astype(dtype)
