"""PyTorch: an exported program, in memory and as a .pt2 file, gives what PyTorch gives."""

from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm_webgpu.errors import InputError, TvmWebgpuError, UnsupportedError
from tvm_webgpu.executor import Executor
from tvm_webgpu.pipeline.build import compile
from tvm_webgpu.pipeline.frontends.torch import load
from tvm_webgpu.pipeline.model import ImportOptions

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def network() -> object:
    torch.manual_seed(5)
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(), torch.nn.Flatten()]
    made = torch.nn.Sequential(*layers, torch.nn.Linear(8 * 36, 5)).eval()
    made[1].running_mean.uniform_(-1, 1)
    made[1].running_var.uniform_(0.5, 2)
    return made


def test_file_with_dynamic_batch(network: object, tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (torch.randn(2, 3, 6, 6),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    package = compile(tmp_path / "net.pt2")
    assert package.name == "net"
    assert isinstance(package.entries[0].inputs[0].shape[0], str)
    with Executor(package) as executor:
        for count in (1, 5):
            x = torch.randn(count, 3, 6, 6)
            (actual,) = executor.run({package.entries[0].inputs[0].name: x.numpy()}).values()
            np.testing.assert_allclose(actual, network(x).detach().numpy(), 1e-4, 1e-5)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_text("no")
    with pytest.raises(InputError, match="is not an exported program"):
        compile(tmp_path / "bad.pt2")
    with pytest.raises(InputError, match="no such file"):
        compile(tmp_path / "none.pt2")


class Net(torch.nn.Module):
    """A module of one function."""

    def __init__(self, function):  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, *inputs):  # type: ignore[no-untyped-def]
        """The function's result."""
        return self.function(*inputs)


def imported(function, *inputs, dynamic_shapes=None):  # type: ignore[no-untyped-def]
    net = function if isinstance(function, torch.nn.Module) else Net(function)
    program = torch.export.export(net.eval(), inputs, dynamic_shapes=dynamic_shapes)
    return load(program, ImportOptions()).mod


F = torch.nn.functional
X = torch.linspace(-2, 2, 2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
PLACES = torch.tensor([[0, 2, 1], [1, 1, 0]])

CASES = {
    "alpha": lambda x: torch.add(x, x * x, alpha=3),
    "whole number and fraction": lambda x: (x * 4).to(torch.int32) * 0.5,
    "division rounded down": lambda x: torch.div(x * 5, 2, rounding_mode="floor"),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 2.0),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "amax": lambda x: x.amax((1, 3), keepdim=True),
    "least and where": lambda x: sum(x.min(2)),
    "all": lambda x: (x > -1).all(1),
    "any": lambda x: (x > 1).any(),
    "pool without strides": lambda x: F.avg_pool2d(x, 2) + F.max_pool2d(x, 2),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "reflected": lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
    "replicated": lambda x: F.pad(x, (2, 1, 3, 0), mode="replicate"),
    "nearest": lambda x: F.interpolate(x, (8, 3), mode="nearest"),
    "nearest, exact": lambda x: F.interpolate(x, (8, 3), mode="nearest-exact"),
    "scale that is rounded": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "antialiased": lambda x: F.interpolate(x, (3, 4), mode="bilinear", antialias=True),
    "bicubic": lambda x: F.interpolate(x, scale_factor=2.0, mode="bicubic", align_corners=True),
    "to one": lambda x: F.interpolate(x, (1, 1), mode="bilinear", align_corners=True),
    "group norm": lambda x: F.group_norm(torch.cat([x, x * x], 1), 3),
    "layer norm of doubles": lambda x: F.layer_norm(x.double(), (5, 7)).float(),
    "product of halves": lambda x: (x[0, 0].half() @ x[0, 1].half().T).float(),
    "linear": lambda x: F.linear(x, x[0, 0], x[0, 0, :, 0]),
    "linear, a vector, halves": lambda x: F.linear(x[0, 0, 1].half(), x[0, 0].half()).float(),
    "spread": lambda x: x.var((0, 2)) + x.std((0, 2), correction=0),
    "distances": lambda x: torch.cdist(x[0], x[1]),
    "grid": lambda x: F.grid_sample(x, F.affine_grid(x[:, :2, 0, :3], (2, 3, 4, 6), align_corners=False)),
    "windows": lambda x: x.unfold(2, 3, 2),
    "volumes": lambda x: F.conv_transpose3d(x[None], torch.ones(2, 1, 2, 2, 2), torch.ones(1), stride=2),
    "taken across": lambda x: x[:, PLACES[0], :, PLACES[1]],
    "taken beside": lambda x: x[:, PLACES[0], PLACES[1]],
    "put": lambda x: torch.zeros(5, 7).index_put((PLACES[0], -PLACES[1]), x[0, 0, 0, :3], accumulate=True),
    "put where true": lambda x: x.masked_fill(x > 0.5, float("-inf")),
    "copied": lambda x: x.index_copy(3, PLACES[0], x[..., :3] * 2),
    "reduced": lambda x: x.scatter_reduce(3, PLACES[None, :1, None].expand(2, 3, 5, 3), -x, "amax", include_self=False),
    "averaged": lambda x: x.scatter_reduce(3, PLACES[None, :1, None].expand(2, 3, 5, 3), -x, "mean"),
}


@pytest.mark.parametrize("part", range(4))
def test_operators(part: int) -> None:
    """A quarter of the cases as one program, which is quicker than each alone."""
    chosen = dict(list(CASES.items())[part::4])
    with torch.no_grad():
        wanted = [function(X).numpy() for function in chosen.values()]
    mod = imported(lambda x: tuple(function(x) for function in chosen.values()), X)
    machine = relax.VirtualMachine(tvm.compile(mod, target="llvm"), tvm.cpu())
    for name, found, want in zip(chosen, machine["main"](tvm.runtime.tensor(X.numpy())), wanted, strict=True):
        assert str(found.dtype) == str(want.dtype), name
        tolerance = 2e-3 if "halves" in name else 2e-5
        np.testing.assert_allclose(found.numpy(), want, tolerance, tolerance, err_msg=name)


def test_state_is_refused() -> None:
    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(3))

        def forward(self, x):  # type: ignore[no-untyped-def]
            self.count.add_(x)
            return self.count * 2

    with pytest.raises(UnsupportedError, match=r"changes its buffer 'count'.*as an input and return it"):
        imported(Counter(), torch.ones(3))


