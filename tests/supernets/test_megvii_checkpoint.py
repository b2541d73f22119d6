"""The released SPOS supernet's layout, against a network written out the way it was trained."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.supernets import ChainSupernet, digest, load, spos
from raynas.supernets.checkpoint_names import megvii_name, own_names

STAGES = ((8, 2, 2), (16, 2, 2))


def norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


def dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), norm(outputs), nn.ReLU()]


def depthwise(channels: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return [conv, norm(channels)]


class ReleasedUnit(nn.Module):
    """A choice under the released names, with the channels shuffled by reshaping."""

    def __init__(self, inputs: int, outputs: int, choice: int, stride: int) -> None:
        super().__init__()
        kernel = (3, 5, 7, 3)[choice]
        half, own = outputs // 2, inputs if stride == 2 else inputs // 2
        last = outputs - own
        plain = [*dense(own, half), *depthwise(half, kernel, stride), *dense(half, last)]
        xception = [
            *depthwise(own, kernel, stride),
            *dense(own, half),
            *depthwise(half, kernel, 1),
            *dense(half, half),
            *depthwise(half, kernel, 1),
            *dense(half, last),
        ]
        self.branch_main = nn.Sequential(*(xception if choice == 3 else plain))
        if stride == 2:
            layers = [*depthwise(inputs, kernel, 2), *dense(inputs, inputs)]
            self.branch_proj = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "branch_proj"):
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        n, c, h, w = x.shape
        pairs = x.view(n, c // 2, 2, h, w).transpose(1, 2)
        return torch.cat((pairs[:, 0], self.branch_main(pairs[:, 1])), 1)


class Released(nn.Module):
    """The released supernet in a small size; its input is BGR from 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.first_conv = nn.Sequential(first, norm(4), nn.ReLU())
        self.features = nn.ModuleList()
        inputs = 4
        for outputs, repeats, first_stride in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                choices = [ReleasedUnit(inputs, outputs, choice, stride) for choice in range(4)]
                self.features.append(nn.ModuleList(choices))
                inputs = outputs
        self.conv_last = nn.Sequential(*dense(inputs, 24))
        self.classifier = nn.Sequential(nn.Linear(24, 7, bias=False))

    def forward(self, x: Tensor, architecture: tuple[int, ...]) -> Tensor:
        x = self.first_conv(x)
        for choices, choice in zip(self.features, architecture, strict=True):
            x = choices[choice](x)
        return self.classifier(self.conv_last(x).mean((2, 3)))


@pytest.fixture(scope="module")
def released() -> Released:
    network = Released().eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.3, generator=generator)
    return network


@pytest.fixture
def supernet() -> ChainSupernet:
    return spos(
        7,
        image_size=32,
        stem_channels=4,
        stages=STAGES,
        head_channels=24,
        mean=(0, 0, 0),
        std=(1 / 255,) * 3,
        reverse_channels=True,
    ).eval()


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_logits_are_those_of_the_released_network(
    released: Released, supernet: ChainSupernet, legacy: bool, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint-150000.pth.tar"
    state = OrderedDict(("module." + name, t) for name, t in released.state_dict().items())
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    load(supernet, path)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    bgr = images[:, [2, 1, 0]].float()
    for architecture in [(0,) * 4, (1,) * 4, (2,) * 4, (3,) * 4, (3, 1, 0, 2)]:
        expected = released(bgr, architecture)
        torch.testing.assert_close(supernet(images, architecture), expected, rtol=1e-5, atol=1e-5)


def test_every_name_of_the_full_size_has_one_of_ours() -> None:
    with torch.device("meta"):
        names = set(spos().state_dict())
    theirs = set()
    for name in names:
        for ours, released in (
            ("stem.1.", "first_conv.0."),
            ("stem.2.", "first_conv.1."),
            ("blocks.", "features."),
            ("head.0.", "conv_last.0."),
            ("head.1.", "conv_last.1."),
            ("head.6.", "classifier.0."),
        ):
            if name.startswith(ours):
                theirs.add(released + name.removeprefix(ours))
    assert len(theirs) == len(names)
    assert {megvii_name(name) for name in theirs} == names


def test_own_names_are_left_alone(supernet: ChainSupernet) -> None:
    state = supernet.state_dict()
    assert own_names(state, state)[0].keys() == state.keys()


def test_one_of_another_size_is_refused(
    released: Released, supernet: ChainSupernet, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint-150000.pth.tar"
    state = {"module." + name: tensor for name, tensor in released.state_dict().items()}
    del state["module.features.3.3.branch_main.0.weight"]
    torch.save({"state_dict": state}, path)
    before = digest(supernet)
    with pytest.raises(InputError, match=r"1 missing \(blocks\.3\.3\.branch_main\.0\.weight\)"):
        load(supernet, path)
    assert digest(supernet) == before


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mean": (0, 0, 0), "std": (1 / 255,) * 3},
        {"mean": (0, 0, 0), "std": (1, 1, 1), "reverse_channels": True},
    ],
)
def test_other_preprocessing_is_refused(
    released: Released, options: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint-150000.pth.tar"
    torch.save(
        {"state_dict": {"module." + name: t for name, t in released.state_dict().items()}}, path
    )
    sizes = {"image_size": 32, "stem_channels": 4, "stages": STAGES, "head_channels": 24}
    other = spos(7, **(sizes | options))  # type: ignore[arg-type]
    before = digest(other)
    with pytest.raises(InputError, match=r"BGR from 0 to 255.*reverse_channels=True"):
        load(other, path)
    assert digest(other) == before
