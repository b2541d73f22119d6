"""A data set and supernets small enough to train in a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from raynas.data import SearchData
from raynas.shards.shard import make_shards
from raynas.supernets import ChainSupernet, spos
from raynas.supernets.inverted import SMALLEST, Choices, build, changed, macro_of
from raynas.training import TrainingSettings

SETTINGS = TrainingSettings(
    epochs=3, batch_size=32, learning_rate=0.1, warmup_epochs=0.5, seed=3, device="cpu"
)


@dataclass(frozen=True)
class Images:
    """Images in memory, moved by a pixel at random."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        for start in range(0, max(1, len(self) - batch_size + 1), batch_size):
            rows = order[start : start + batch_size]
            moved = np.roll(self.pixels[rows], rng.integers(-1, 2), axis=3)
            yield torch.from_numpy(moved), torch.from_numpy(self.labels[rows])

    def first(self, count: int) -> Images:
        return Images(self.pixels[:count], self.labels[:count])


def digits(count: int = 200) -> Images:
    bunch = load_digits()
    pixels = (bunch.images * 15.9).astype(np.uint8)[:, None]
    return Images(pixels, bunch.target.astype(np.int64)).first(count)


def small_supernet(seed: int = 0, **changes: object) -> ChainSupernet:
    arguments: dict[str, object] = {
        "image_size": 8,
        "image_channels": 1,
        "stem_channels": 8,
        "stem_stride": 1,
        "stages": ((16, 2, 2), (32, 1, 2)),
        "head_channels": 32,
        "mean": (0.3,),
        "std": (0.35,),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spos(10, **(arguments | changes))


def small_bottlenecks(seed: int = 0, first: int = 2) -> ChainSupernet:
    """`first` + 1 blocks of four choices: expansions 3 and 6, without SE and with it."""
    sizes = {"stages": ((6, first, 1), (8, 1, 2)), "stem_channels": 4, "separable_channels": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        macro = macro_of(changed(SMALLEST, {**sizes, "head_channels": 12}))
        return build(10, macro, Choices(kernels=(3,), se=True), {"builder": "tests"})


def few_digits(validation: int = 30, calibration: int = 12) -> SearchData:
    """Digits to calibrate and to score on, beside the first hundred, which are for training."""
    every = digits(200)
    shards = {
        split: make_shards(
            every.pixels[100 : 100 + count], every.labels[100 : 100 + count],
            split=split, shard_size=10,
        ) if count else ()
        for split, count in (("calibration", calibration), ("validation", validation))
    }  # fmt: skip
    return SearchData("few", 10, shards["calibration"], shards["validation"], ())


def with_settings(**changes: object) -> TrainingSettings:
    return replace(SETTINGS, **changes)


def state(supernet: ChainSupernet) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
