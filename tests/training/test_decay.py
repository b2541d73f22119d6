"""Weight decay of clipping levels, and of nothing else that had none before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import SETTINGS, digits, same, small_supernet, state
from torch import nn

from raynas.errors import InputError
from raynas.supernets import PACT, ChainSupernet, resnet_mixed_8x8
from raynas.training import TrainingSettings, train
from raynas.training.decay import parameter_groups

SMALL: dict[str, Any] = {
    "stem_channels": 4,
    "stage_channels": (4, 4, 6, 6),
    "bits": ((1, 2), (3, 4)),
    "widths": (1.0,),
}


def mixed(seed: int = 0) -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet_mixed_8x8(**SMALL)


def decays(module: nn.Module, settings: TrainingSettings) -> list[tuple[int, float]]:
    """How many parameters there are in each group, and how they decay."""
    groups = parameter_groups(module, settings)
    return [(len(group["params"]), group["weight_decay"]) for group in groups]


def test_levels_are_a_group_of_their_own() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), PACT(2, 1.0), PACT(3, 1.0))
    settings = replace(SETTINGS, weight_decay=1e-3)
    assert decays(module, settings) == [(1, 1e-3), (3, 0.0), (2, 1e-3)]
    own = replace(settings, alpha_decay=0.25)
    assert decays(module, own) == [(1, 1e-3), (3, 0.0), (2, 0.25)]
    assert decays(module, replace(settings, alpha_decay=0))[2] == (2, 0)


def test_supernets_without_levels_have_the_two_groups_that_they_always_had() -> None:
    supernet = small_supernet()
    groups = parameter_groups(supernet, replace(SETTINGS, alpha_decay=0.5))
    parameters = list(supernet.parameters())
    assert [group["params"] for group in groups] == [
        [parameter for parameter in parameters if parameter.ndim > 1],
        [parameter for parameter in parameters if parameter.ndim <= 1],
    ]


def test_a_level_moves_by_its_gradient_and_its_decay() -> None:
    """L2 regularisation (PACT, section 3): the gradient plus the decay times the level."""
    act = PACT(2, 2.0)
    settings = replace(SETTINGS, learning_rate=0.1, momentum=0.0, alpha_decay=0.5)
    optimizer = torch.optim.SGD(parameter_groups(act, settings), lr=0.1)
    (3 * act(torch.tensor([1.0, 5.0, 7.0]))).sum().backward()
    optimizer.step()
    assert act.alpha.item() == pytest.approx(2.0 - 0.1 * (6.0 + 0.5 * 2.0))


def levels(supernet: ChainSupernet) -> float:
    found = [module.alpha.detach() for module in supernet.modules() if isinstance(module, PACT)]
    return float(torch.stack(found).mean())


def test_training_uses_the_decay() -> None:
    trained = []
    for decay in (0.0, 0.5):
        supernet = mixed()
        train(supernet, digits(64), replace(SETTINGS, epochs=1, alpha_decay=decay))
        trained.append(levels(supernet))
    assert trained[1] < trained[0]


def test_a_resumed_training_ends_bit_identically(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=2, alpha_decay=1e-2)
    whole, parts, path = mixed(), mixed(), tmp_path / "training.pt"
    train(whole, digits(64), settings)

    def stop(report: Any) -> None:
        if report.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parts, digits(64), settings, checkpoint=path, observer=stop)
    resumed = mixed(seed=5)
    train(resumed, digits(64), settings, checkpoint=path)
    assert same(state(resumed), state(whole))
    with pytest.raises(InputError, match=r"alpha_decay 0\.01 instead of 0\.5"):
        train(mixed(), digits(64), replace(settings, alpha_decay=0.5), checkpoint=path)


def test_a_checkpoint_from_before_there_was_such_a_decay_is_still_one(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    reports = train(small_supernet(), digits(64), SETTINGS, checkpoint=path)
    content = torch.load(path, weights_only=True)
    terms = json.loads(content["terms"])
    assert terms.pop("alpha_decay") is None
    torch.save({**content, "terms": json.dumps(terms)}, path)
    assert train(small_supernet(1), digits(64), SETTINGS, checkpoint=path) == reports


class Misnaming(nn.Module):
    raynas_decayed: Any = ("beta",)

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("names", [("beta",), "alpha", 3])
def test_names_of_nothing(names: Any) -> None:
    module = Misnaming()
    module.raynas_decayed = names
    with pytest.raises(InputError, match=r"^1: expected raynas_decayed to hold names .*, alpha"):
        parameter_groups(nn.Sequential(nn.ReLU(), module), SETTINGS)


@pytest.mark.parametrize("decay", [-1.0, float("nan"), float("inf"), "1"])
def test_bad_decays(decay: Any) -> None:
    with pytest.raises(InputError, match="alpha_decay: expected a "):
        replace(SETTINGS, alpha_decay=decay)