def test_refusals_name_the_line() -> None:
    with pytest.raises(UnsupportedError, match=r"_fft_r2c.default \(.*test_torch.py:\d+\)"):
        imported(lambda x: torch.fft.rfft(x).abs(), X)
    with pytest.raises(UnsupportedError, match=r"rand.default.*make them an input"):
        imported(lambda x: x + torch.rand(3), torch.ones(3))


def test_branches() -> None:
    net = Net(lambda x: torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,)))
    package = compile(torch.export.export(net, (torch.ones(3),)))
    with Executor(package) as executor:
        for x in (torch.ones(3), -torch.ones(3)):
            (found,) = executor.run({package.entries[0].inputs[0].name: x.numpy()}).values()
            np.testing.assert_allclose(found, net(x).numpy(), 1e-5)


def test_extents_that_are_multiples() -> None:
    """An input whose height is 2 * h: h is found when the package runs, and another height is refused."""

    def network(x):  # type: ignore[no-untyped-def]
        return torch.cat([F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0), x], 1)

    height = 2 * torch.export.Dim("h", min=1, max=32)
    program = torch.export.export(Net(network), (torch.ones(1, 2, 6, 4),), dynamic_shapes=(({2: height},),))
    package = compile(program)
    name = package.entries[0].inputs[0].name
    with Executor(package) as executor:
        for rows in (2, 10):
            x = torch.rand(1, 2, rows, 4)
            (found,) = executor.run({name: x.numpy()}).values()
            np.testing.assert_allclose(found, network(x).numpy(), 1e-5)
        with pytest.raises(TvmWebgpuError):
            executor.run({name: np.ones((1, 2, 5, 4), np.float32)})


ROWS, KEYS = 5, 7
Q, K, V = (torch.linspace(-1, 2, 2 * 4 * n * w).sin().reshape(2, 4, n, w) for n, w in ((ROWS, 8), (KEYS, 8), (KEYS, 6)))
BLANK = torch.arange(ROWS)[:, None] == 2  # a row whose keys are all masked
ALLOWED = (torch.arange(ROWS)[:, None] * 3 + torch.arange(KEYS)) % 4 != 0

ATTENTION = {
    "plain": lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
    "scale": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3),
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "causal, more queries": lambda q, k, v: F.scaled_dot_product_attention(k, q, q, is_causal=True),
    "allowed": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, ALLOWED & ~BLANK),
    "bias": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, (q @ k.mT)[:, :1]),
    "infinite bias": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, torch.zeros(ROWS, KEYS).masked_fill(BLANK | ~ALLOWED, float("-inf"))
    ),
    "one head": lambda q, k, v: F.scaled_dot_product_attention(q[:, 0], k[:, 0], v[:, 0], ALLOWED[None]),
    "no batch": lambda q, k, v: F.scaled_dot_product_attention(q[0, 0], k[0, 0], v[0, 0]),
    "five axes": lambda q, k, v: F.scaled_dot_product_attention(q[None], k[None], v[None]),
    "shared heads": lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True),
    "one key for all": lambda q, k, v: F.scaled_dot_product_attention(q, k[:1, :1], v[:1, :1]),
    "halves": lambda q, k, v: F.scaled_dot_product_attention(q.half(), k.half(), v.half()).float(),
    "doubles": lambda q, k, v: F.scaled_dot_product_attention(q.double(), k.double(), v.double()).float(),
}


