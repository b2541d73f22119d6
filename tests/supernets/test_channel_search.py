"""Supernets whose choices slice shared weights: trained, searched, and measured."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from plain_scoring import score_plainly
from supernet_zoo import channel_spos, scrambled
from torch import Tensor, nn

import raynas
from raynas.costs.timing import TimingSettings, measure_latency, part_calls
from raynas.data import SearchData
from raynas.evaluation.weights import Weights
from raynas.export import plain_subnet
from raynas.shards.shard import make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, SlicedConv2d
from raynas.training import PathSampler, TrainingSettings, train

BLOCKS = ("c5", "x")


@cache
def data() -> SearchData:
    rng = np.random.default_rng(0)

    def split(name: str, count: int) -> list[raynas.data.Shard]:
        pixels = rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        return make_shards(pixels, rng.integers(0, 5, count), split=name, shard_size=count // 2)

    return SearchData("noise", 5, split("calibration", 24), split("validation", 40), ())


class Batches:
    """Three batches of 16 random images."""

    def __len__(self) -> int:
        return 48

    def batches(self, batch_size: int, *, seed: int, epoch: int):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(3):
            images = torch.randint(0, 256, (16, 1, 8, 8), generator=generator, dtype=torch.uint8)
            yield images, torch.randint(0, 5, (16,), generator=generator)


class OnePath(PathSampler):
    """One architecture in every step."""

    def __init__(self, path: Architecture) -> None:
        self.path = path

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        return (self.path,)


def settings(**changes: object) -> TrainingSettings:
    given = {"epochs": 1, "batch_size": 16, "learning_rate": 0.1, "momentum": 0.0, "device": "cpu"}
    return TrainingSettings(**{**given, **changes})


def state(supernet: ChainSupernet) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


def outside(module: SlicedConv2d, weight: Tensor) -> Tensor:
    """The elements of a weight that are beyond a slice."""
    beyond = torch.ones_like(weight, dtype=torch.bool)
    beyond[: module.outputs, : module.inputs // module.groups] = False
    return weight[beyond]


def test_a_step_touches_the_weights_of_the_operations_that_it_takes() -> None:
    """The rest of those weights decays; other operations, and statistics of other widths, stay."""
    supernet = scrambled(channel_spos())
    before = state(supernet)
    path = supernet.encode(("c3@0.4", "x@1.2"))
    train(supernet, Batches(), settings(weight_decay=0.5), paths=OnePath(path))
    after = state(supernet)
    rates = [settings().learning_rate_at(step, 3) for step in range(3)]
    decay = np.prod([1 - rate * 0.5 for rate in rates])
    for block, taken in enumerate(path):
        for choice in range(32):
            prefix = f"blocks.{block}.{choice}."
            changed = {n for n in before if n.startswith(prefix) and not before[n].equal(after[n])}
            weights = {n for n in changed if n.endswith("weight")}
            if choice // 8 != taken // 8:
                assert not changed
            elif choice != taken:
                # Only the statistics of the projection that all widths share.
                assert all("branch_proj" in name for name in changed - weights)
        for name, module in supernet.node((0,) * block + (taken,)).named_modules():
            if isinstance(module, SlicedConv2d):
                full = f"blocks.{block}.{taken}.{name}.weight"
                found, expected = (outside(module, each[full]) for each in (after, before))
                torch.testing.assert_close(found, expected * decay)
                whole = module.weight.numel() == module.sliced_weight().numel()
                assert whole == (len(found) == 0)


def test_momentum_carries_weights_beyond_a_slice() -> None:
    """As torch's optimizer does for elements whose gradient is zero."""
    supernet = scrambled(channel_spos(blocks=BLOCKS))
    before = supernet.node((7,)).branch_main[0].weight.detach().clone()

    class WideThenNarrow(PathSampler):
        def __init__(self) -> None:
            self.seen: list[Tensor] = []

        def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
            self.seen.append(supernet.node((7,)).branch_main[0].weight.detach().clone())
            return ((7 if len(self.seen) == 1 else 0, 4),)

    paths = WideThenNarrow()
    train(supernet, Batches(), settings(momentum=0.9, weight_decay=0.0), paths=paths)
    narrow = supernet.node((0,)).branch_main[0]
    moved = [outside(narrow, after - was) for was, after in pairwise(paths.seen)]
    assert torch.equal(paths.seen[0], before)
    rates = [settings().learning_rate_at(step, 3) for step in range(3)]
    # Nesterov: the first step is of gradient and momentum, the next ones of momentum alone.
    torch.testing.assert_close(moved[1] / rates[1], moved[0] / rates[0] * 0.81 / 1.9)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = (scrambled(channel_spos(blocks=BLOCKS)) for _ in range(2))
    terms = settings(epochs=2, momentum=0.9)
    train(whole, Batches(), terms)

    class Stop(Exception):
        pass

    def stop(report: object) -> None:
        raise Stop

    file = tmp_path / "training.pt"
    with pytest.raises(Stop):
        train(parts, Batches(), terms, checkpoint=file, observer=stop)
    again = scrambled(channel_spos(blocks=BLOCKS), seed=1)
    train(again, Batches(), terms, checkpoint=file)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(
        whole.state_dict().values(), again.state_dict().values(), strict=True
    ))  # fmt: skip


