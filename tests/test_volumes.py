"""Volumes: 3-D convolutions are trained and scored as plain PyTorch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from block_zoo import plain_loop
from torch import nn

import raynas
from raynas.data import SearchData
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet
from raynas.supernets.layout import set_layout

SHAPE, WIDTH, CLASSES = (2, 4, 6, 6), 4, 3


def volumes() -> SearchData:
    """Noise, brighter in higher classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 60)
    samples = rng.normal(size=(60, *SHAPE)) + labels[:, None, None, None, None]
    return raynas.data.from_arrays(
        samples.astype(np.float32), labels, name="volumes", num_classes=CLASSES, calibration=12
    )


def conv(size: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(WIDTH, WIDTH, size, padding=size // 2), nn.BatchNorm3d(WIDTH))


def supernet() -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = [[conv(3), conv(1), nn.Identity()] for _ in range(2)]
        head = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
        inputs = Inputs(SHAPE, "float32")
        stem = nn.Conv3d(SHAPE[0], WIDTH, 3, padding=1)
        return ChainSupernet(stem, blocks, head, inputs=inputs, num_classes=CLASSES).eval()


def test_volumes_are_scored_as_plain_torch_scores_them() -> None:
    data, searched = volumes(), supernet()
    wanted = [(a, b) for a in range(3) for b in range(3)]
    plain = [plain_loop(searched, a, data.calibration, data.validation) for a in wanted]
    found = raynas.evaluate(searched, data, wanted)
    assert [score.loss for score in found] == pytest.approx([each.loss for each in plain], rel=1e-5)
    assert [score.correct for score in found] == [each.correct for each in plain]


def test_a_training_on_volumes_learns_and_keeps_the_layout() -> None:
    data, trained = volumes(), supernet()
    strides = [weight.stride() for weight in trained.parameters()]
    settings = raynas.TrainingSettings(epochs=3, batch_size=12, learning_rate=0.1, device="cpu")
    reports = raynas.training.train(trained, data.train, settings)
    assert reports[-1].loss < reports[0].loss
    assert [weight.stride() for weight in trained.parameters()] == strides


def test_layouts_are_those_of_feature_maps_alone() -> None:
    module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Conv2d(2, 3, 3), nn.Conv3d(2, 3, 3))
    before = [module[0].weight.stride(), (18, 1, 6, 2), module[2].weight.stride()]
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    set_layout(module, torch.channels_last)
    assert [layer.weight.stride() for layer in module] == before
    assert all(torch.equal(kept[name], value) for name, value in module.state_dict().items())
