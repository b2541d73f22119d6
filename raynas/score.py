"""`Score`: what the evaluation says of one architecture, from the worker to the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from typing import Any, TypeVar, final

from raynas.space import Architecture

Other = TypeVar("Other")


def finite_or(value: float, other: Other) -> float | Other:
    """A number, or something else for what no record could tell apart: NaN and both infinities."""
    return value if isfinite(value) else other


@final
@dataclass(frozen=True)
class Score:
    """The score of one architecture under one protocol.

    Args:
        architecture: all its choices.
        objectives: (weighted) means over the samples by name, such as `top1` and `top5`; the first
            is what a search maximises.
        loss: the (weighted) mean loss; it breaks ties. Infinite if an output was not finite.
        finite: whether all outputs were finite.
        samples: how many samples were evaluated.
        correct: how many of them count as correct, where the first objective is such a share.
        costs: of the architecture, by name; evaluators leave them to the search.
    """

    architecture: Architecture
    objectives: Mapping[str, float] = field(hash=False)
    loss: float
    finite: bool = True
    samples: int = 0
    correct: int | None = None
    costs: Mapping[str, int | float] = field(default_factory=dict, hash=False)

    @property
    def value(self) -> float:
        """The first objective: what a search maximises."""
        return next(iter(self.objectives.values()))

    @property
    def usable(self) -> bool:
        """Whether it is a number that others compare with."""
        return self.finite and isfinite(self.value) and isfinite(self.loss)

    @property
    def top1(self) -> float:
        """The share of correct samples; `KeyError` where the task is no classification."""
        return self.objectives["top1"]

    @property
    def known_objectives(self) -> dict[str, float | None]:
        """The objectives as JSON can hold them: `None` for what is not finite."""
        return {name: finite_or(value, None) for name, value in self.objectives.items()}

    def text(self) -> str:
        """The objectives and the loss for a person to read; shares in per cent."""
        parts = [
            f"{name} {value:.2%}" if name in ("top1", "top5") else f"{name} {value:.4f}"
            for name, value in self.objectives.items()
        ]
        return ", ".join([*parts, f"loss {self.loss:.4f}"])

    def record(self) -> dict[str, Any]:
        """The score as a JSON object; numbers that are not finite are null."""
        counted = {} if self.correct is None else {"correct": self.correct}
        priced = {"costs": dict(self.costs)} if self.costs else {}
        return {
            "architecture": list(self.architecture),
            **counted,
            **self.known_objectives,
            "loss": finite_or(self.loss, None),
            "finite": self.finite,
            "samples": self.samples,
            **priced,
        }

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Score:
        """The inverse of `record`, but that losses that are not finite come back infinite, and
        objectives as NaN.

        Raises:
            KeyError, TypeError, ValueError: the record is not that of a score.
        """
        known = ("architecture", "correct", "loss", "finite", "samples", "costs")
        objectives = {
            name: nan if value is None else float(value)
            for name, value in record.items()
            if name not in known
        }
        if not objectives:
            raise ValueError("a score without objectives")
        return Score(
            tuple(map(int, record["architecture"])),
            objectives,
            inf if record["loss"] is None else float(record["loss"]),
            bool(record["finite"]),
            int(record["samples"]),
            None if record.get("correct") is None else int(record["correct"]),
            dict(record.get("costs", {})),
        )


def rank_key(score: Score) -> tuple[bool, float, float, Architecture]:
    """The sort key that puts the best score first.

    Finite scores first, then the highest first objective, the lowest loss and the lexicographically
    first architecture; nothing is rounded. The loss of a score that is not finite means nothing, so
    it orders nothing; a NaN ranks as the worst, since comparisons with NaN would make the order
    depend on that of the input.
    """
    value = score.value
    usable = score.usable
    first = inf if value != value else -value
    return (not usable, first, score.loss if usable else inf, score.architecture)


def members_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of everything that a search found, the best one first.

    Args:
        result: of the search, as its `result.json` has it.

    Returns:
        The members of its front, or, where it searched for one winner, its finalists, each once.
    """
    members: list[dict[str, Any]] = result["front"]
    if len(members) > 1:
        return members
    known = {tuple(each["architecture"]): each for each in result.get("finalists", members)}
    return sorted(known.values(), key=lambda each: rank_key(score_in(each, result["objectives"])))


def score_in(record: Mapping[str, Any], objectives: Sequence[str]) -> Score:
    """The score in the record of a finalist, which holds more than that.

    Args:
        record: with these objectives.
        objectives: their names.
    """
    kept = ("architecture", "correct", "loss", "finite", "samples", *objectives)
    return Score.from_record({name: record[name] for name in kept if name in record})
