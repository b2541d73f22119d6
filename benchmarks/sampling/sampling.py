"""How few validation samples still rank the candidates of a frozen generation?

Question: which samples should be kept behind a frozen prefix, by which mode, at which rate, stored
in how many bits? (The paper's Tables 3 and 4 and Figures 6 and 11, on Fashion-MNIST.)

Protocol: the 12-block SPOS supernet of `experiments/fashion_mnist_spos.py` (trained first if its
file is missing), 2,000 validation and 2,000 calibration images, one EA and one PCF-ES search,
recorded once under the full protocol. Judged are the frozen generations of the PCF-ES search, and
those made from the EA's by overwriting prefixes of 3 to 9 blocks (`freezes.py`). What each
candidate says of each sample is recorded once per generation and bits; a selection is then made as
the library makes it at the freeze, through its own functions, and the new candidates are ranked on
the kept samples alone. Reported are Kendall's tau-b with the ranking on all samples in 32 bits, the
overlap of the Top-10s, the regret (full top-1 of the best candidate, less that of the one that
looks best), and the mean error of the estimated top-1: means over generations of at least five new
candidates. Drawing modes are drawn five times.

Then: how long does a selection stay good, made after generation 0, or anew from each previous
generation? And do different candidates find the same samples hard (Figure 6)?

With `--quick`: 300 and 200 images of the handwritten digits, on brief searches of a supernet that
was trained for twelve epochs, in this process.

Usage:
    python benchmarks/sampling/sampling.py --json sampling.json
    python benchmarks/sampling/sampling.py --quick            (< 2 minutes)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau, spearmanr

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.subjects import Subject, recorded_search
from freezes import Freeze, all_freezes
from outcomes import Generation

from raynas.commands import program
from raynas.commands.named_strategies import StrategyName
from raynas.evaluation.selection import Selection, select_disagreement, select_samples
from raynas.evaluation.settings import Sampling

MODES: tuple[Sampling, ...] = ("disagreement", "top", "weighted", "random")
DRAWN: tuple[Sampling, ...] = ("weighted", "random")
RATES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
FEWEST, TOP, DRAWS = 5, 10, 5
MEASURES = ("kendall_tau", "top_k_overlap", "regret", "error")


SUBJECT = Subject(Path("sampling.json"))


def main(
    subject: Subject = SUBJECT,
    bits: tuple[int, ...] = (32, 16, 8, 4),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Judge selections of samples by how they rank.

    Args:
        subject: what is measured, and where its numbers go.
        bits: at which the activations behind the prefix are stored.
        seed: of the searches.
        workers: Ray actors with one thread each; 0 for this process, every core if omitted.
    """
    quick, source = subject.quick, subject.source(2_000, 2_000)
    workers = 0 if quick else workers
    network, images = source.open()
    names: tuple[StrategyName, ...] = ("pcf", "ea")
    brief = {"population": 20, "generations": 9} if quick else {}
    searches: dict[str, list[dict[str, Any]]] = {
        name: recorded_search(source, name, seed=seed, workers=workers, **brief) for name in names
    }
    folder = source.home / f"outcomes-seed{seed}"
    freezes, whole = all_freezes(network, images, searches, folder, bits, workers)
    report = {
        "quick": quick,
        "machine": machine(),
        "generations": [describe(freeze) for freeze in freezes],
        "modes": [
            {"mode": mode, "bits": depth, "rate": rate, **measured(freezes, depth, by(mode, rate))}
            for depth in bits
            for mode in MODES
            for rate in RATES
        ],
        "lasting": [
            {"search": name, "rate": rate, **lasting(generations, rate)}
            for name, generations in whole.items()
            for rate in RATES
        ],
        "importance": [
            {"freeze": freeze.name, **agreement(freeze.generations[32][0])}
            for freeze in freezes
            if worth_judging(freeze.generations[32][0])
        ],
    }
    write_report(subject.json, report)
    show(report, bits)


Draw = Callable[[Freeze, np.random.Generator], Selection]


def by(mode: Sampling, rate: float) -> tuple[Draw, int]:
    """How the library selects under a protocol, and how often to draw."""

    def select(freeze: Freeze, rng: np.random.Generator) -> Selection:
        return select_samples([freeze.parents, freeze.last], mode, rate, rng)

    return select, DRAWS if mode in DRAWN else 1


def measured(freezes: Sequence[Freeze], bits: int, selector: tuple[Draw, int]) -> dict[str, float]:
    """The means of all measures over frozen generations and draws, and the smallest tau."""
    select, draws = selector
    rows = []
    for freeze in freezes:
        for draw in range(draws):
            kept = select(freeze, np.random.default_rng([draw, 0]))
            pairs = zip(freeze.generations[bits], freeze.generations[32], strict=True)
            rows += [judge(seen, full, kept) for seen, full in pairs if worth_judging(full)]
    means = {name: float(np.mean([row[name] for row in rows])) for name in MEASURES}
    return {**means, "smallest_tau": min(row["kendall_tau"] for row in rows)}


