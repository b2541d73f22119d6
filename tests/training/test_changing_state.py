"""State beside parameters that a training changes: resumed ones and filters of paths know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_chains import random_shards
from torch import Tensor, nn

from raynas.data import ArrayImages
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.population.path_filter import open_path_filter
from raynas.supernets import ChainSupernet, Normalize, load
from raynas.supernets.plain_state import NONE, PlainState, copied, put, same
from raynas.training import GreedyPaths, GreedySettings, TrainingSettings, train

SETTINGS = TrainingSettings(epochs=3, batch_size=8, learning_rate=0.1, device="cpu")


class Changing(nn.Module):
    """Divides by what training leaves in one kind of state."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.kind = kind
        self.number = 2.0
        self.held: Any = {"list": [2.0], "dict": {"at": [2.0]}, "tensor": torch.tensor(2.0)}.get(
            kind
        )
        self.register_buffer("average", torch.tensor(2.0), persistent=False)
        self.register_buffer("once", torch.tensor(1.0), persistent=False)
        self.object = Schedule()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.training:
            self.change(float(y.detach().abs().mean()))
        return y / self.value()

    def change(self, size: float) -> None:
        now = 0.9 * float(self.value()) + 0.1 * size
        if self.kind == "number":
            self.number = now
        elif self.kind == "list":
            self.held[0] = now
        elif self.kind == "dict":
            self.held["at"] = [now]
        elif self.kind == "tensor":
            self.held = torch.tensor(now)
        elif self.kind == "buffer":
            self.average.fill_(now)
        elif self.kind == "dropped":
            self.once = None
        elif self.kind == "object":
            self.object.value = now

    def value(self) -> Any:
        if self.kind in ("list", "tensor"):
            return self.held[0] if self.kind == "list" else self.held
        if self.kind == "dict":
            return self.held["at"][0]
        if self.kind == "buffer":
            return self.average
        if self.kind == "dropped":
            return 2.0 if self.once is None else 1.0
        return self.object.value if self.kind == "object" else self.number


class Schedule:
    """An object of a user."""

    value = 2.0


def supernet_of(kind: str, seed: int = 0) -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 3, 3, padding=1))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
        blocks = [[Changing(kind), nn.Identity()] for _ in range(2)]
        return ChainSupernet(stem, blocks, head, image_shape=(1, 6, 6), num_classes=4)


def images(count: int = 32) -> ArrayImages:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    return ArrayImages(pixels, rng.integers(0, 4, count))


class Interrupted(Exception):
    """Stands for whatever ends a training early."""


def stop(report: Any) -> None:
    if report.epoch == 2:
        raise Interrupted


