"""The architectures that runs found, and a table of runs, as texts of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from raynas.errors import is_whole
from raynas.files import Record
from raynas.report.figures.choices import held_since
from raynas.report.runs import ReportedRun, part_of, scores_of
from raynas.report.units import (
    UNKNOWN,
    cost_name,
    cost_text,
    count_text,
    counted,
    energy_text,
    is_finite,
    mass_text,
    plain_name,
    score_text,
    seconds_text,
    strategy_text,
)


@final
@dataclass(frozen=True)
class Link:
    """One block of a chain.

    Args:
        number: counted from 1.
        name: of its choice.
        frozen: the generation, counted from 1, that froze it behind this prefix; `None` if none.
    """

    number: int
    name: str
    frozen: int | None


@final
@dataclass(frozen=True)
class Member:
    """One architecture that a run found.

    Args:
        title: in a list of them.
        links: its blocks.
        facts: names and values: its scores and costs.
        encoded: its choices by their numbers.
    """

    title: str
    links: tuple[Link, ...]
    facts: tuple[tuple[str, str], ...]
    encoded: str


def status(run: ReportedRun) -> str:
    """The state of a search, in a sentence."""
    done = len(run.generations)
    limit = run.strategy.get("generations")
    of = f" of at most {limit}" if isinstance(limit, int) else ""
    if run.result is not None:
        whole = generations(run)
        read = "" if is_all_there(run) else f" The records of {done} of them are there."
        why = run.result.get("finished", run.ended)
        told = f"Finished after {counted(whole, 'generation')}: {why}.{read}"
        return f"{told}{found_before(run)}"
    if run.ended is None:
        are = "is" if done == 1 else "are"
        return (
            f"Unfinished: {counted(done, 'generation')}{of} {are} recorded. What follows is of "
            "these records; the search may still run, or can be continued with --resume."
        )
    own = "evaluator" in run.records.config
    why = "an evaluator of one's own leaves none" if own else "its winner is not scored in full yet"
    if run.problems:
        why = "not all of its records could be read"
    return f"Ended after {counted(done, 'generation')} ({run.ended}), without a result: {why}."


def found_before(run: ReportedRun) -> str:
    """A sentence on a winner that is not behind the frozen prefix; none on any other."""
    if not is_all_there(run):
        return ""  # Nobody knows what was frozen in generations whose records are gone.
    winner = (run.result or {}).get("architecture", [])
    frozen = frozen_at_end(run)
    held = sum(held_since(run, winner, block) is not None for block in range(frozen))
    if held == frozen:
        return ""
    which = "the blocks" if held == 0 else "all of these blocks"
    return f" The winner was found before {which} were frozen; scored in full, it was the best."


def members(run: ReportedRun) -> list[Member]:
    """The winner or the members of the front; of a search without a result the best so far."""
    if run.result is not None:
        front = run.result["front"]
        if len(front) <= 1:
            return [member(run, run.result, "")]
        winner = run.result["architecture"]
        # The winner alone was tested, which its record in the front does not say.
        records = [run.result if each["architecture"] == winner else each for each in front]
        return [member(run, each, f"{place + 1}. ") for place, each in enumerate(records)]
    last = best_so_far(run)
    return [] if last is None else [member(run, {**last, "costs": costs_found(run, last)}, "")]


def best_so_far(run: ReportedRun) -> Record | None:
    """The best score after the last generation that had one."""
    return next((each["best"] for each in reversed(run.generations) if each.get("best")), None)


def costs_found(run: ReportedRun, best: Record) -> Record:
    """The costs with which an architecture was scored; none where it is not found again."""
    for generation in reversed(run.generations):
        for each in scores_of(generation):
            if each["architecture"] == best["architecture"]:
                return each.get("costs", {})
    return {}


def member(run: ReportedRun, record: Record, prefix: str) -> Member:
    """One architecture from its record in a result, or from the best so far."""
    architecture = record["architecture"]
    objectives = [run.objective] if run.result is None else run.result["objectives"]
    scores = [(name, record.get(name)) for name in objectives if name]
    facts = [(plain_name(name), score_text(name, value)) for name, value in scores]
    for name, _ in scores:
        if record.get(f"test_{name}") is not None:
            told = score_text(name, record[f"test_{name}"])
            facts.append((f"test {plain_name(name)}", told))
    costs = [(cost_name(name), cost_text(name, value)) for name, value in record["costs"].items()]
    title = ", ".join([score_text(*scores[0]), *(f"{value} {name}" for name, value in costs[:1])])
    return Member(
        prefix + title,
        tuple(link(run, architecture, block) for block in range(len(architecture))),
        (*facts, *costs),
        ",".join(map(str, architecture)),
    )


def link(run: ReportedRun, architecture: Sequence[int], block: int) -> Link:
    """One block of an architecture."""
    since = held_since(run, architecture, block)
    name = run.names[block][architecture[block]]
    return Link(block + 1, name, None if since is None else since + 1)


def total(run: ReportedRun, name: str) -> Any:
    """A total of a run: that of its result, or the sum over its parts, if all have it."""
    if run.result is not None:
        return run.result.get(name)
    values = [each.get(name) for each in priced(run)]
    return sum(values) if values and all(map(is_finite, values)) else None


def priced(run: ReportedRun) -> list[Record]:
    """The costs of what a run has recorded: of generations, and of reading them back to resume."""
    return [*run.records.metrics, *replays_of(run)]


def replays_of(run: ReportedRun) -> list[Record]:
    """The costs of reading records back, each time that a run was resumed."""
    replays = [each.get("replay") for each in run.records.metrics]
    return [each for each in replays if isinstance(each, dict) and is_finite(each.get("seconds"))]


def generations(run: ReportedRun) -> int:
    """The number of generations: as the result counts them, or of those that are recorded."""
    told = (run.result or {}).get("generations")
    return told if is_whole(told) else len(run.generations)


def is_all_there(run: ReportedRun) -> bool:
    """Whether all generations that a result counts are among the records."""
    return generations(run) == len(run.generations)


def evaluations(run: ReportedRun) -> int:
    """The number of scores that were asked for: as the result counts them, or of the records."""
    told = (run.result or {}).get("evaluations")
    return told if is_whole(told) else sum(len(scores_of(each)) for each in run.generations)


def not_finite(run: ReportedRun) -> int:
    """The number of scores whose outputs were not finite."""
    every = (each for generation in run.generations for each in scores_of(generation))
    return sum(not each.get("finite", True) for each in every)


def best_value(run: ReportedRun, prefix: str = "") -> str:
    """The winner's first objective, or the best so far."""
    if run.objective is None:
        return UNKNOWN
    if run.result is not None:
        return score_text(run.objective, run.result.get(prefix + run.objective))
    last = best_so_far(run)
    if last is None or prefix:
        return UNKNOWN
    return f"{score_text(run.objective, last.get(run.objective))} so far"


