"""Bad input of the API: one error that says what to change, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_search import (
    PCF,
    Setting,
    contents,
    count_calls,
    records,
    run_search,
    small_data,
    small_supernet,
)

import raynas
from raynas.data import SearchData
from raynas.data.decoding import DecodedShards
from raynas.errors import InputError
from raynas.shards.shard import Shard, make_shards
from raynas.testing.supernets import CLASSES, SHAPE


def shards(split: str, labels: list[int], shape: tuple[int, ...] = SHAPE, size: int = 2) -> Any:
    pixels = np.zeros((len(labels), *shape), dtype=np.uint8)
    return make_shards(pixels, np.array(labels), split=split, shard_size=size)


DATA: dict[str, tuple[Callable[[], SearchData], str]] = {
    "another number of classes": (
        lambda: replace(small_data(), num_classes=7),
        r"supernet: expected 7 classes, as noise has, got 6\. ",
    ),
    "no classes": (
        lambda: replace(small_data(), num_classes=None),
        r"supernet: expected no num_classes beside noise, .* Leave num_classes out, and give",
    ),
    "a label too high": (
        lambda: replace(small_data(), validation=shards("validation", [0, 1, CLASSES])),
        r"validation labels: expected 0 to 5, one of 6 classes, got 1 others, the first \[6\]\. ",
    ),
    "a negative label": (
        lambda: replace(small_data(), calibration=shards("calibration", [0, 1, 2, -1])),
        r"calibration labels: expected 0 to 5, one of 6 classes, got 1 others, the first \[-1\]\. ",
    ),
    "images of another size": (
        lambda: replace(small_data(), validation=shards("validation", [0, 1], (1, 7, 6))),
        r"validation images: expected shape \(1, 6, 6\), which .* got \(1, 7, 6\)\. ",
    ),
    "images in colour": (
        lambda: replace(small_data(), calibration=shards("calibration", [0, 1], (3, 6, 6))),
        r"calibration images: expected shape \(1, 6, 6\)",
    ),
    "no validation images": (
        lambda: replace(small_data(), validation=[]),
        r"data: expected at least one validation shard, got none in noise\. ",
    ),
    "no calibration images": (
        lambda: replace(small_data(), calibration=[]),
        r"of at least two samples each, got no calibration samples at all\. .*'inherit'",
    ),
    "one image to calibrate on": (
        lambda: replace(small_data(), calibration=shards("calibration", [0, 1, 2])),
        r"calibration: expected shards of at least two samples each, got \[2, 1\]\. ",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_do_not_fit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, (data, message) = count_calls(monkeypatch), DATA[name]
    with pytest.raises(InputError, match=message):
        run_search(tmp_path / "run", data=data())
    assert not list(tmp_path.iterdir())
    assert calls == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"constraint": raynas.FLOPs(at_most=1499)},
            r"constraint: expected a limit of at least 1,500 flops, the cost of the cheapest "
            r"architecture \[0, 0, 0, 0, 0, 0, 0, 0\] \(.*\), got at most 1,499\. Raise the",
        ),
        (
            {"constraint": raynas.Params(at_most=10)},
            r"constraint: expected a limit of at least \d+ params, .* got at most 10\. Raise",
        ),
        ({"seed": -1}, r"seed: expected a whole number from 0 to below 2\*\*64, got -1\. "),
        ({"workers": -1}, r"workers: expected 0 \(this process\), .* got -1\. "),
    ],
)
def test_a_search_that_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_search(tmp_path / "run", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"constraint": raynas.FLOPs(at_most=1499)}, "constraint: expected a limit"),
        ({"workers": -1}, "workers: "),
    ],
)
def test_a_check_finds_it_before_any_training(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"run_dir": tmp_path / "run", "workers": 0, **options}
    with pytest.raises(InputError, match=message):
        raynas.check_search(small_supernet(), small_data(), **arguments)
    assert not list(tmp_path.iterdir())


def test_weights_of_samples_beside_a_selection(tmp_path: Path) -> None:
    first = small_data().validation[0]
    heavy = Shard.build(
        first.stored, first.targets, first.samples, np.arange(first.rows), split="validation"
    )
    arguments: dict[str, Any] = {
        "data": replace(small_data(), validation=[heavy]),
        "evaluation": raynas.Evaluation(sample_rate=0.5, device="cpu"),
        "run_dir": tmp_path / "run",
        "workers": 0,
    }
    for do, more in ((raynas.check_search, {}), (raynas.search, {"strategy": PCF})):
        with pytest.raises(InputError, match="validation weights: expected 1 for every sample"):
            do(small_supernet(), **arguments, **more)
    assert not list(tmp_path.iterdir())


def test_a_check_looks_at_the_run_directory_and_counts(tmp_path: Path) -> None:
    legal = raynas.check_search(
        small_supernet(),
        small_data(),
        run_dir=tmp_path / "run",
        constraint=raynas.FLOPs(at_most=1500 + 1152),
        workers=0,
    )
    assert legal == 9
    assert not list(tmp_path.iterdir()), "a check writes nothing"
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="run_dir: expected a directory without a run"):
        raynas.check_search(small_supernet(), small_data(), run_dir=tmp_path, workers=0)
    raynas.check_search(small_supernet(), small_data(), run_dir=tmp_path, workers=0, resume=True)
    assert contents(tmp_path) == {"config.json": b"{}"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: raynas.PCFES(threshold=0.0), "threshold: expected a share between 0 and 1"),
        (lambda: raynas.PCFES(threshold=1.0), "threshold: expected a share between 0 and 1"),
        (lambda: raynas.CFES(threshold=float("nan")), "threshold: expected a share between"),
        (lambda: raynas.PCFES(block_ratio=1.0), "block_ratio: expected a share from 0"),
        (lambda: raynas.PCFES(monitor=0), "monitor: expected at least 1"),
        (lambda: raynas.CFES(census="all"), "census: expected 'population' or 'top_k'"),
        (lambda: raynas.EA(population=0), "population: expected at least 1"),
        (lambda: raynas.EA(generations=0), "generations: expected at least 1"),
        (lambda: raynas.RandomSearch(top_k=0), "top_k: expected at least 1"),
        (lambda: raynas.EA(mutation_probability=1.5), "mutation_probability: expected a prob"),
        (lambda: raynas.EA(crossover=40, mutation=40), r"crossover \+ mutation: expected at most"),
        (lambda: raynas.Evaluation(bits=2), "bits: expected 32 or 16 or 8 or 4, got 2"),
        (lambda: raynas.Evaluation(sample_rate=0.0), "sample_rate: expected a share above 0"),
        (
            lambda: raynas.Evaluation(unfrozen_sample_rate=0.0),
            "unfrozen_sample_rate: expected a share above 0",
        ),
        (
            lambda: raynas.Evaluation(unfrozen_sample_rate=0.5),
            "sampling: expected 'disagreement', beside an unfrozen_sample_rate below 1",
        ),
        (
            lambda: raynas.Evaluation(sampling="disagreement", unfrozen_sample_rate=0.5),
            r"sample_rate: expected at most the unfrozen_sample_rate, 0\.5, got 1\.0",
        ),
        (lambda: raynas.Evaluation(voters=10), "voters: expected at least 2, beside an unfroz"),
        (lambda: raynas.Evaluation(sample_rate=1.01), "sample_rate: expected a share above 0"),
        (lambda: raynas.Evaluation(sample_rate=float("nan")), "sample_rate: expected a share"),
        (lambda: raynas.Evaluation(threads=0), "threads: expected a whole number from 1 to"),
        (lambda: raynas.Evaluation(batch_norm="none"), "batch_norm: expected 'recalibrate' or"),  # type: ignore[arg-type]
        (lambda: raynas.Evaluation(sampling="all"), "sampling: expected 'top' or 'weighted'"),  # type: ignore[arg-type]
        (lambda: raynas.Evaluation(device="tpu"), "device: expected 'auto' or 'cpu' or 'cuda'"),  # type: ignore[arg-type]
        (lambda: raynas.FLOPs(at_most=0), r"FLOPs\(at_most\): expected a positive finite number"),
        (lambda: raynas.FLOPs(at_most=float("inf")), r"FLOPs\(at_most\): expected a positive"),
        (lambda: raynas.Params(at_most=float("nan")), r"Params\(at_most\): expected a positive"),
    ],
)
def test_settings_out_of_range(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def folder(root: Path, *, broken: int, images: int = 110) -> Path:
    """Images of 8×8 pixels in two classes, some of which cannot be read."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number:03d}.png")
    for number in range(broken):
        (root / "train" / "cat" / f"{number:03d}.png").write_bytes(b"no image")
    return root


