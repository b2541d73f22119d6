"""What the names of data sets and trainings stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import (
    image_folder,
)

import raynas
from raynas.commands import families, loading, train
from raynas.commands.loading import DataOptions, load_data
from raynas.data.splits import SearchData


def test_a_kind_of_paths_may_have_settings_of_its_own() -> None:
    unset = train.TrainingOptions()
    for (data, paths), name in train.OF_PATHS.items():
        own = getattr(raynas.training.presets, name)
        assert train.training_settings(data, unset, paths) == own
        other = getattr(raynas.training.presets, loading.PRESETS[data].training)
        assert train.training_settings(data, unset) == other != own


@pytest.mark.parametrize("name", loading.PRESETS)
def test_a_preset_builds_what_it_names(name: str) -> None:
    preset = loading.PRESETS[name]
    assert callable(getattr(raynas.data, preset.data))
    settings = getattr(raynas.training.presets, preset.training)
    assert isinstance(settings, raynas.TrainingSettings)
    supernet = getattr(raynas.supernets, preset.supernet)(10)
    assert supernet.num_classes == 10
    assert supernet.recipe["builder"] in families.BUILDERS


def test_training_on_imagenet_asks_for_its_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def fewer(root: Path, *, train: bool = False) -> SearchData:
        asked.append(train)
        return imagenet(root, calibration=2, validation=2, train=train)

    imagenet = raynas.data.imagenet
    monkeypatch.setattr(raynas.data, "imagenet", fewer)
    options = DataOptions("imagenet", image_folder(tmp_path))
    data = load_data(options, train=True)
    assert data.train is not None
    assert len(data.train) == 8
    assert load_data(options).train is None
    assert asked == [True, False]
