"""Rows and ratios of `evaluation.py` from the generations that were evaluated."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from replay import Mode
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

TOP_K = 10
RATIOS = ("speedup", "speedup_of_kept", "search_speedup")
KEPT = "reference, memory kept"
REFERENCES = ("reference", KEPT)


def summarize(
    report: dict[str, Any],
    measured: dict[Mode, list[dict[str, Any]]],
    peaks: dict[Mode, float],
    counts: Mapping[str, int],
) -> None:
    """Rows and ratios from what has been measured so far."""
    rows: list[dict[str, Any]] = []
    speedup: dict[str, float] = {}
    search_speedup: dict[str, float] = {}
    reference, kept = (
        {(m.populations, m.evaluation.threads): m for m in measured if m.name == name}
        for name in ("reference", KEPT)
    )
    exact = {mode.populations: mode for mode in measured if mode.name == "one by one"}
    for mode, outcomes in measured.items():
        if not outcomes:
            continue
        cores = mode.evaluation.threads * max(1, mode.workers)
        own = reference[mode.populations, cores]
        row = {
            **totals(mode, outcomes, counts[mode.populations]),
            **agreement(outcomes, measured[exact[mode.populations]], freezing=mode.freezing),
            "peak_rss_mb": peaks.get(mode),
            "spread": quartiles(outcomes, measured[own]),
            "generations": outcomes,
        }
        rows.append(row)
        if mode.name == "reference":
            continue
        row["speedup"] = whole_seconds(measured[own], counts[mode.populations]) / row["seconds"]
        speedup.setdefault(mode.name, row["speedup"])
        other = kept.get((mode.populations, cores))
        if other and measured[other]:
            seconds = whole_seconds(measured[other], counts[mode.populations])
            row["speedup_of_kept"] = seconds / row["seconds"]
        if mode.populations == "pcf" and "ea" in counts:
            whole = whole_seconds(measured[reference["ea", cores]], counts["ea"])
            own_search = report.get("searches", {}).get(mode.name)
            row["search_speedup"] = whole / (own_search or row)["seconds"]
            search_speedup[mode.name] = row["search_speedup"]
    report |= {"rows": rows, "speedup": speedup, "search_speedup": search_speedup}


def totals(mode: Mode, outcomes: Sequence[dict[str, Any]], generations: int) -> dict[str, Any]:
    """A mode, and sums over its generations."""
    return {
        "mode": mode.name,
        "workers": mode.workers,
        "threads": mode.evaluation.threads,
        "populations": mode.populations,
        "seconds": whole_seconds(outcomes, generations),
        "images": sum(outcome["images"] for outcome in outcomes),
        "block_forwards": sum(outcome["block_forwards"] for outcome in outcomes),
    }


def whole_seconds(outcomes: Sequence[dict[str, Any]], generations: int) -> float:
    """Seconds of all generations: the scored ones scaled to all, and all freezes."""
    scored = [outcome["seconds"] for outcome in outcomes if outcome["scored"]]
    freezes = sum(outcome["freeze_seconds"] for outcome in outcomes)
    return sum(scored) * generations / max(1, len(scored)) + freezes


def agreement(
    outcomes: Sequence[dict[str, Any]], exact: Sequence[dict[str, Any]], *, freezing: bool
) -> dict[str, Any]:
    """How the scores of a mode compare with those of `one by one`, generation by generation."""
    taus: dict[bool, list[float]] = {True: [], False: []}
    overlaps, differing = [], 0
    for own, other in zip(outcomes, exact, strict=False):
        if not own["scores"]:
            continue
        pairs = zip(own["scores"], other["scores"], strict=True)
        differing += sum(one[0] != two[0] for one, two in pairs)
        top1 = [[score[1] for score in o["scores"]] for o in (own, other)]
        counted = own["frozen"] > 0 or not freezing
        taus[counted].append(float(kendalltau(*top1).statistic))
        if counted:
            overlaps.append(len(set(best(own)) & set(best(other))) / len(best(other)))
    return {
        "identical": differing == 0,
        "differing_counts": differing,
        "kendall_tau": mean(taus[True]),
        "kendall_tau_unfrozen": mean(taus[False]),
        "top_k_overlap": mean(overlaps),
    }


def mean(values: Sequence[float]) -> float | None:
    """The mean; `None` of nothing."""
    return statistics.fmean(values) if values else None


def best(outcome: dict[str, Any]) -> list[int]:
    """The candidates with the best scores, ties broken by loss."""
    scores = outcome["scores"]
    return sorted(range(len(scores)), key=lambda i: (-scores[i][1], scores[i][2], i))[:TOP_K]


def quartiles(
    outcomes: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]
) -> list[float]:
    """Lower quartile, median and upper quartile of the speed-ups of single generations."""
    ratios = [
        other["seconds"] / own["seconds"]
        for own, other in zip(outcomes, reference, strict=False)
        if own["scores"] and own["seconds"] > 0
    ]
    return statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios


def show(report: dict[str, Any]) -> None:
    """Print the rows."""
    table = Table(title="Speed-ups against the reference")
    for column in ("mode", "populations", "workers x threads", "seconds", "speed-up", "quartiles"):
        table.add_column(column)
    for column in ("memory kept", "whole search", "identical", "tau", "unfrozen", "Top-10 overlap"):
        table.add_column(column)
    table.add_column("peak MB")
    for row in report["rows"]:
        ratios = [f"{row[key]:.2f}×" if key in row else "" for key in RATIOS]
        shares = [row[key] for key in ("kendall_tau", "kendall_tau_unfrozen", "top_k_overlap")]
        table.add_row(
            row["mode"],
            row["populations"],
            f"{max(1, row['workers'])} × {row['threads']}",
            f"{row['seconds']:.1f}",
            ratios[0],
            " ".join(f"{ratio:.2f}" for ratio in row["spread"]),
            *ratios[1:],
            str(row["identical"]),
            *("" if share is None else f"{share:.3f}" for share in shares),
            f"{row['peak_rss_mb']:.0f}",
        )
    Console(width=160).print(table)