def load(root: Path) -> SearchData:
    return raynas.data.imagenet(
        root, calibration=110, validation=110, test=20, image_size=8, resize=8, shard_size=55
    )


def colour_supernet() -> raynas.ChainSupernet:
    return raynas.supernets.spos(
        2, image_size=8, stem_channels=4, stem_stride=1, stages=((8, 2, 2),), head_channels=8
    )


SHORT = Setting(replace(PCF, population=3, generations=1), raynas.Evaluation(device="cpu"))


def test_a_folder_with_an_unreadable_image_is_searched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(folder(tmp_path / "images", broken=1))
    run_search(tmp_path / "run", SHORT, data=data, supernet=colour_supernet())
    (record,) = records(tmp_path / "run")
    assert isinstance(data.calibration, DecodedShards)
    assert isinstance(data.validation, DecodedShards)
    assert record["samples"] == 110 - len(data.validation.skipped)
    (skipped,) = (*data.calibration.skipped, *data.validation.skipped)
    assert skipped.endswith("cat/000.png")
    assert skipped in caplog.text


def test_a_folder_with_many_unreadable_images_is_not(tmp_path: Path) -> None:
    data = load(folder(tmp_path / "images", broken=30))
    with pytest.raises(InputError, match=r"images: expected at most 1% of 110 .* so far: .*png"):
        run_search(tmp_path / "run", SHORT, data=data, supernet=colour_supernet())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "root: expected a folder of class folders"),
        (lambda root: (root / "train").mkdir(parents=True), "root: expected a folder of class"),
        (lambda root: (root / "train" / "cat").mkdir(parents=True), "none in 1 of 1: cat"),
    ],
)
def test_an_empty_folder(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "images")
    with pytest.raises(InputError, match=message):
        load(tmp_path / "images")