def test_scores_are_those_of_plain_torch() -> None:
    supernet, found = scrambled(channel_spos(blocks=BLOCKS)), data()
    rng = np.random.default_rng(0)
    architectures = [supernet.space.sample(rng) for _ in range(4)]
    # The projections of these, at stride 2, share batch norms.
    architectures += [(3, width) for width in (0, 4, 7)]
    scores = raynas.evaluate(supernet, found, architectures, workers=0)
    for score, architecture in zip(scores, architectures, strict=True):
        plain = score_plainly(supernet, architecture, found.calibration, found.validation)
        assert score.top1 == pytest.approx(plain.correct.mean())
        assert score.loss == pytest.approx(plain.losses.mean(), rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"stages": ((12, 1, 2),)}, {"blocks": BLOCKS}], ids=["joint", "fixed"]
)
def test_a_search_ends_with_the_slices_of_the_best(options: dict, tmp_path: Path) -> None:
    supernet = scrambled(channel_spos(**options))
    result = raynas.search(
        supernet,
        data(),
        strategy=raynas.PCFES(population=6, generations=3, top_k=3, threshold=0.5),
        constraint=raynas.FLOPs(at_most="80%"),
        workers=0,
        run_dir=tmp_path,
    )
    best = result.best
    exported = result.export(tmp_path / "best")
    held = torch.export.load(exported.directory / "model.pt2").module()
    own = plain_subnet(supernet, best.architecture, None)
    norms = sum(2 * m.num_features for m in own.modules() if isinstance(m, nn.BatchNorm2d))
    parameters = sum(each.numel() for each in held.parameters())
    assert parameters + norms == best.costs["params"]
    images = torch.cat([torch.tensor(shard.features) for shard in data().validation])
    labels = np.concatenate([shard.labels for shard in data().validation])
    right = held(images).argmax(1).numpy() == labels
    assert right.mean() == pytest.approx(best.top1)


def test_latencies_are_those_of_plain_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = scrambled(channel_spos(blocks=BLOCKS))
    measured: list[ChainSupernet] = []

    def calls(replica: ChainSupernet, *given: object) -> list:
        measured.append(replica)
        return part_calls(replica, *given)

    monkeypatch.setattr("raynas.costs.timing.part_calls", calls)
    held = measure_latency(supernet, TimingSettings(batches=(1,), rounds=1, subnets=2))
    assert len(held.batches[1].blocks[0]) == 8
    assert not any(isinstance(part, SlicedConv2d) for part in measured[0].modules())
    assert any(isinstance(part, SlicedConv2d) for part in supernet.modules())


def test_shared_weights_travel_once() -> None:
    supernet = channel_spos(blocks=BLOCKS)
    sent = Weights.of(supernet, "1").tensors
    assert len(sent) > len({id(each) for each in sent.values()})
    names = dict(supernet.named_parameters(remove_duplicate=False))
    assert all(torch.equal(sent[name], each) for name, each in names.items())
    shared = {id(sent[name]) for name in names}
    assert len(shared) == len(list(supernet.parameters()))
