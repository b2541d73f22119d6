"""Settings: what is refused, and the learning rate against torch's schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import with_settings
from torch.optim import lr_scheduler

from raynas.errors import InputError
from raynas.training import ProgressiveSettings, presets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-5),
        ("weight_decay", math.nan),
        ("label_smoothing", 1.0),
        ("warmup_epochs", -1),
        ("warmup_epochs", 3),
        ("schedule", "step"),
        ("clip", 0.0),
        ("optimizer", "adam"),
        ("average", 0.0),
        ("average", 1),
        ("seed", -1),
        ("device", "gpu"),
        ("device", "cuda:99"),
        ("device", "mps"),
    ],
)
def test_settings_out_of_range(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}: expected .* got {value!r}"):
        with_settings(**{name: value})


def test_the_default_device_is_here() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert with_settings(device=None).torch_device().type == expected


def test_the_rate_of_ponas_falls_at_epochs_20_and_40() -> None:
    """Section 4.1, step by step as torch's scheduler has it; blocks begin and stay at 0.001."""
    settings = presets.IMAGENET_PROGRESSIVE
    assert (settings.epochs, settings.batch_size, settings.learning_rate) == (50, 256, 0.1)
    assert (settings.momentum, settings.weight_decay) == (0.9, 4e-5)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=settings.learning_rate)
    for steps in (3, 7):
        scheduler = lr_scheduler.MultiStepLR(optimizer, [20 * steps, 40 * steps], gamma=0.1)
        for step in range(50 * steps):
            expected = scheduler.get_last_lr()[0]
            assert settings.learning_rate_at(step, steps) == pytest.approx(expected, rel=1e-12)
            optimizer.step()
            scheduler.step()
        optimizer.param_groups[0]["lr"] = settings.learning_rate
    assert settings.learning_rate_at(20 * 4738 - 1, 4738) == 0.1
    assert settings.learning_rate_at(20 * 4738, 4738) == 0.01
    block = ProgressiveSettings().of_block(settings, 1)
    assert (block.epochs, block.learning_rate_at(0, 9), block.schedule) == (3, 0.001, "constant")


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_decay_equals_that_of_torch(schedule: str) -> None:
    settings = with_settings(epochs=4, warmup_epochs=0, schedule=schedule)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=settings.learning_rate)
    scheduler: lr_scheduler.LRScheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    if schedule == "linear":
        scheduler = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=20)
    for step in range(20):
        expected = optimizer.param_groups[0]["lr"]
        assert settings.learning_rate_at(step, steps=5) == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        scheduler.step()


@given(
    epochs=st.integers(1, 6),
    steps=st.integers(1, 9),
    warmup=st.floats(0, 5),
    schedule=st.sampled_from(["linear", "cosine"]),
)
def test_the_rate_rises_to_its_highest_and_falls(
    epochs: int, steps: int, warmup: float, schedule: str
) -> None:
    warmup = min(warmup, epochs * 0.9)
    settings = with_settings(epochs=epochs, warmup_epochs=warmup, schedule=schedule)
    rates = [settings.learning_rate_at(step, steps) for step in range(epochs * steps)]
    assert all(0 < rate <= settings.learning_rate * (1 + 1e-9) for rate in rates)
    rising = math.ceil(warmup * steps)
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    assert settings.learning_rate_at(epochs * steps, steps) == pytest.approx(0, abs=1e-9)


def test_a_constant_rate_stays_behind_the_warm_up() -> None:
    settings = with_settings(epochs=3, warmup_epochs=1, learning_rate=1.0, schedule="constant")
    rates = [settings.learning_rate_at(step, steps=2) for step in range(6)]
    assert rates == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_warm_up_starts_small_and_reaches_the_rate() -> None:
    settings = with_settings(epochs=10, warmup_epochs=2, learning_rate=1.0)
    rates = [settings.learning_rate_at(step, steps=5) for step in range(12)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == 1.0 > rates[11]


def test_the_rate_of_greedynas_falls_by_three_per_cent_every_three_epochs() -> None:
    """Section 4.1: from 0 to 0.064 in five epochs, then to 97 % of it, step by step."""
    settings = presets.RETRAIN_GREEDY_SE
    assert (settings.batch_size, settings.momentum, settings.average) == (512, 0.9, 0.999)
    steps = 4
    rates = [settings.learning_rate_at(step, steps) for step in range(30 * steps)]
    assert rates[: 5 * steps] == pytest.approx([0.064 * (i + 1) / 20 for i in range(20)])
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.064)
    scheduler = lr_scheduler.StepLR(optimizer, 3 * steps, gamma=0.97)
    for rate in rates[5 * steps :]:
        assert rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_terms_leave_out_what_earlier_versions_did_not_have() -> None:
    terms = with_settings(device="cpu").terms()
    assert {"epochs", "schedule", "alpha_decay"} <= terms.keys()
    assert not {"device", "optimizer", "average"} & terms.keys()
    terms = with_settings(optimizer="rmsprop", average=0.9).terms()
    assert (terms["optimizer"], terms["average"]) == ("rmsprop", 0.9)
