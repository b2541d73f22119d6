"""`raynas train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

import raynas
from raynas.commands.loading import (
    PRESETS,
    DataOptions,
    build_named,
    load_data,
    preset_supernet,
)
from raynas.commands.workflow import train_or_load
from raynas.training import TrainingSettings, presets


def train(
    data: OmitArgPrefixes[DataOptions],
    out: Path,
    supernet: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    device: str | None = None,
    seed: int = 0,
) -> None:
    """Train a supernet by uniform single-path sampling, and resume where it was interrupted.

    Args:
        data: the samples.
        out: the safetensors file to write; an existing one is not trained again.
        supernet: package.module:function, which builds the supernet; the SPOS supernet that fits a
            named data set if omitted.
        epochs: passes over the training samples; the data set's preset if omitted.
        batch_size: samples per step; the data set's preset if omitted.
        learning_rate: the highest one; the data set's preset if omitted.
        device: cpu, cuda, cuda:1; a GPU where there is one if omitted.
        seed: of initial weights, paths, batches and augmentation.
    """
    import torch

    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    name = PRESETS[data.data].training if data.data in PRESETS else "OWN_DATA"
    preset: TrainingSettings = getattr(presets, name)
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    chosen["warmup_epochs"] = min(preset.warmup_epochs, (epochs or preset.epochs) / 10)
    settings = replace(preset, **chosen, seed=seed, device=device)
    samples = load_data(data, train=True)
    torch.manual_seed(seed)
    network: raynas.ChainSupernet = (
        preset_supernet(data, samples) if supernet is None else build_named(supernet)
    )
    train_or_load(network, samples, settings, out)