KINDS = ["number", "list", "dict", "tensor", "buffer", "dropped"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_goes_on_with_changed_state(kind: str, tmp_path: Path) -> None:
    whole, file = supernet_of(kind), tmp_path / "training.pt"
    train(whole, images(), SETTINGS)
    with pytest.raises(Interrupted):
        train(supernet_of(kind), images(), SETTINGS, checkpoint=file, observer=stop)
    resumed = supernet_of(kind, seed=1)
    train(resumed, images(), SETTINGS, checkpoint=file)
    expected = whole.state_dict()
    assert all(torch.equal(resumed.state_dict()[name], expected[name]) for name in expected)
    for mine, theirs in zip(resumed.modules(), whole.modules(), strict=True):
        if isinstance(mine, Changing) and isinstance(theirs, Changing):
            assert float(mine.value()) == float(theirs.value())
    # A finished one is read back, and what was put back stays in the file of a third process.
    again = supernet_of(kind, seed=2)
    train(again, images(), SETTINGS, checkpoint=file)
    assert all(torch.equal(again.state_dict()[name], expected[name]) for name in expected)
    load(supernet_of(kind), file)


def test_state_that_no_checkpoint_holds_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(supernet_of("object"), images(), SETTINGS, checkpoint=tmp_path / "training.pt")
    assert "blocks.0.0.object" in caplog.text
    caplog.clear()
    train(supernet_of("number"), images(), SETTINGS, checkpoint=tmp_path / "other.pt")
    assert "no checkpoint can hold" not in caplog.text


def test_checkpoints_of_before_are_read(tmp_path: Path) -> None:
    """They lack buffers that are not persistent, and attributes."""
    file = tmp_path / "training.pt"
    with pytest.raises(Interrupted):
        train(supernet_of("none"), images(), SETTINGS, checkpoint=file, observer=stop)
    content = torch.load(file, weights_only=True)
    assert content.pop("attributes") == []
    del content["buffers"]
    torch.save(content, file)
    whole, resumed = supernet_of("none"), supernet_of("none")
    train(whole, images(), SETTINGS)
    train(resumed, images(), SETTINGS, checkpoint=file)
    expected = whole.state_dict()
    assert all(torch.equal(resumed.state_dict()[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [("attributes", [["nowhere", "number", 1]]), ("attributes", 3), ("buffers", {"no.such": 1})],
)
def test_damaged_state_changes_nothing(key: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "training.pt"
    train(supernet_of("number"), images(), SETTINGS, checkpoint=file)
    torch.save({**torch.load(file, weights_only=True), key: value}, file)
    supernet = supernet_of("number", seed=1)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    with pytest.raises(InputError, match="checkpoint"):
        train(supernet, images(), SETTINGS, checkpoint=file)
    assert all(torch.equal(supernet.state_dict()[name], before[name]) for name in before)


def plain_losses(supernet: ChainSupernet, shards: list[Any], paths: list[Any]) -> list[float]:
    supernet.eval()
    with torch.no_grad():
        found = [
            float(
                torch.cat(
                    [
                        F.cross_entropy(
                            supernet(torch.tensor(s.features), path),
                            torch.tensor(s.targets),
                            reduction="none",
                        )
                        for s in shards
                    ]
                ).mean()
            )
            for path in paths
        ]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_paths_are_compared_with_the_state_of_the_moment(kind: str) -> None:
    supernet = supernet_of(kind).eval()
    shards = list(random_shards(supernet, "validation", 32, 16, seed=0))
    paths = [(0, 0), (0, 1), (1, 0), (1, 1)]
    settings = Evaluation(batch_norm="inherit", device="cpu")
    with open_path_filter(supernet, shards, evaluation=settings) as scorer:
        for _ in range(3):
            found = scorer.losses(paths, np.random.default_rng(0))
            np.testing.assert_allclose(found, plain_losses(supernet, shards, paths), rtol=2e-5)
            supernet.train()(torch.tensor(shards[0].features), (0, 0))
            supernet.eval()


def test_state_that_cannot_travel_is_refused_by_name() -> None:
    supernet = supernet_of("object")
    shards = list(random_shards(supernet, "validation", 32, 16, seed=0))
    greedy = GreedySettings.for_steps(12, supernet.space, sampled=3, kept=2, warm_up=2)
    settings = Evaluation(batch_norm="inherit", device="cpu")
    with open_path_filter(supernet, shards, evaluation=settings) as scorer:
        paths = GreedyPaths(supernet.space, scorer, greedy)
        with pytest.raises(InputError, match=r"blocks\.0\.0\.object") as caught:
            train(supernet, images(), SETTINGS, paths=paths)
    assert caught.value.argument == "supernet"


def test_shared_lists_stay_shared() -> None:
    first, second = supernet_of("list"), supernet_of("list")
    for supernet in (first, second):
        supernet.blocks[1][0].held = supernet.blocks[0][0].held
    state = PlainState(first)
    first.blocks[0][0].held[0] = 5.0
    put(second, state.changed())
    assert second.blocks[1][0].held is second.blocks[0][0].held
    assert second.blocks[1][0].held == [5.0]


def test_what_was_put_back_is_kept_for_the_next_process() -> None:
    """Also if the training then leads to the value that the modules began with."""
    supernet = supernet_of("number")
    state = PlainState(supernet)
    assert state.changed() == {}
    state.put_back({("blocks.0.0", "number"): 7.0})
    assert supernet.blocks[0][0].number == 7.0
    supernet.blocks[0][0].number = 2.0
    assert state.changed() == {("blocks.0.0", "number"): 2.0}


def test_what_a_forward_leaves_behind_is_no_state() -> None:
    supernet = supernet_of("none")
    state = PlainState(supernet)
    supernet.blocks[0][0].last = torch.zeros(2**17)
    supernet.blocks[0][0].maps = [torch.zeros(2**17)]
    assert state.changed() == {}
    assert state.otherwise_changed() == []
    supernet.blocks[0][0].hook = nn.Identity().forward
    assert state.otherwise_changed() == ["blocks.0.0.hook"]


def test_plain_values_survive_a_checkpoint(tmp_path: Path) -> None:
    values = {"shape": torch.Size((1, 2)), "type": torch.float16, "at": torch.device("cpu")}
    file = tmp_path / "training.pt"
    supernet = supernet_of("none")

    class Setting(nn.Flatten):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                vars(self).update(values, text=b"a", pair=(1, [None]))
            return super().forward(x)

    supernet.head[1] = Setting()
    train(supernet, images(), SETTINGS, checkpoint=file)
    again = supernet_of("none", seed=1)
    again.head[1] = Setting()
    train(again, images(), SETTINGS, checkpoint=file)
    held = vars(again.head[1])
    assert {name: held[name] for name in values} == values
    assert (held["text"], held["pair"]) == (b"a", (1, [None]))


def test_only_plain_values_are_copied() -> None:
    nested: list[Any] = []
    nested.append(nested)
    values = (1, "a", None, [1, (2.0, {"k": torch.ones(2)})], torch.Size((1, 2)), torch.float16)
    for value in values:
        assert same(copied(value), value)
    for other in ([object()], {object(): 1}, nested, len, torch.zeros(2**17), nn.Identity()):
        assert copied(other) is NONE
    assert same(float("nan"), float("nan"))
    assert not same(1, 1.0)
    assert not same(0.0, -0.0)
    assert not same({"a": 1}, {"b": 1})
    assert not same(torch.zeros(2), torch.zeros(3))
