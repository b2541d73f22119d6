"""`raynas retrain`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

import raynas
from raynas.commands import terminal
from raynas.commands.architectures import architecture_in, architecture_of
from raynas.commands.blocks import read_blocks, require_searched_blocks
from raynas.commands.families import require_trained
from raynas.commands.loading import DataOptions, SupernetOptions, is_built, load_data
from raynas.commands.options import chosen, options_of, renamed
from raynas.commands.supernet_training import adjust
from raynas.commands.workflow import warn_of_refused
from raynas.errors import is_whole, require
from raynas.files import Record
from raynas.preparation import require_seed
from raynas.report.read import RunRecords, read_run
from raynas.score import members_of, objective_text
from raynas.space import Architecture
from raynas.training import presets

if TYPE_CHECKING:
    from raynas import TrainingSettings as TrainingOptions
    from raynas.retraining.retrain import Retrained
else:
    TrainingOptions = options_of(raynas.TrainingSettings, unset=True)

PRESETS: Mapping[str, str] = {
    "digits": "RETRAIN_DIGITS",
    "fashion-mnist": "RETRAIN_FASHION_MNIST",
    "cifar10": "RETRAIN_CIFAR",
    "cifar100": "RETRAIN_CIFAR",
    "imagenet": "RETRAIN_SPOS",
}
"""The settings in `raynas.training.presets` of each data set."""

PAPERS: Mapping[str, str] = {"ponas": "RETRAIN_PONAS", "greedynas-se": "RETRAIN_GREEDY_SE"}
"""Settings on ImageNet for supernets of papers that retrain otherwise than SPOS, by family."""

FINE_TUNING = 0.1
"""The learning rate of inherited weights, over that of fresh ones."""


def retrain(
    run_dir: Positional[Path],
    data: DataOptions,
    supernet: SupernetOptions,
    settings: TrainingOptions,
    out: Path | None = None,
    architecture: str | None = None,
    member: int | None = None,
    inherit: bool = False,
) -> None:
    """Train the architecture that a search found for itself, and resume where it was interrupted.

    On several GPUs: torchrun --nproc-per-node 4 -m raynas retrain, with the same options.

    Args:
        run_dir: the directory of a finished search.
        data: the samples that were searched on.
        supernet: that was searched.
        settings: how it is trained; as in the data set's preset for retraining if omitted, with a
            tenth of its learning rate beside --inherit. --seed determines fresh weights, too.
        out: the directory that receives the files of an export, and the checkpoint while the
            training goes on; retrained in the run directory if omitted, and for --architecture and
            --member a folder beside it.
        architecture: another one than the winner, as 2,1,0,3 or c7,c5,c3,x, or the file of one, of
            raynas or of another project: a baseline.
        member: of the search's front, or of its finalists where it searched for one winner,
            counted from 0, the best one.
        inherit: fine-tune the supernet's weights instead of fresh ones.
    """
    records = read_run(run_dir)
    found = chosen_architecture(records, architecture, member)
    require_trained(supernet.supernet, supernet.weights)
    preset = preset_of(data.data, supernet.supernet)
    terms = retraining_settings(preset, settings, inherit=inherit)
    given = architecture is not None or member is not None
    folder = f"retrained-{'-'.join(map(str, found))}" if given else "retrained"
    directory = run_dir / folder if out is None else out
    # What needs torch is loaded when the arguments are known to be right.
    from raynas.commands.torchrun import joined
    from raynas.result import load_result
    from raynas.retraining.records import require_directory, settings_record

    with joined() as processes:
        planned = {"architecture": list(found), "settings": settings_record(terms)}
        processes.in_first(lambda: require_directory(directory, planned))
        samples = load_data(data, train=True)
        network, task = supernet.load(data, samples)
        require_searched_blocks(names_of(records), network.names, read_blocks(supernet.blocks))
        if architecture is not None:
            # Once more, with the channels that a file may say.
            found = architecture_of(network, architecture)
        loaded = load_result(run_dir, network, samples, task)
        screen = terminal.make_console()
        screen.print(
            f"Retraining {' '.join(network.decode(found))} on {samples.name} in {directory}",
            soft_wrap=True,
        )
        retrained = retrain_with_progress(
            screen, network, samples, found, terms, directory,
            inherit=inherit, evaluation=loaded.evaluation, task=task,
        )  # fmt: skip
        screen.print(retrained_table(retrained, searched(records.require_result(), found)))
        screen.print(f"Network: {directory}", soft_wrap=True)
        if processes.first:
            warn_of_refused([retrained.exported])


def chosen_architecture(
    records: RunRecords, architecture: str | None, member: int | None
) -> Architecture:
    """The winner of a search, a member of its result, or another architecture by its text.

    Raises:
        InputError: no result, no such member, no architecture of this space, or both arguments.
    """
    require(
        architecture is None or member is None,
        "architecture",
        "either --architecture or --member",
        "both",
        "Leave one of them out.",
    )
    result = records.require_result()
    if architecture is not None:
        return architecture_in(names_of(records), architecture)
    return tuple((result if member is None else member_of(result, member))["architecture"])


def names_of(records: RunRecords) -> list[tuple[str, ...]]:
    """The names of the choices of every block that was searched."""
    return [tuple(own) for own in records.config["supernet"]["names"]]


def retrain_with_progress(
    screen: Console,
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    architecture: Architecture,
    settings: raynas.TrainingSettings,
    out: Path,
    **options: Any,
) -> Retrained:
    """Retrain an architecture as `raynas.retrain` does, with progress and the time that is left.

    Args:
        screen: where to show it.
        supernet, data, architecture, settings, out: as those of `raynas.retrain`.
        options: others of `raynas.retrain`.

    Raises:
        InputError: as there.
    """
    from raynas.task import classification_or

    judged = classification_or(options.get("task"), supernet.num_classes)
    with terminal.training_progress(screen, judged.objectives[0]) as progress:
        return raynas.retrain(
            supernet, data, architecture, settings, out,
            observer=progress.epoch, step_observer=progress.step, **options,
        )  # fmt: skip


def member_of(result: Record, member: int) -> Record:
    """A member of a front, or a finalist of any other search, the best one first.

    Raises:
        InputError: the search has no such member.
    """
    members = members_of(result)
    require(
        is_whole(member) and 0 <= member < len(members),
        "member",
        f"0 to {len(members) - 1}, of the search's front or finalists",
        member,
        "Choose one of them, or name an --architecture.",
    )
    return members[member]


def searched(result: Record, architecture: Architecture) -> Record | None:
    """The record of an architecture in a search, if it is among the finalists."""
    every = (result, *result["front"], *result.get("finalists", ()))
    return next((each for each in every if tuple(each["architecture"]) == architecture), None)


def preset_of(data: str, supernet: str) -> raynas.TrainingSettings:
    """The settings of a data set, and on ImageNet of the paper that the supernet is of.

    Raises:
        InputError: a file of weights that cannot be read.
    """
    name = PRESETS.get(data, "OWN_DATA")
    if data == "imagenet":
        with renamed(checkpoint="supernet"):
            recipe = None if is_built(supernet) else raynas.supernets.recipe_of(Path(supernet))
        family = supernet if recipe is None else str(recipe.get("builder"))
        if recipe is not None and recipe.get("se"):
            family = f"{family}-se"
        name = PAPERS.get(family, name)
    preset: raynas.TrainingSettings = getattr(presets, name)
    return preset


def retraining_settings(
    preset: raynas.TrainingSettings, options: TrainingOptions, *, inherit: bool
) -> raynas.TrainingSettings:
    """A preset with the options that were given.

    Raises:
        InputError: an option out of range.
    """
    given = chosen(options)
    require_seed(given.get("seed", preset.seed))
    if inherit:
        given = {"learning_rate": FINE_TUNING * preset.learning_rate, **given}
    return adjust(preset, **given)


def retrained_table(retrained: Retrained, score: Record | None) -> Table:
    """A retrained network as a table of names and values.

    Args:
        retrained: the network.
        score: of the same architecture in the supernet; `None` if it is not known.
    """
    best = retrained.best
    seconds = sum(report.seconds for report in retrained.reports)
    rows = [("architecture", ",".join(map(str, best.architecture)))]
    rows += [("its choices", " ".join(best.names))]
    for name, value in best.objectives.items():
        tested = (best.test_objectives or {}).get(name)
        rows += [(f"validation {name}", shown(name, value)), (f"test {name}", shown(name, tested))]
        if score is not None:
            rows += [(f"validation {name} in the supernet", shown(name, score[name]))]
    rows += [("FLOPs (multiply-adds)", f"{best.flops:,}"), ("parameters", f"{best.params:,}")]
    rows += [("epochs", f"{len(retrained.reports)} in {seconds:.0f} s")]
    table = Table(title="Retrained network", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def shown(name: str, value: Any) -> str:
    """An objective for a person to read; a share in per cent."""
    return "no samples" if value is None else objective_text(name, value)
