"""Make the tables and figures of the PCF-ES paper on our data, beside the paper's numbers.

Tables 1 to 4 and Figures 2, 3 and 5 to 11, on the small supernet of every family (SPOS, FairNAS,
GreedyNAS, ProxylessNAS, channels, mixed precision, PONAS) on Fashion-MNIST, or, with --quick, on
the handwritten digits. Supernets are trained once, and every search has a folder of its own: what
is finished is not run again, so that the same command goes on where it was interrupted. After each
search the raw numbers are written as JSON, and the page from them. The images come from Debian's
`dataset-fashion-mnist`, or from a folder given with --data.

    python experiments/reproduce.py --quick
    python experiments/reproduce.py --page docs/reproduction.md
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

from reproduction import sources
from reproduction.families import FAMILIES, Family
from reproduction.lab import Lab
from reproduction.page import page
from reproduction.plan import Sizes
from reproduction.study import Study, places

from raynas.commands import program, terminal
from raynas.errors import require
from raynas.evolution.presets import ChoiceFreezing
from raynas.files import Record, read_json, replace_bytes, require_writable, write_json

HOME = Path("runs/reproduction")
QUICK = Sizes(20, 7, (0,), (0.5, 0.3), (0.5,), (1, 3), 2)
QUICK_EPOCHS = 6
QUICK_CHANGES: dict[str, Any] = {
    "freezing": ChoiceFreezing(0.4, 0.4, 3), "thresholds": (0.4, 0.5), "sampled": 0.4
}  # fmt: skip
"""So few generations agree on little: thresholds at which something is frozen."""

QUICK_BLOCKS = {"digits": {"progressive": {"block_epochs": 1, "block_samples": 64}}}
"""Each of the images is seen by as many paths as a block has choices."""


@final
@dataclass(frozen=True)
class Options:
    """The options of what is made, and how much of it.

    Args:
        quick: the digits, with less of everything; minutes.
        home: the folder of supernets, searches and raw numbers.
        page: the file of the page; in the folder if omitted.
        render: a JSON file of raw numbers: write its page, and run nothing.
        families: some of the supernets, by name; all if omitted.
        dataset: on which everything is searched.
        seeds: of the searches.
        population: architectures per generation.
        generations: of each search.
        epochs: of each training, for single paths; 24, or 120 on the digits, if omitted.
        calibration: images for batch-norm statistics; 500, or 200 of the digits, if omitted.
        validation: images that steer the searches; 1,000, or 300 of the digits, if omitted.
        data: the folder with the four idx files of Fashion-MNIST; Debian's if omitted.
        cifar: the folder with the archives of CIFAR-10 and CIFAR-100, for Table 2.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
    """

    quick: bool = False
    home: Path = HOME
    page: Path | None = None
    render: Path | None = None
    families: tuple[str, ...] = ()
    dataset: Literal["fashion_mnist", "digits"] = "fashion_mnist"
    seeds: tuple[int, ...] = Sizes.seeds
    population: int = Sizes.population
    generations: int = Sizes.generations
    epochs: int | None = None
    calibration: int | None = None
    validation: int | None = None
    data: Path | None = None
    cifar: Path | None = None
    workers: int | None = None

    def check(self) -> None:
        """Raise `InputError` for supernets that there are not, and seeds that are named twice."""
        known = [family.name for family in FAMILIES]
        unknown = sorted(set(self.families) - set(known))
        require(not unknown, "families", f"some of {known}", unknown, "Mend the names.")
        require(
            len(set(self.seeds)) == len(self.seeds) > 0,
            "seeds",
            "at least one, each once",
            " ".join(map(str, self.seeds)) or "none",
            "Name each once.",
        )

    def study(self) -> Study:
        """The searches on the data.

        Raises:
            InputError: data that are not there, or sizes that they do not have.
        """
        chosen = [each for each in FAMILIES if each.name in self.families or not self.families]
        if self.quick:
            labs = [Lab(self.home / "quick", sources.quick_digits(QUICK_EPOCHS), QUICK, 0)]
            return Study(labs, [quickly(each) for each in chosen])
        sizes = Sizes(self.population, self.generations, self.seeds)
        images = (self.calibration, self.validation)
        source = sources.open_source(self.dataset, self.data, images, self.epochs)
        main = Lab(self.home, source, sizes, self.workers)
        others: list[tuple[sources.DataName, Path | None]] = [("digits", None)]
        if self.cifar is not None:
            others += [("cifar10", self.cifar), ("cifar100", self.cifar)]
        more = [
            replace(main, source=sources.open_source(name, folder, (None, None), None))
            for name, folder in others
            if name != self.dataset
        ]
        return Study([main, *more], chosen)

    def command(self) -> str:
        """The command that makes the page, without the places that only this machine has."""
        names = ("dataset", "families", "seeds", "population", "generations", "epochs",
                 "calibration", "validation")  # fmt: skip
        given = [name for name in names if getattr(self, name) != getattr(Options, name)]
        words = ["python", "experiments/reproduce.py", *(["--quick"] if self.quick else [])]
        for name in given:
            value = getattr(self, name)
            every = value if isinstance(value, tuple) else (value,)
            words += [f"--{name}", *map(str, every)]
        return " ".join(words)


def quickly(family: Family) -> Family:
    """A family whose training is brief, and whose searches freeze early."""
    changes: dict[str, Any] = {"options": QUICK_BLOCKS} if family.paths == "progressive" else {}
    return replace(family, **QUICK_CHANGES, **changes)


def main(options: Options) -> None:
    """Make the tables and figures of the PCF-ES paper on our data.

    Args:
        options: what is made, and how much of it.
    """
    options.check()
    screen = terminal.make_console()
    raw, text = places(options.home / "quick" if options.quick else options.home)
    text = options.page or text
    require_writable("page", text)
    if options.render is not None:
        write_page(text, read_json(options.render))
        screen.print(f"Page: {text}", soft_wrap=True)
        return
    require_writable("home", raw)
    study = options.study()
    study.tell = lambda line: screen.print(line, soft_wrap=True)
    report = study.report(options.command(), quick=options.quick)

    def keep(report: Record) -> None:
        raw.parent.mkdir(parents=True, exist_ok=True)
        write_json(raw, report)
        write_page(text, report)

    with one_cluster(0 if options.quick else options.workers):
        study.run(report, keep)
    screen.print(f"Raw numbers: {raw}, page: {text}", soft_wrap=True)


def write_page(path: Path, report: Record) -> None:
    """Write the page of a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, page(report).encode())


def one_cluster(workers: int | None) -> AbstractContextManager[object]:
    """Ray for all searches together, where any of them uses it."""
    if workers == 0:
        return nullcontext()
    from raynas.workers.ray_cluster import connected

    return connected()


if __name__ == "__main__":
    program.run(main)