def test_attention() -> None:
    """All of them by one package; rows that may look at nothing are zero."""
    net = Net(lambda *operands: tuple(function(*operands) for function in ATTENTION.values()))
    package = compile(torch.export.export(net, (Q, K, V)))
    names = [port.name for port in package.entries[0].inputs]
    with Executor(package) as executor:
        found = executor.run(dict(zip(names, (Q.numpy(), K.numpy(), V.numpy()), strict=True)))
    for name, ours, want in zip(ATTENTION, found.values(), net(Q, K, V), strict=True):
        tolerance = 2e-3 if name == "halves" else 1e-5
        np.testing.assert_allclose(ours, want.numpy(), tolerance, tolerance, err_msg=name)


def test_attention_over_places_of_a_picture() -> None:
    """As in diffusion models: the length is a product of open extents."""

    def attend(x):  # type: ignore[no-untyped-def]
        flat = x.flatten(2).mT
        return F.scaled_dot_product_attention(flat, flat, flat * 2).mT.reshape(x.shape)

    dims = {2: 2 * torch.export.Dim("height", max=32), 3: 2 * torch.export.Dim("width", max=32)}
    package = compile(torch.export.export(Net(attend), (torch.randn(1, 8, 6, 4),), dynamic_shapes=((dims,),)))
    with Executor(package) as executor:
        x = torch.randn(1, 8, 4, 10)
        (found,) = executor.run({package.entries[0].inputs[0].name: x.numpy()}).values()
    np.testing.assert_allclose(found, attend(x).numpy(), 1e-5, 1e-5)


def test_transformer_is_fused() -> None:
    """A transformer block for any length: norms share a kernel, attention is one, sums and gelu join products."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.LayerNorm(32), torch.nn.LayerNorm(32)
            self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)
            self.up, self.down = torch.nn.Linear(32, 128), torch.nn.Linear(128, 32)

        def forward(self, x):  # type: ignore[no-untyped-def]
            batch, length, _ = x.shape
            q, k, v = self.qkv(self.first(x)).view(batch, length, 3, 2, 16).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, 32)
            x = x + self.out(mixed)
            return x + self.down(F.gelu(self.up(self.second(x))))

    torch.manual_seed(3)
    net = Block().eval()
    shapes = ({0: torch.export.Dim("batch", max=8), 1: torch.export.Dim("length", max=64)},)
    package = compile(torch.export.export(net, (torch.randn(2, 5, 32),), dynamic_shapes=shapes))
    assert len(package.kernels) == 6, [kernel.name for kernel in package.kernels]
    with Executor(package) as executor:
        for batch, length in ((1, 1), (3, 37)):
            x = torch.randn(batch, length, 32)
            (found,) = executor.run({package.entries[0].inputs[0].name: x.numpy()}).values()
            np.testing.assert_allclose(found, net(x).detach().numpy(), 1e-4, 1e-5)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_recurrent_layers(kind: type[torch.nn.RNNBase]) -> None:
    """Stacks of layers in both directions, without the kernels of every step apart."""
    torch.manual_seed(4)
    net = kind(5, 8, 2, batch_first=True, bidirectional=True).eval()
    x = torch.randn(3, 9, 5)
    package = compile(torch.export.export(net, (x,)))
    assert len(package.kernels) <= 12, [kernel.name for kernel in package.kernels]
    with Executor(package) as executor:
        found = executor.run({package.entries[0].inputs[0].name: x.numpy()}).values()
    for ours, want in zip(found, torch.utils._pytree.tree_leaves(net(x)), strict=True):
        np.testing.assert_allclose(ours, want.detach().numpy(), 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_linear_layers_of_other_types(dtype: torch.dtype) -> None:
    """They stay what they are."""
    torch.manual_seed(5)
    net, x = torch.nn.Linear(8, 4).to(dtype), torch.randn(3, 8, dtype=dtype)
    with Executor(compile(torch.export.export(net, (x,)))) as executor:
        (found,) = executor.run({executor.package.entries[0].inputs[0].name: x.numpy()}).values()
    assert found.dtype == x.numpy().dtype
    np.testing.assert_allclose(found, net(x).detach().numpy(), 2e-3, 2e-3)


class Cached(torch.nn.Module):
    """A cache as libraries write it: at first a vector of nothing, which PyTorch joins with tensors of any rank."""

    def forward(self, keys: torch.Tensor, more: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cache = torch.cat([torch.tensor([], dtype=keys.dtype), keys], dim=-2)
        return torch.cat([cache, more], dim=-2), torch.cat([torch.tensor([]), torch.tensor([])])


def test_caches_that_begin_as_nothing() -> None:
    keys, more = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 1, 4)
    with Executor(compile(torch.export.export(Cached(), (keys, more)))) as executor:
        inputs = [spec.name for spec in executor.package.entries[0].inputs]
        joined, nothing = executor.run(dict(zip(inputs, (keys.numpy(), more.numpy()), strict=True))).values()
    np.testing.assert_array_equal(joined, np.concatenate([keys, more], -2))
    assert nothing.shape == (0,)
