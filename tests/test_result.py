"""What a result says is what a naive re-computation says."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_search import (
    SAMPLED,
    SETTINGS,
    CountedShards,
    Setting,
    records,
    run_search,
    small_data,
    small_supernet,
    strict_json,
)
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from raynas.costs import flops_table, params_table, resolve_limits
from raynas.errors import InputError
from raynas.evolution import Problem, Proposal, RandomSearch, Score, State, Strategy
from raynas.replay import recorded_scores
from raynas.result import SearchResult
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.testing.supernets import SHAPE

KEYS = {
    *("architecture", "top1", "top5", "test_top1", "flops", "params", "strategy", "generations"),
    *("evaluations", "frozen", "seconds", "gpu_hours", "energy_j", "workers", "seed"),
}
"""What `result.json` has at least."""


@pytest.fixture(scope="module", params=SETTINGS)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SearchResult, Setting]:
    run_dir, setting = tmp_path_factory.mktemp("result") / "run", SETTINGS[request.param]
    return run_dir, run_search(run_dir, setting), setting


def naive_logits(
    supernet: ChainSupernet, architecture: Architecture, shards: list[Shard], inherited: bool
) -> list[torch.Tensor]:
    """Logits of one architecture as a plain module, calibrated on nothing but whole batches."""
    subnet = copy.deepcopy(supernet.subnet(architecture)).to(memory_format=torch.channels_last)
    subnet = subnet.eval()
    norms = [layer for layer in subnet.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not inherited:
        seen: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        for shard in small_data().calibration:
            subnet(images(shard))
            seen.append([(n.running_mean.double(), n.running_var.double()) for n in norms])
        for norm, *batches in zip(norms, *seen, strict=True):
            norm.eval()
            norm.running_mean = (sum(mean for mean, _ in batches) / len(batches)).float()
            norm.running_var = (sum(var for _, var in batches) / len(batches)).float()
    return [subnet(images(shard)) for shard in shards]


def images(shard: Shard) -> torch.Tensor:
    return torch.tensor(shard.features).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def naive_score(architecture: Architecture, shards: list[Shard], inherited: bool) -> dict[str, Any]:
    logits = torch.cat(naive_logits(small_supernet(), architecture, shards, inherited))
    labels = torch.tensor(np.concatenate([shard.labels for shard in shards]))
    order = logits.argsort(dim=1, descending=True)
    return {
        "top1": int((order[:, 0] == labels).sum()) / len(labels),
        "top5": int((order[:, :5] == labels[:, None]).any(1).sum()) / len(labels),
        "loss": float(functional.cross_entropy(logits.double(), labels)),
    }


def last_state(run_dir: Path, setting: Setting) -> State:
    """The state that the recorded scores lead to."""
    supernet = small_supernet()
    problem = Problem(supernet.space, resolve_limits(setting.constraint, supernet))
    state = setting.strategy.start()
    for record in records(run_dir):
        rng = np.random.default_rng([2, state.generation])
        proposal = setting.strategy.ask(problem, state, rng)
        state = setting.strategy.tell(state, proposal, recorded_scores(record))
    return state


def test_the_winner_is_the_best_finalist_under_the_full_protocol(
    finished: tuple[Path, SearchResult, Setting],
) -> None:
    run_dir, result, setting = finished
    inherited = setting.evaluation.batch_norm == "inherit"
    finalists = setting.strategy.finalists(last_state(run_dir, setting))
    data = small_data()
    scores = {a: naive_score(a, list(data.validation), inherited) for a in finalists}
    assert {tuple(f["architecture"]): f["top1"] for f in result.record["finalists"]} == {
        architecture: score["top1"] for architecture, score in scores.items()
    }
    best = min(scores, key=lambda a: (-scores[a]["top1"], scores[a]["loss"], a))
    assert result.best.architecture == best
    assert result.best.top1 == scores[best]["top1"]
    assert result.best.top5 == scores[best]["top5"]
    assert result.record["loss"] == pytest.approx(scores[best]["loss"], rel=1e-5)
    tested = naive_score(best, list(data.test), inherited)
    assert result.best.test_top1 == tested["top1"]
    assert result.record["test_top5"] == tested["top5"]


def test_costs_are_those_of_the_subnet(finished: tuple[Path, SearchResult, Setting]) -> None:
    _, result, _ = finished
    supernet = small_supernet()
    subnet = supernet.subnet(result.best.architecture)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subnet(torch.zeros((1, *SHAPE), dtype=torch.uint8))
    assert result.best.flops == counter.get_total_flops() // 2
    assert result.best.flops == flops_table(supernet).of(result.best.architecture)
    norms = [layer for layer in subnet.modules() if isinstance(layer, nn.BatchNorm2d)]
    affine = sum(2 * norm.num_features for norm in norms)
    assert result.best.params == sum(p.numel() for p in subnet.parameters()) + affine
    assert result.best.params == params_table(supernet).of(result.best.architecture)


def test_the_record_sums_up_the_generations(finished: tuple[Path, SearchResult, Setting]) -> None:
    run_dir, result, setting = finished
    record, generations = result.record, records(run_dir)
    metrics = records(run_dir, "metrics.jsonl")
    assert record == strict_json(run_dir / "result.json")
    assert set(record) >= KEYS
    assert record["strategy"] == type(setting.strategy).__name__
    assert record["frozen"] == [len(g["prefix"]) for g in generations]
    assert record["generations"] == len(generations) == len(metrics)
    evaluated = [s for g in generations for s in (*g["rescored"], *g["population"])]
    assert record["evaluations"] == len(evaluated) == sum(m["candidates"] for m in metrics)
    assert record["not_finite"] == 0
    assert record["seconds"] == pytest.approx(
        sum(m["seconds"] for m in metrics) + record["final_seconds"]
    )
    assert record["replay_seconds"] == 0
    assert record["workers"] == 0
    assert record["seed"] == 2
    assert record["gpu_hours"] is None
    assert record["energy_j"] is None or record["energy_j"] >= 0
    assert record["finished"] == generations[-1]["finished"]
    table, limit = flops_table(small_supernet()), setting.constraint
    legal = [
        a
        for a in small_supernet().space.enumerate()
        if limit is None or table.of(a) <= limit.at_most
    ]
    assert record["legal_architectures"] == len(legal)
    assert result.best.record().items() <= record.items()


def test_blocks_below_the_prefix_are_not_executed(tmp_path: Path) -> None:
    setting = SETTINGS["pcf, weighted samples"]
    assert not setting.evaluation.prefix_sharing, "each candidate executes its own blocks"
    run_search(tmp_path, setting)
    calibration, validation, blocks, frozen = 32, 62, 8, 0
    for metrics, record in zip(records(tmp_path, "metrics.jsonl"), records(tmp_path), strict=True):
        images = calibration + record["samples"]
        expected = (metrics["candidates"] - metrics["known"]) * (blocks - record["frozen"]) * images
        expected += (record["frozen"] - frozen) * images
        if record["frozen"] > frozen == 0:
            # One subnet is scored on all samples, so that its losses select some.
            expected += blocks * (calibration + validation)
        frozen = record["frozen"]
        assert metrics["block_forwards"] == expected
        assert metrics["frozen"] == frozen
        assert 0 <= metrics["freeze_seconds"] <= metrics["seconds"]
    assert frozen > 0


def test_beyond_its_first_shard_the_test_split_is_read_once_and_at_the_end(tmp_path: Path) -> None:
    data = small_data()
    calibration, validation, tested = map(
        CountedShards, (data.calibration, data.validation, data.test)
    )

    def observe(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        assert tested.reads == [0], "to see that it can be used"

    data = replace(data, calibration=calibration, validation=validation, test=tested)
    run_search(tmp_path, SAMPLED, data=data, observer=observe)
    assert tested.reads == [0, 0, 1]
    assert (calibration.reads, validation.reads) == ([0, 0, 1], [0, 0, 1, 2])


def test_without_a_test_split(tmp_path: Path) -> None:
    result = run_search(tmp_path, data=small_data(test=0))
    assert result.best.test_top1 is None
    assert strict_json(tmp_path / "result.json")["test_top5"] is None


@dataclass(frozen=True)
class Backwards(Strategy):
    """A random search for the worst finalist."""

    members: int = 2

    def ask(self, problem: Problem, state: State, rng: np.random.Generator) -> Proposal:
        return RandomSearch(self.population, self.generations).ask(problem, state, rng)

    def front(self, scores: Sequence[Score]) -> tuple[Score, ...]:
        return tuple(sorted(scores, key=lambda score: score.value)[: self.members])


def test_the_winner_is_the_first_member_of_the_front(tmp_path: Path) -> None:
    setting = Setting(Backwards(population=8, generations=1, top_k=8))
    result = run_search(tmp_path / "run", setting)
    worst = sorted(result.record["finalists"], key=lambda score: score["top1"])[:2]
    assert worst[0]["top1"] < max(score["top1"] for score in result.record["finalists"])
    assert [list(m.architecture) for m in result.front] == [s["architecture"] for s in worst]
    assert result.best is result.front[0]
    assert result.best.test_top1 is not None


def test_a_front_without_members_is_refused(tmp_path: Path) -> None:
    setting = Setting(Backwards(population=2, generations=1, members=0))
    with pytest.raises(InputError, match=r"^strategy: expected a front of at least one finalist"):
        run_search(tmp_path, setting)
