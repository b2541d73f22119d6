"""How well does a supernet predict what its architectures reach on their own?

Question: a search ranks architectures by the weights that they inherit. How does that order agree
with the order by test accuracy after each was trained for itself, for supernets that were trained
on uniform, fair and greedy paths, or block by block (PONAS)? Does it agree better than an order by
FLOPs or parameters, which costs nothing? And are the winners of EA, CF-ES and PCF-ES better,
retrained, than random architectures of equal FLOPs?

Protocol: `--subnets` random architectures, uniform over the space, and `--baselines` more within
the window of FLOPs that the searches have (45 to 50 % of the way from the cheapest architecture to
the dearest) are retrained from scratch with one recipe and one seed, and tested. They do not depend
on a supernet, so that all supernets of a space share them. Scores in a supernet are those of the
population evaluator under the full protocol: batch norm recalibrated on 500 images, 5,000
validation images. Kendall's τ (τ-b) and Spearman's ρ are of the `--subnets` uniform ones; the
interval is a bootstrap over architectures (95 %, percentiles of 2,000 resamples of pairs; scipy).
Searches: 50 a generation, `--generations`, 1,000 validation images. The supernets are those of
`benchmarks/training` at an equal cost, in the same folder, so that each is trained once. PONAS is
trained at that cost, too: half of it pays the largest path, the rest the blocks.

Supernets, searches and retrained architectures are kept below --home: what is there is not computed
again, and an interrupted retraining goes on.

With `--quick`: the digits, 8 subnets and 3 baselines of 1 epoch, 3 generations, uniform and PONAS.

Usage:
    python benchmarks/prediction/prediction.py --json prediction.json
    python benchmarks/prediction/prediction.py --quick                    (< 2 minutes)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from common.trained import Paths, Plan, kept, trained
from correlation import correlations
from retrained import Recipe, Retraining
from tables import show

import raynas
from raynas.commands import program
from raynas.commands.families import build_family, freezing_of
from raynas.commands.named_strategies import StrategyName, make_strategy
from raynas.costs import flops_table, random_near
from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.files import Record
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.supernets.cropping import largest_choices
from raynas.training import FairPaths

SUPERNETS: Mapping[str, Paths] = {
    "uniform": Paths("uniform"),
    "fair": Paths("fair"),
    "greedy": Paths("filtered", True, True),
    "ponas": Paths("progressive"),
}
"""The paths that the supernets are trained on."""

STRATEGIES: tuple[StrategyName, ...] = ("ea", "cf", "pcf")

WINDOW = (0.45, 0.50)
"""The FLOPs of winners and baselines: 0 is the cheapest architecture, and 1 the dearest."""


@dataclass(frozen=True)
class Study:
    """The architectures that are retrained, and the recipe.

    Args:
        subnets: uniform random architectures, whose order is compared.
        baselines: random ones in the window of FLOPs of the searches.
        retrain_epochs: of each retraining.
        retrain_seed: of its weights and batches, the same for all.
        retrain_device: cpu, on which a retraining ends alike everywhere, or cuda.
        winners: whether the supernets are searched, too.
    """

    subnets: int = 24
    baselines: int = 8
    retrain_epochs: int = 3
    retrain_seed: int = 0
    retrain_device: str = "cpu"
    winners: bool = True

    def sized(self, *, quick: bool) -> Study:
        """The study itself, or its quick version."""
        return replace(self, subnets=8, baselines=3, retrain_epochs=1) if quick else self

    @property
    def recipe(self) -> Recipe:
        """The recipe of each retraining."""
        return Recipe(self.retrain_epochs, self.retrain_seed, self.retrain_device)


PLAN = Plan(home=Path("runs/training_paths"))
STUDY = Study()


def main(
    json: Path = Path("prediction.json"),
    plan: Plan = PLAN,
    study: Study = STUDY,
    seeds: tuple[int, ...] = (0,),
    only: tuple[str, ...] = (),
) -> None:
    """Retrain architectures, and compare their order with those in supernets.

    Args:
        json: receives the raw rows, rewritten as they are measured.
        plan: the size of the supernets, their searches and the data.
        study: the architectures that are retrained.
        seeds: of the supernets and their searches.
        only: the names of supernets; all if omitted.
    """
    torch.set_num_threads(1)
    plan, study = plan.sized(), study.sized(quick=plan.quick)
    if plan.quick:
        seeds, only = seeds[:1], only or ("uniform", "ponas")
    images = plan.images()
    torch.manual_seed(0)
    space = build_family(plan.system, images)
    names = named(only, space)
    retraining = Retraining(plan, study.recipe, space, images)
    rng = np.random.default_rng(0)
    drawn = list(dict.fromkeys(space.space.sample(rng) for _ in range(4 * study.subnets)))
    subnets = retraining.of(drawn[: study.subnets])
    report: Record = {
        "machine": machine(),
        "plan": described(plan),
        "study": asdict(study),
        "subnets": subnets,
        "predictions": [costs_alone(subnets, name) for name in ("flops", "params")],
        "baselines": retraining.of(near(space, study.baselines)) if study.winners else [],
        "winners": [],
    }
    write_report(json, report)
    for seed in seeds:
        for name in names:
            supernet, _ = trained(plan, SUPERNETS[name], seed, images)
            report["predictions"].append(
                {
                    "name": name,
                    "seed": seed,
                    **predicted(plan, name, seed, supernet, images, subnets),
                }
            )
            write_report(json, report)
            for strategy in STRATEGIES if study.winners else ():
                found = searched(plan, name, seed, strategy, supernet, images)
                (row,) = retraining.of([tuple(found["architecture"])])
                row = {"name": name, "seed": seed, "strategy": strategy, **row}
                report["winners"].append({**row, "searched": found})
                write_report(json, report)
    show(report)


def named(only: Sequence[str], space: ChainSupernet) -> tuple[str, ...]:
    """The supernets to train, which the space allows.

    Raises:
        InputError: another name, fair paths of blocks with different numbers of choices, or PONAS
            without choices that others can be cropped from.
    """
    for name in only:
        require(name in SUPERNETS, "only", f"some of {', '.join(SUPERNETS)}", name, "Mend it.")
    names = tuple(only or SUPERNETS)
    if "fair" in names:
        FairPaths(space.space)
    if "ponas" in names:
        largest_choices(space)
    return names


def described(plan: Plan) -> Record:
    """The plan as JSON."""
    return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(plan).items()}


def window(supernet: ChainSupernet) -> tuple[float, float]:
    """The least and the most FLOPs of winners and baselines."""
    table = flops_table(supernet)
    least, most = table.of(table.cheapest()), table.of(table.dearest())
    low, high = (least + share * (most - least) for share in WINDOW)
    return low, high


def near(supernet: ChainSupernet, count: int) -> list[Architecture]:
    """Random architectures in the window of FLOPs."""
    low, high = window(supernet)
    # The middle, and half of the width as a share of it.
    middle, within = (low + high) / 2, (high - low) / (low + high)
    return random_near(flops_table(supernet), middle, count, within=within)


def costs_alone(subnets: Sequence[Record], cost: str) -> Record:
    """How well a cost predicts test accuracy: what any prediction has to beat."""
    values = [row[cost] for row in subnets]
    return {"name": cost, "seed": None, **correlations(values, truth_of(subnets))}


def truth_of(subnets: Sequence[Record]) -> list[float]:
    """The test accuracy of each architecture on its own."""
    return [row["test_top1"] for row in subnets]


def predicted(
    plan: Plan, name: str, seed: int, supernet: ChainSupernet, images: SearchData,
    subnets: Sequence[Record],
) -> Record:  # fmt: skip
    """The scores of architectures in a supernet, and how well they predict."""
    architectures = [tuple(row["architecture"]) for row in subnets]

    def measure() -> Record:
        scores = raynas.evaluate(supernet, images, architectures)
        return {"top1": [score.top1 for score in scores], "loss": [score.loss for score in scores]}

    file = plan.folder(seed) / SUPERNETS[name].training / f"scores-{len(subnets)}.json"
    scores = kept(file, measure)
    return {**scores, **correlations(scores["top1"], truth_of(subnets))}


def searched(
    plan: Plan, name: str, seed: int, strategy: StrategyName, supernet: ChainSupernet,
    images: SearchData,
) -> Record:  # fmt: skip
    """The winner of one search in the window of FLOPs."""
    run_dir = plan.folder(seed) / SUPERNETS[name].training / f"window-{strategy}"

    def search() -> Record:
        sizes: Any = {"population": 12 if plan.quick else 50, "generations": plan.generations}
        settings = {**thresholds(supernet, strategy), **sizes}
        low, high = window(supernet)
        few = replace(images, validation=images.validation[: 2 if plan.quick else 10])
        result = raynas.search(
            supernet, few, strategy=make_strategy(strategy, **settings), run_dir=run_dir,
            seed=seed, workers=0, resume=True,
            constraint=raynas.FLOPs(at_most=high, at_least=low),
        )  # fmt: skip
        names = ("architecture", "names", "top1", "test_top1", "flops", "evaluations", "seconds")
        return {key: result.record[key] for key in names}

    return kept(run_dir.with_suffix(".json"), search)


def thresholds(supernet: ChainSupernet, strategy: str) -> Record:
    """The settings of the PCF-ES paper for a supernet."""
    freezing = freezing_of(supernet)
    if freezing is None or strategy not in ("cf", "pcf"):
        return {}
    if strategy == "cf":
        return {"threshold": freezing.cf}
    return {"threshold": freezing.pcf, "monitor": freezing.monitor}


if __name__ == "__main__":
    program.run(main)
