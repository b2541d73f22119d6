"""Workers that run out of memory: the search goes on, and its user hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from narrow_supernets import EVERYONE, ROOM, Narrow, history, narrow_scene
from random_chains import Scene, random_shards, with_blocks
from torch import Tensor

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.ledger.ledger import Ledger
from raynas.population.evaluated import Known, Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.workers.pool import LocalPool


def scored(records: list[Any]) -> list[tuple[Any, int]]:
    return [(score.architecture, score.correct) for score in records]


def test_the_search_goes_on_and_says_so_once(tmp_path: Path):
    found, halvings, said = history(narrow_scene(tmp_path, ROOM), workers=0)
    whole, none, nothing = history(narrow_scene(tmp_path / "other", 6), workers=0)
    assert scored(found) == scored(whole)
    assert [s.loss for s in found] == pytest.approx([s.loss for s in whole], rel=1e-3)
    # Five validation shards: scored, advanced, and held out.
    assert (halvings, none) == (15, 0)
    assert nothing == []
    assert len(said) == 1
    assert "out of memory" in said[0]
    assert "smaller shard_size" in said[0]


def test_calibration_shards_that_do_not_fit_are_refused(tmp_path: Path):
    scene = narrow_scene(tmp_path, ROOM)
    larger = random_shards(scene.supernet, "calibration", 20, 5, seed=1)
    with pytest.raises(InputError, match="out of memory with 5 images") as caught:
        history(Scene(scene.supernet, larger, scene.validation, 0), workers=0)
    assert caught.value.argument == "shard_size"


class Rounding(Narrow):
    """Rounds by the size of the batch, as kernels may."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 + 1e-6 * len(x))


def opened(scene: Scene, room: int, ledger: Ledger) -> PopulationEvaluator:
    """An evaluator of the same supernet on a machine that has room for so many samples."""
    blocks = [list(choices) for choices in scene.supernet.blocks]
    blocks[1][-1] = Rounding(room)
    protocol = Evaluation(device="cpu", bits=8)
    pool = LocalPool(with_blocks(scene.supernet, blocks), protocol)
    splits = Splits(scene.calibration, scene.validation)
    return PopulationEvaluator(pool, splits, protocol, 0, Known(ledger, "supernet"))


@pytest.mark.filterwarnings("ignore:a worker ran out of memory")
def test_searches_at_once_share_a_ledger_though_one_has_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = narrow_scene(tmp_path, 6)
    with Ledger(tmp_path / "scores") as mine, Ledger(tmp_path / "scores") as theirs:
        narrow, wide = opened(scene, ROOM, mine), opened(scene, 6, theirs)
        outcomes = narrow._maps.outcomes
        exact: list[Any] = []

        def meanwhile(*arguments: Any) -> Any:
            exact.extend(wide.score(EVERYONE))
            return outcomes(*arguments)

        monkeypatch.setattr(narrow._maps, "outcomes", meanwhile)
        found = narrow.score(EVERYONE)
        assert scored(found) == scored(exact)
        assert found != exact, "the last bits differ"
        assert narrow.score(EVERYONE) == found, "nothing is evaluated twice"
        assert opened(scene, ROOM, theirs).score(EVERYONE) == exact


@pytest.mark.filterwarnings("ignore:a worker ran out of memory")
def test_scores_of_halved_batches_are_not_kept_for_other_searches(tmp_path: Path) -> None:
    scene = narrow_scene(tmp_path, 6)
    with Ledger(tmp_path / "scores") as ledger:
        narrow = opened(scene, ROOM, ledger)
        narrow.score(EVERYONE[:1] + EVERYONE[4:5])
        kept = sum(count for _, count in ledger.counts())
        assert kept == 2, "nothing was halved"
        narrow.score([(0, 1, 0)])
        # Scored in whole batches, but behind shards that were advanced in halves.
        narrow.freeze((0, 1), (0, 1, 0))
        before = narrow.counters.halvings
        narrow.score([(0, 1, 0), (0, 1, 1)])
        assert narrow.counters.halvings == before > 0
        assert sum(count for _, count in ledger.counts()) == kept
        assert narrow.counters.known == 0
        narrow.score([(0, 1, 0), (0, 1, 1)])
        assert narrow.counters.known == 2