def worth_judging(generation: Generation) -> bool:
    """Whether it has enough new candidates, and they differ."""
    new = generation.top1[generation.parents :]
    return len(new) >= FEWEST and len(set(new)) > 1


def judge(seen: Generation, full: Generation, kept: Selection) -> dict[str, float]:
    """How the new candidates of a generation rank on kept samples, against all in 32 bits."""
    scores = seen.estimate(kept)[seen.parents :]
    estimate = np.round([score.top1 for score in scores], 12)
    truth = full.top1[full.parents :]
    order = np.lexsort((np.array([score.loss for score in scores]), -estimate))
    losses = full.outcomes.losses[full.parents :].mean(axis=1)
    best = np.lexsort((losses, -truth))
    k = min(TOP, len(truth))
    return {
        "kendall_tau": tau(estimate, truth),
        "top_k_overlap": len(set(order[:k]) & set(best[:k])) / k,
        "regret": float(truth.max() - truth[order[0]]),
        "error": float(np.abs(estimate - truth).mean()),
    }


def tau(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b; 0 where the estimate tells nothing apart."""
    return float(np.nan_to_num(kendalltau(estimate, truth).statistic)) if np.ptp(estimate) else 0.0


def lasting(generations: Sequence[Generation], rate: float) -> dict[str, list[float]]:
    """Tau of each generation, frozen or not, with samples selected by an earlier population."""

    def row(voters: Callable[[int], int]) -> list[float]:
        return [
            judge(later, later, select_disagreement([generations[voters(number)].voters], rate))[
                "kendall_tau"
            ]
            for number, later in enumerate(generations)
            if number and worth_judging(later)
        ]

    return {"from_generation_0": row(lambda number: 0), "from_previous": row(lambda n: n - 1)}


def agreement(generation: Generation) -> dict[str, float]:
    """Whether the samples that matter for one candidate matter for others (Figure 6)."""
    losses = generation.outcomes.losses[generation.parents :].astype(np.float64)
    size = losses.shape[1] // 4
    largest = [set(np.argsort(-row)[:size]) for row in losses]
    pairs = [(a, b) for a in range(len(losses)) for b in range(a)]
    shared = [len(largest[a] & largest[b]) / size for a, b in pairs]
    correlations = np.atleast_2d(spearmanr(losses, axis=1).statistic)
    upper = [correlations[a, b] for a, b in pairs] if len(losses) > 2 else [correlations.item(0)]
    return {"loss_correlation": float(np.mean(upper)), "largest_quarter": float(np.mean(shared))}


def describe(freeze: Freeze) -> dict[str, Any]:
    """A freeze, and how many samples its generations disagree on."""
    later = freeze.generations[32]
    correct = [g.voters.first for g in later if worth_judging(g)]
    return {
        "freeze": freeze.name,
        "prefix": list(later[0].prefix),
        "parents": later[0].parents,
        "candidates": [len(rows) for rows in correct],
        "unanimous": [float((rows.min(0) == rows.max(0)).mean()) for rows in correct],
    }


def show(report: dict[str, Any], bits: Sequence[int]) -> None:
    """Print the tables."""
    console = Console(width=150)
    for depth in bits:
        rows = [row for row in report["modes"] if row["bits"] == depth]
        for measure, form in (("kendall_tau", "{:.3f}"), ("top_k_overlap", "{:.2f}")):
            title = f"{measure} with the full scores, {depth} bits"
            console.print(by_rate(title, rows, "mode", measure, form))
        title = f"Regret in points of top-1, {depth} bits (Tables 3 and 4, Figure 11)"
        points = [{**row, "regret": 100 * row["regret"]} for row in rows]
        console.print(by_rate(title, points, "mode", "regret", "{:.2f}"))
    for when in ("from_generation_0", "from_previous"):
        rows = [{**row, when: float(np.mean(row[when]))} for row in report["lasting"]]
        title = f"Mean tau of all later generations, samples selected {when.replace('_', ' ')}"
        console.print(by_rate(title, rows, "search", when, "{:.3f}"))
    for row in report["importance"]:
        console.print(
            f"{row['freeze']}: losses of two candidates correlate at {row['loss_correlation']:.2f},"
            f" and share {row['largest_quarter']:.0%} of their largest quarter"
        )


def by_rate(title: str, rows: Sequence[dict[str, Any]], label: str, value: str, form: str) -> Table:
    """A table of one value: labels down, rates across."""
    table = Table(label, *(f"{rate:.0%}" for rate in RATES), title=title)
    for name in dict.fromkeys(row[label] for row in rows):
        found = {row["rate"]: row[value] for row in rows if row[label] == name}
        table.add_row(name, *(form.format(found[rate]) for rate in RATES))
    return table


if __name__ == "__main__":
    program.run(main)
