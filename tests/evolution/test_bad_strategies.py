"""Strategies of a user's own that propose what a search must not score: refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest

import raynas
from raynas.score import Score
from raynas.testing import small_data, small_supernet


@final
@dataclass(frozen=True)
class Fixed(raynas.Strategy):
    """Proposes the same thing in every generation."""

    proposal: Any = None

    def ask(
        self, problem: raynas.Problem, state: raynas.State, rng: np.random.Generator
    ) -> raynas.Proposal:
        """What it was made with."""
        answer: raynas.Proposal = self.proposal
        return answer

    def settings(self) -> dict[str, Any]:
        """Its name."""
        return {"strategy": "Fixed"}


def search(strategy: raynas.Strategy, directory: Path, **options: Any) -> None:
    """Search a small supernet in this process."""
    supernet = small_supernet(blocks=3, choices=3)
    raynas.search(
        supernet, small_data(), strategy=strategy, run_dir=directory, workers=0, **options
    )


PROPOSALS = {
    "beyond the limit": raynas.Proposal((), ((2, 2, 2),)),
    "rescored beyond the limit": raynas.Proposal((), (), ((2, 2, 2),)),
    "another length": raynas.Proposal((), ((0, 0),)),
    "no such choice": raynas.Proposal((), ((0, 0, 3),)),
    "another prefix": raynas.Proposal((1,), ((0, 0, 0),)),
    "no proposal": None,
    "a list": [(0, 0, 0)],
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_what_is_not_legal_is_not_scored(name: str, tmp_path: Path) -> None:
    limit = raynas.FLOPs(at_most="80%")
    with pytest.raises(raynas.InputError, match=r"^strategy: expected "):
        search(Fixed(proposal=PROPOSALS[name]), tmp_path, constraint=limit)
    assert not (tmp_path / "generations.jsonl").exists()


def none_survive(scores: Sequence[Score], count: int) -> tuple[Score, ...]:
    """Keep nothing."""
    return ()


def test_a_search_without_finalists_says_so(tmp_path: Path) -> None:
    strategy = raynas.RandomSearch(population=2, generations=1, survival=none_survive)
    with pytest.raises(raynas.InputError, match=r"^strategy: expected at least one finalist"):
        search(strategy, tmp_path)
