r"""How much faster is a generation evaluated, and how much faster is a whole search?

Question: what does each piece of the evaluator gain on its own, and what does it cost in agreement
with the reference?

Protocol: the generations of a whole EA and of a whole PCF-ES search (population 50, 20 generations,
threshold 0.5, seed 0; searched first if their records are missing) on the 12-block SPOS supernet of
`experiments/fashion_mnist_spos.py`, 2,000 validation and 2,000 calibration images, are evaluated
again in each mode. Every mode runs in a process of its own, which holds the supernet and the
images and is warmed up (with `--quick`, modes with the same threads and workers share a process,
and its peak of memory); for each generation the modes take turns, in an order that is reversed
every other time, so that drifts of the machine meet all of them. Modes:

    reference       the SPOS protocol: one candidate at a time, batch norm calibrated from scratch,
                    in plain PyTorch (`plain.py`)
    reference, memory kept
                    the same in a process that reuses the memory it has freed, as workers on Ray do
                    (`raynas.evaluation.device.allocator`): on large images page faults take up to
                    half of a plain loop's time
    one by one      the same by raynas, whose activations are channels-last
    trie            shared prefixes; exact
    trie, memory kept
                    the same with freed memory kept; a search in this process (`workers=0`) leaves
                    the allocator as it is, so all other modes with one worker run without
    frozen          one candidate at a time behind the frozen prefix, from shards
    frozen+trie     both; exact
    +sampled        and after the first freeze the 20 % of the samples that candidates disagree on
    +first votes    and from the first generation on those 30 % that ten of it disagree on
    +calibration    and 250 of the 2,000 calibration images
    +folded         and fixed batch norm folded into convolutions
    +bf16           and convolutions in bfloat16
    all             all of these, on two Ray workers with one thread each

`speedup` is the reference's seconds over the mode's, and `speedup_of_kept` those of `reference,
memory kept` (the fair one for `all`, whose workers keep theirs), on the same populations: `trie` on
the EA's, the others on the PCF-ES's, with one thread; `all` against the reference in one process
with both cores, as PyTorch uses them by default. `search_speedup` is the seconds of the whole EA
under the reference over those of the mode's whole PCF-ES, freezes included, at the same cores; for
`all` the PCF-ES is searched anew with its own scores, and its final re-scoring counts. Kendall's
tau and the overlap of the Top-10 compare with the scores of `one by one`, over the frozen
generations where modes freeze, and `kendall_tau_unfrozen` over the others; `identical` says whether
all correct counts are equal to its. Those of the references, whose convolutions add in another
order, may differ by a sample: `differing_counts` says how many do. `spread` holds the quartiles of
the speed-ups of single generations.

With `--quick`: 300 + 200 images of the handwritten digits, a supernet that was trained for twelve
epochs, searches of 4 generations of 8, and one core: so small a network gains nothing from two.

Usage (all generations take two hours; `--every 5` takes every fifth of the EA's):
    python benchmarks/speed/evaluation.py --json evaluation.json
    python benchmarks/speed/evaluation.py --json evaluation.json --every 5
    python benchmarks/speed/evaluation.py --json trie.json --every 5 --repeats 3 \
        --populations ea --only trie --cores 1
    python benchmarks/speed/evaluation.py --json later.json --threshold 0.6 --seed 1 --every 3 \
        --populations pcf --only trie frozen+trie --cores 1
    python benchmarks/speed/evaluation.py --quick                            (under two minutes)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.subjects import THRESHOLD, Source, Subject, recorded_search
from replay import Generation, Mode, Replayer, replayers
from summaries import KEPT, REFERENCES, show, summarize

import raynas
from raynas.commands import program
from raynas.commands.named_strategies import make_strategy

EXACT = (*REFERENCES, "one by one")
BRIEF = {"population": 8, "generations": 4}
SHORT = 8
"""Generations of a search up to which all are evaluated."""

ALONE = raynas.Evaluation(prefix_sharing=False)
SHARED = raynas.Evaluation()
SAMPLED = replace(SHARED, sampling="disagreement", sample_rate=0.2)
VOTED = replace(SAMPLED, unfrozen_sample_rate=0.3, voters=10)
BUDGETED = replace(VOTED, calibration_images=250)
FOLDED = replace(BUDGETED, fold_batch_norm=True)
FAST = replace(FOLDED, precision="bfloat16")


def modes(cores: int) -> list[Mode]:
    """The rows of the benchmark, each reference before what is compared with it."""
    both = replace(ALONE, threads=cores)
    return [
        Mode("reference", "ea", ALONE, plain=True),
        Mode(KEPT, "ea", ALONE, plain=True, keeps_memory=True),
        Mode("one by one", "ea", ALONE),
        Mode("trie", "ea", SHARED),
        Mode("trie, memory kept", "ea", SHARED, keeps_memory=True),
        Mode("reference", "ea", both, plain=True),
        Mode("reference", "pcf", ALONE, plain=True),
        Mode(KEPT, "pcf", ALONE, plain=True, keeps_memory=True),
        Mode("one by one", "pcf", ALONE),
        Mode("trie", "pcf", SHARED),
        Mode("frozen", "pcf", ALONE, freezing=True),
        Mode("frozen+trie", "pcf", SHARED, freezing=True),
        Mode("+sampled", "pcf", SAMPLED, freezing=True),
        Mode("+first votes", "pcf", VOTED, freezing=True),
        Mode("+calibration", "pcf", BUDGETED, freezing=True),
        Mode("+folded", "pcf", FOLDED, freezing=True),
        Mode("+bf16", "pcf", FAST, freezing=True),
        Mode("reference", "pcf", both, plain=True),
        Mode(KEPT, "pcf", both, plain=True, keeps_memory=True),
        Mode("all", "pcf", FAST, freezing=True, workers=cores, keeps_memory=True),
    ]


SUBJECT = Subject(Path("evaluation.json"))


def main(
    subject: Subject = SUBJECT,
    every: int = 1,
    repeats: int = 1,
    only: tuple[str, ...] = (),
    populations: tuple[Literal["ea", "pcf"], ...] = ("ea", "pcf"),
    threshold: float = THRESHOLD,
    seed: int = 0,
    cores: int = 2,
) -> None:
    """Evaluate recorded generations in every mode.

    Args:
        subject: what is measured, and where its numbers go.
        every: evaluate generations 0, n, 2n, … of the longer searches (all of one that has no more
            than 8) and scale their seconds to all.
        repeats: how often each of the EA's generations is evaluated; its median counts.
        only: the modes beside the references; all if omitted.
        populations: whose generations to evaluate.
        threshold: of the PCF-ES.
        seed: of the recorded searches.
        cores: of the machine; workers of `all`, and threads of its reference.
    """
    quick, source = subject.quick, subject.source(2_000, 2_000)
    cores = 1 if quick else cores
    options: dict[str, Any] = {"threshold": threshold, **(BRIEF if quick else {})}
    workers = 0 if quick else None
    recorded = {
        name: recorded_search(source, name, seed=seed, workers=workers, **options)
        for name in populations
    }
    settings = {"quick": quick, "every": every, "threshold": threshold, "seed": seed}
    report: dict[str, Any] = {**settings, "machine": machine()}
    wanted = [mode for mode in modes(cores) if not only or mode.name in (*EXACT, *only)]
    measured: dict[Mode, list[dict[str, Any]]] = {mode: [] for mode in wanted}
    peaks: dict[Mode, float] = {}
    counts: dict[str, int] = {name: len(generations) for name, generations in recorded.items()}
    for name, generations in recorded.items():
        chosen = [mode for mode in measured if mode.populations == name]
        with replayers(chosen, source, together=quick) as running:
            step = every if len(generations) > SHORT else 1
            times = repeats if name == "ea" else 1
            for index, generation in enumerate(generations):
                turns(running, generation, index, measured, times, score=index % step == 0)
                summarize(report, measured, peaks, counts)
                write_report(subject.json, report)
            peaks |= {replayer.mode: replayer.peak_mb() for replayer in running}
    if any(mode.name == "all" for mode in measured):
        report["searches"] = whole_searches(source, cores, seed, options)
    summarize(report, measured, peaks, counts)
    write_report(subject.json, report)
    show(report)


def turns(
    running: Sequence[Replayer],
    generation: Generation,
    index: int,
    measured: dict[Mode, list[dict[str, Any]]],
    repeats: int,
    *,
    score: bool,
) -> None:
    """One generation in all modes, one after the other, and again."""
    outcomes: dict[Mode, list[dict[str, Any]]] = {replayer.mode: [] for replayer in running}
    for turn in range(repeats if score else 1):
        for replayer in running if (index + turn) % 2 == 0 else reversed(running):
            outcomes[replayer.mode].append(replayer.evaluate(generation, score=score))
    for mode, found in outcomes.items():
        middle = sorted(found, key=lambda outcome: outcome["seconds"])[len(found) // 2]
        middle |= {"frozen": len(generation["prefix"]), "scored": score, "index": index}
        measured[mode].append(middle | {"repeats": [outcome["seconds"] for outcome in found]})


def whole_searches(
    source: Source, cores: int, seed: int, options: dict[str, Any]
) -> dict[str, Any]:
    """The PCF-ES search of `all`, as a user runs it."""
    network, images = source.open()
    with tempfile.TemporaryDirectory() as folder:
        result = raynas.search(
            network,
            images,
            strategy=make_strategy("pcf", **options),
            constraint=source.constraint,
            evaluation=FAST,
            run_dir=Path(folder) / "all",
            workers=cores,
            seed=seed,
        )
    kept = ("seconds", "final_seconds", "top1", "test_top1", "flops", "evaluations", "frozen")
    return {"all": {key: result.record[key] for key in kept}}


if __name__ == "__main__":
    program.run(main)
