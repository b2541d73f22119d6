"""`GreedyPaths`: paths that a filter lets through (GreedyNAS, section 4.1, Algorithms 1 and 2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Protocol, final

import numpy as np

from raynas.errors import is_number, is_whole, require
from raynas.score import finite_or
from raynas.space import Architecture, SearchSpace
from raynas.training.candidate_pool import CandidatePool
from raynas.training.paths import PathSampler


class PathScorer(Protocol):
    """Losses of paths on some validation samples, under the weights of the moment."""

    def losses(self, paths: Sequence[Architecture], rng: np.random.Generator) -> list[float]:
        """The mean loss of each path, on samples that the generator chooses."""

    def terms(self) -> str:
        """Text that changes with whatever else the losses depend on: samples, task, protocol."""


@final
@dataclass(frozen=True)
class GreedySettings:
    """The settings of a greedy training; the defaults are the paper's.

    Args:
        sampled: paths that are scored at a time, m.
        kept: the best of them, which are trained, k.
        pool: the most paths of the candidate pool; 0 for none.
        warm_up: steps on uniform paths before the first filter (the paper's 10,000).
        exploit: the probability of sampling from the pool at the end, ε; it rises linearly from 0
            at the end of the warm-up.
        steps: of the whole training, over which ε rises.
        tolerance: the training stops when at most this share of the pool, α, was not in it one
            `window` before; `None` never stops it.
        window: the steps, t, between the pools that are compared.

    Raises:
        InputError: a value out of range, or more paths kept than sampled.
    """

    sampled: int = 10
    kept: int = 5
    pool: int = 1000
    warm_up: int = 10_000
    exploit: float = 0.8
    steps: int = 100_000
    tolerance: float | None = 0.08
    window: int = 1_000

    def __post_init__(self) -> None:
        smallest = {"sampled": 1, "kept": 1, "pool": 0, "warm_up": 0, "steps": 1, "window": 1}
        for name, least in smallest.items():
            value = getattr(self, name)
            require(
                is_whole(value) and value >= least,
                name,
                f"a whole number, at least {least}",
                repr(value),
                "Change the setting.",
            )
        require(
            self.kept <= self.sampled,
            "kept",
            f"at most the {self.sampled} paths that are sampled",
            self.kept,
            "Keep fewer, or sample more.",
        )
        require(
            self.warm_up < self.steps,
            "warm_up",
            f"fewer than the {self.steps} steps of the training",
            self.warm_up,
            "Shorten the warm-up, or train longer.",
        )
        shares = {"exploit": self.exploit}
        if self.tolerance is not None:
            shares["tolerance"] = self.tolerance
        for name, share in shares.items():
            require(
                is_number(share) and 0 <= share <= 1,
                name,
                "a share from 0 to 1",
                repr(share),
                "The paper uses 0.8 and 0.08.",
            )

    @staticmethod
    def for_steps(steps: int, space: SearchSpace, **changes: Any) -> GreedySettings:
        """The paper's settings, shortened to a training and a space.

        The warm-up is a tenth of the training, and so is the window; the pool holds the space. None
        of them is more than in the paper.

        Args:
            steps: of the whole training.
            space: the supernet's search space.
            changes: of any setting.

        Raises:
            InputError: as the settings themselves.
        """
        paper = GreedySettings()
        tenth = steps // 10 if is_whole(steps) else 0
        suited: dict[str, Any] = {
            "pool": min(paper.pool, space.count()),
            "warm_up": min(paper.warm_up, tenth),
            "steps": steps,
            "window": min(paper.window, max(tenth, 1)),
        }
        return GreedySettings(**{**suited, **changes})

    def exploit_at(self, step: int) -> float:
        """ε at a step: 0 until the warm-up ends, then rising linearly."""
        if step <= self.warm_up:
            return 0.0
        return self.exploit * min(1.0, (step - self.warm_up) / (self.steps - self.warm_up))


@final
class GreedyPaths(PathSampler):
    """One path a step: uniform ones, and after the warm-up the best k of every m that are scored.

    Every k steps m paths are drawn, each from the pool with probability ε and from the space
    otherwise; a scorer gives their losses on some validation samples; the best k join the pool, and
    each is trained on a batch of its own. The training may stop when the pool hardly changes.
    Deviations:

    - the paper's equation 10 prints the overlap of the pools where the text means the share that is
      new: here the training stops when 1 − overlap ≤ α, and not before the pool is full or has
      been compared once;
    - the m paths differ from each other, as far as there are so many.

    Args:
        space: the supernet's search space.
        scorer: scores paths under the weights that they have at that moment.
        settings: of the method.

    Raises:
        InputError: a pool larger than the space, or a scorer that lacks a method.
    """

    def __init__(
        self, space: SearchSpace, scorer: PathScorer, settings: GreedySettings | None = None
    ) -> None:
        self.settings = GreedySettings() if settings is None else settings
        require(
            all(callable(getattr(scorer, method, None)) for method in ("losses", "terms")),
            "scorer",
            "one with losses(paths, rng) and terms(), as open_path_filter gives",
            f"a {type(scorer).__name__}",
            "Let terms() return a text that changes with the samples, and with what judges them.",
        )
        require(
            self.settings.pool <= space.count(),
            "pool",
            f"at most the {space.count():,} architectures of the space",
            self.settings.pool,
            "Make the pool smaller.",
        )
        self._space = space
        self._scorer = scorer
        self._forget()

    def _forget(self) -> None:
        """Be as before the first step."""
        self.pool = CandidatePool(max(self.settings.pool, 1))
        self.evaluations = 0
        """The number of paths that were scored so far."""
        self._queue: deque[Architecture] = deque()
        self._step = 0
        self._earlier: list[Architecture] | None = None
        self._fresh: float | None = None

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """The path of the next step; scores candidates whenever the last ones are used up."""
        settings = self.settings
        self._step += 1
        if self._step <= settings.warm_up:
            return (self._space.sample(rng),)
        if not self._queue:
            self._queue.extend(self._filter(rng))
        path = self._queue.popleft()
        if (self._step - settings.warm_up) % settings.window == 0:
            self._compare()
        return (path,)

    def begin(self, steps: int) -> None:
        """Look whether anything will be filtered in a training, and forget the one before.

        What a training that goes on had learned, `restore` brings back.

        Raises:
            InputError: all of it would be warm-up, and its paths uniform.
        """
        require(
            self.settings.warm_up < steps,
            "warm_up",
            f"fewer than the {steps:,} steps of the training",
            f"{self.settings.warm_up:,}",
            f"Use GreedySettings.for_steps({steps}, supernet.space), or train longer.",
        )
        self._forget()

    @property
    def fresh(self) -> float | None:
        """The share of the pool that was new when it was last compared; `None` before."""
        return self._fresh

    @property
    def finished(self) -> bool:
        """Whether the pool hardly changes any more, so that the training may stop."""
        limit = self.settings.tolerance
        return limit is not None and self._fresh is not None and self._fresh <= limit

    def terms(self) -> str:
        """The settings, and the terms of the scorer."""
        return f"{type(self).__name__}({asdict(self.settings)}, {self._scorer.terms()})"

    def state(self) -> dict[str, Any]:
        """Everything that was learned so far, as a JSON object for a checkpoint."""
        return {
            "step": self._step,
            "queue": [list(path) for path in self._queue],
            "pool": self.pool.to_json(),
            "earlier": None if self._earlier is None else [list(path) for path in self._earlier],
            "fresh": self._fresh,
            "evaluations": self.evaluations,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._step = int(state["step"])
        self._queue = deque(self._space.validate(path, "queue") for path in state["queue"])
        self.pool.restore(state["pool"], self._space)
        earlier = state["earlier"]
        self._earlier = None if earlier is None else [tuple(path) for path in earlier]
        self._fresh = state["fresh"]
        self.evaluations = int(state["evaluations"])

    def _filter(self, rng: np.random.Generator) -> list[Architecture]:
        """The best of some paths, which join the pool, the best first (Algorithm 1)."""
        drawn = self._draw(rng)
        losses = self._scorer.losses(drawn, rng)
        self.evaluations += len(drawn)
        usable = [finite_or(loss, inf) for loss in losses]
        ranked = sorted(zip(usable, drawn, strict=True))[: self.settings.kept]
        if self.settings.pool:
            for loss, path in ranked:
                self.pool.add(path, loss)
        return [path for _, path in ranked]

    def _draw(self, rng: np.random.Generator) -> list[Architecture]:
        """Paths that differ, from the pool or the space."""
        exploit = self.settings.exploit_at(self._step) if self.settings.pool else 0.0
        wanted = min(self.settings.sampled, self._space.count())
        drawn: dict[Architecture, None] = {}
        # A pool that has fewer paths than are wanted of it must not hold the training up.
        for _ in range(100 * wanted):
            pooled = len(self.pool) > 0 and rng.random() < exploit
            drawn[self.pool.draw(rng) if pooled else self._space.sample(rng)] = None
            if len(drawn) == wanted:
                break
        return list(drawn)

    def _compare(self) -> None:
        """Compare the pool with what it was one window before."""
        if self._earlier is not None and len(self.pool) == self.pool.size:
            self._fresh = 1.0 - self.pool.overlap(self._earlier)
        self._earlier = list(self.pool)
