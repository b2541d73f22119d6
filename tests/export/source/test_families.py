"""`network.py` of this library's families: it runs, and trains, where there is no raynas."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from raynas.export import plain_subnet
from raynas.export.program import WEIGHTS, weights_bytes
from raynas.export.source import SOURCE, source_bytes
from raynas.inputs import Inputs
from raynas.retraining.network import standalone
from raynas.supernets import (
    ChainSupernet,
    greedynas_28x28,
    ponas_8x8,
    proxylessnas_28x28,
    resnet_mixed_8x8,
    spos_8x8,
)

SMALL = {"image_size": 8, "stem_stride": 1, "stages": ((16, 2, 1), (24, 2, 2))}

FAMILIES: dict[str, tuple[Callable[[], ChainSupernet], str]] = {
    "spos": (lambda: spos_8x8(dropout=0.3), "c7 c5 c3 x x c3 c5 c7"),
    "spos, BGR": (
        lambda: spos_8x8(image_channels=3, mean=(0, 0, 0), std=(1 / 255,) * 3,
                         reverse_channels=True, stages=((32, 1, 2),)), "x",
    ),
    "spos, channels": (
        lambda: spos_8x8(channels=True, stages=((32, 1, 1), (64, 2, 2))), "c7@0.2 x@1.6 c3@1.0"
    ),
    "ponas": (ponas_8x8, "e3k3 e6k5se e3k7 e3k5se e6k3 e3k3 e6k7se e3k3"),
    "greedynas, se": (lambda: greedynas_28x28(se=True, **SMALL), "e3k3se identity e6k7se e3k5"),
    "proxylessnas": (
        lambda: proxylessnas_28x28(dropout=0.2, **SMALL), "e3k3 identity e6k5 identity"
    ),
    "resnet, mixed": (
        resnet_mixed_8x8,
        "w1a2@0.5 w2a2@1.0 w1a4@1.5 w2a4@0.5 w3a4@1.0 w4a4@1.5 w2a2@0.5 w4a4@1.0",
    ),
}  # fmt: skip

ALONE = """
import json, sys
sys.modules["raynas"] = sys.modules["safetensors"] = sys.modules["numpy.testing"] = None
import importlib.util
from pathlib import Path
import torch
torch.set_num_threads(1)
found = {}
for folder in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network, samples = module.load_network(), torch.load(folder / "samples.pt")
    with torch.no_grad():
        before = network(samples)
    torch.manual_seed(3)
    logits = network.train()(samples)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(samples))).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(0.01 * parameter.grad)
        after = network.eval()(samples)
    fresh = module.build_network()
    same = fresh.state_dict().keys() == network.state_dict().keys()
    found[folder.name] = [before.tolist(), after.tolist(), same]
print(json.dumps(found))
"""


def subnet_of(family: str) -> tuple[nn.Module, Inputs, tuple[str, ...]]:
    """A subnet with weights and statistics that no constructor gives."""
    build, text = FAMILIES[family]
    torch.manual_seed(0)
    supernet = build().eval()
    with torch.no_grad():
        for buffer in supernet.buffers():
            if buffer.is_floating_point() and buffer.dim() == 1:
                buffer.uniform_(0.5, 1.5)
    architecture = supernet.encode(text.split())
    return (
        plain_subnet(supernet, architecture, None),
        supernet.inputs,
        supernet.decode(architecture),
    )


def trained(subnet: nn.Module, samples: Tensor) -> Tensor:
    """The logits after one step of training."""
    network = copy.deepcopy(subnet).train()
    torch.manual_seed(3)
    loss = nn.functional.cross_entropy(network(samples), torch.arange(len(samples)))
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.01 * parameter.grad)
        logits: Tensor = network.eval()(samples)
    return logits


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What an export writes of each family, and samples, by family."""
    made = {}
    for index, family in enumerate(FAMILIES):
        subnet, inputs, names = subnet_of(family)
        folder = tmp_path_factory.mktemp(f"family{index}")
        refused: dict[str, str] = {}
        source = source_bytes(subnet, inputs, names, WEIGHTS, refused)
        weights = weights_bytes(subnet, refused)
        assert refused == {}
        assert source is not None
        assert weights is not None
        (folder / SOURCE).write_bytes(source)
        (folder / WEIGHTS).write_bytes(weights)
        torch.save(torch.from_numpy(inputs.examples(5, seed=7)), folder / "samples.pt")
        made[family] = folder
    return made


def test_networks_run_and_train_with_torch_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", ALONE, *map(str, folders.values())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for family, folder in folders.items():
        subnet, *_ = subnet_of(family)
        samples = torch.load(folder / "samples.pt")
        before, after, same_names = found[folder.name]
        with torch.no_grad():
            torch.testing.assert_close(torch.tensor(before), subnet(samples), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(torch.tensor(after), trained(subnet, samples), rtol=1e-5,
                                   atol=1e-6)  # fmt: skip
        assert torch.tensor(after).sub(torch.tensor(before)).abs().max() > 1e-4
        assert same_names


def test_the_source_is_formatted_and_imports_torch_and_python_alone(
    folders: dict[str, Path],
) -> None:
    files = [folder / SOURCE for folder in folders.values()]
    ruff = [sys.executable, "-m", "ruff"]
    for check in (("format", "--check"), ("check", "--select", "E,F,I,UP")):
        command = [*ruff, *check, "--isolated", "--line-length", "100", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                every = [each.name for each in node.names]
                home = node.module or "" if isinstance(node, ast.ImportFrom) else every[0]
                top = home.partition(".")[0]
                assert top == "torch" or top in sys.stdlib_module_names


def test_the_source_names_blocks_and_reads_as_written_by_hand(folders: dict[str, Path]) -> None:
    text = (folders["spos"] / SOURCE).read_text()
    assert "needs torch alone: c7 c5 c3 x x c3 c5 c7." in text
    assert (
        '''def block_0() -> nn.Module:
    """Block 0: c7."""
    return ShuffleUnit(
        branch_main=nn.Sequential(
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16, affine=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 7, padding=3, groups=16, bias=False),
'''
        in text
    )
    assert "nn.Dropout(p=0.3),\n        nn.Linear(128, 10, bias=False),\n" in text
    # Its forward is the one of this library.
    assert "return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)" in text
    assert "raynas_" not in text


def test_weights_are_read_as_safetensors_reads_them(folders: dict[str, Path]) -> None:
    folder = folders["resnet, mixed"]
    namespace: dict[str, object] = {"__file__": str(folder / SOURCE), "__name__": "network"}
    exec((folder / SOURCE).read_text(), namespace)
    read: Callable[[Path], dict[str, Tensor]] = namespace["read_weights"]  # type: ignore[assignment]
    found, wanted = read(folder / WEIGHTS), load_file(folder / WEIGHTS)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_a_retrained_network_has_gain_and_offset_in_its_source() -> None:
    supernet = spos_8x8(stages=((32, 1, 2),)).eval()
    network = standalone(supernet, (3,))
    refused: dict[str, str] = {}
    source = source_bytes(network.subnet((0,)), network.inputs, ("x",), WEIGHTS, refused)
    assert refused == {}
    assert source is not None
    assert b"affine" not in source
    assert b"nn.BatchNorm2d(16)," in source
