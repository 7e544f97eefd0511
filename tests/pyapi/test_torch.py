"""PyTorch: an exported program, in memory and as a .pt2 file, gives what PyTorch gives."""

from pathlib import Path

import numpy as np
import pytest
from tvm_webgpu.errors import InputError
from tvm_webgpu.executor import Executor
from tvm_webgpu.pipeline.build import compile

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