def searched(run: ReportedRun) -> str:
    """The supernet and the data of a run, or the evaluator of a user's own."""
    config = run.records.config
    own = config.get("evaluator")
    if isinstance(own, dict):
        return str(own.get("name", "own evaluator"))
    data = part_of(config, "data").get("name", "unknown data")
    digest = str(part_of(config, "supernet").get("digest", ""))[:8]
    return f"{len(run.names)} blocks on {data}, supernet {digest}"


def frozen_text(run: ReportedRun) -> str:
    """The number of blocks that were frozen at last; unknown where generations are missing."""
    return f"{frozen_at_end(run)} of {len(run.names)}" if is_all_there(run) else UNKNOWN


COLUMNS: tuple[tuple[str, Callable[[ReportedRun], str]], ...] = (
    ("supernet and data", searched),
    ("strategy", lambda run: strategy_text(str(run.strategy["strategy"]))),
    ("threshold", lambda run: str(run.strategy.get("threshold", UNKNOWN))),
    ("monitor size", lambda run: str(run.strategy.get("monitor", UNKNOWN))),
    ("seed", lambda run: str(run.records.config.get("seed", UNKNOWN))),
    ("objective", lambda run: plain_name(run.objective) if run.objective else UNKNOWN),
    ("validation", best_value),
    ("test", lambda run: best_value(run, "test_")),
    ("generations", lambda run: str(generations(run))),
    ("evaluations", lambda run: f"{evaluations(run):,}"),
    ("not finite", lambda run: f"{not_finite(run):,}"),
    ("frozen blocks", lambda run: frozen_text(run)),
    ("time", lambda run: seconds_text(total(run, "seconds"))),
    ("GPU hours", lambda run: count_text(total(run, "gpu_hours"))),
    ("energy", lambda run: energy_text(total(run, "energy_j"))),
    ("CO₂", lambda run: mass_text(total(run, "co2_g"))),
)
"""Properties of runs side by side (PCF-ES, Table 1), and their texts."""


ONCE = ("supernet and data", "objective")
"""Properties that are told once where they are the same for all runs."""


def frozen_at_end(run: ReportedRun) -> int:
    """The number of blocks that were frozen at last."""
    return len(run.generations[-1]["prefix"]) if run.generations else 0


def comparison(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Columns of the table of runs side by side: a property, and its value for each run.

    Properties that no run has are left out; costs of the winners stand behind the scores.
    """
    rows = [(name, [tell(run) for run in runs]) for name, tell in COLUMNS]
    found = [next(iter(members(run)), None) for run in runs]
    names = dict.fromkeys(
        cost_name(name) for run in runs for name in (run.result or {}).get("costs", {})
    )
    costs = [
        (name, [UNKNOWN if each is None else dict(each.facts).get(name, UNKNOWN) for each in found])
        for name in names
    ]
    place = [name for name, _ in rows].index("generations")
    every = [*rows[:place], *costs, *rows[place:]]
    empty = ({UNKNOWN}, {"0"})
    common = [name for name, _ in shared(runs)]
    return [
        (name, cells) for name, cells in every if set(cells) not in empty and name not in common
    ]


def shared(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """Properties that several runs have in common, and that are told once."""
    told = [(name, {tell(run) for run in runs}) for name, tell in COLUMNS if name in ONCE]
    return [(name, values.pop()) for name, values in told if len(values) == 1 and len(runs) > 1]


def no_importance(run: ReportedRun) -> str:
    """The reason why a run has no figure of the importance of samples."""
    evaluation = part_of(run.records.config, "evaluation")
    if not evaluation:
        return "scored by an evaluator of one's own, which records no samples."
    rates = [evaluation.get(name, 1.0) for name in ("sample_rate", "unfrozen_sample_rate")]
    if all(rate == 1.0 for rate in rates):
        return "every candidate was scored on all validation samples, so that none were selected."
    if any(generation.get("selection") for generation in run.generations):
        return "samples were selected, but their importance was not recorded."
    return "no block has been frozen, so that no samples were selected."
