"""The SPOS supernet at full size against published numbers (SPOS, table 2 and appendix)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from supernet_zoo import grey_spos, small_spos
from torch import nn

from raynas.costs import FLOPs, Params, flops_table, params_table, resolve_limits
from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize, spos, spos_8x8, spos_28x28, spos_32x32

PUBLISHED = (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3)
ORACLES = {
    PUBLISHED: (322_918_720, 3_558_464),
    (0,) * 20: (295_842_496, 3_154_880),
    (3,) * 20: (358_825_920, 3_870_816),
}


@pytest.fixture(scope="module")
def full() -> ChainSupernet:
    with torch.device("meta"):
        return spos().eval()


def test_full_size_space(full: ChainSupernet) -> None:
    assert full.space.choices == (4,) * 20
    assert full.space.count() == 4**20
    full.check()


@pytest.mark.parametrize("architecture", ORACLES, ids=["published", "all 3", "all x"])
def test_full_size_costs(full: ChainSupernet, architecture: tuple[int, ...]) -> None:
    macs, parameters = ORACLES[architecture]
    assert flops_table(full).of(architecture) == macs
    assert params_table(full).of(architecture) == parameters


def test_limits_of_the_paper(full: ChainSupernet) -> None:
    limits = resolve_limits(FLOPs(at_most=330e6), full)
    assert limits.allows(PUBLISHED)
    assert not limits.allows((3,) * 20)
    assert 0 < (limits.count() or 0) < 4**20
    assert resolve_limits(Params(at_most=3_558_464), full).allows(PUBLISHED)
    assert not resolve_limits(Params(at_most=3_558_463), full).allows(PUBLISHED)


def test_bytes_of_an_activation(full: ChainSupernet) -> None:
    image = torch.empty((1, 3, 224, 224), dtype=torch.uint8, device="meta")
    activation = full(image, PUBLISHED, stop=2)
    assert activation.numel() * activation.element_size() == 802_816


@pytest.mark.parametrize(
    ("variant", "image_shape", "blocks"),
    [(spos_8x8, (1, 8, 8), 8), (spos_28x28, (1, 28, 28), 12), (spos_32x32, (3, 32, 32), 12)],
)
def test_small_variants(
    variant: Callable[..., ChainSupernet], image_shape: tuple[int, int, int], blocks: int
) -> None:
    with torch.device("meta"):
        supernet = variant(head_channels=40)
    supernet.check()
    assert supernet.image_shape == image_shape
    assert supernet.space.choices == (4,) * blocks
    assert supernet.num_classes == 10
    assert supernet.recipe is not None
    assert supernet.recipe["head_channels"] == 40


def test_choices_have_the_kernels_of_the_paper() -> None:
    for block in small_spos().blocks:
        depthwise = [
            [
                layer.kernel_size[0]
                for layer in choice.branch_main
                if isinstance(layer, nn.Conv2d) and layer.groups > 1
            ]
            for choice in block
        ]
        assert depthwise == [[3], [5], [7], [3, 3, 3]]


def test_batch_norms_are_not_affine() -> None:
    norms = [m for m in small_spos().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.affine for norm in norms)


def test_the_recipe_rebuilds_the_supernet() -> None:
    for supernet in (small_spos(), grey_spos()):
        recipe = dict(supernet.recipe or {})
        assert recipe.pop("builder") == "spos"
        rebuilt = spos(**recipe)
        assert rebuilt.recipe == supernet.recipe
        assert rebuilt.image_shape == supernet.image_shape
        shapes = {name: tensor.shape for name, tensor in supernet.state_dict().items()}
        assert {n: t.shape for n, t in rebuilt.state_dict().items()} == shapes


def test_normalize_matches_arithmetic() -> None:
    pixels = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(2, 3, 2, 2) * 10
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    expected = np.stack([(pixels.numpy()[:, c] / 255 - mean[c]) / std[c] for c in range(3)], axis=1)
    np.testing.assert_allclose(Normalize(mean, std)(pixels).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_normalize_for_bgr_from_0_to_255() -> None:
    pixels = torch.randint(0, 256, (2, 3, 2, 2), dtype=torch.uint8)
    raw = Normalize((0, 0, 0), (1 / 255,) * 3, reverse_channels=True)
    assert torch.equal(raw(pixels), pixels[:, [2, 1, 0]].float())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": ((10, 1, 2),)}, "stages"),
        ({"stages": ((8, 1, 3),)}, "stages"),
        ({"stages": ((8, 0, 2),)}, "stages"),
        ({"image_channels": 1}, "mean and std"),
        ({"mean": (0.5,)}, "mean and std"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spos(10, **arguments)
