"""Running what is wanted: supernets trained once, each search in a folder of its own.

Searches share a ledger: the history is the same with and without, and most of what they propose
was scored before. Timed searches do without it. A timed search that was interrupted starts anew,
since the time of two parts says nothing; any other goes on where it was.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import raynas
from raynas.files import Record, read_json, write_json
from raynas.report.read import read_run
from raynas.runlog import RESULT
from reproduction.families import Family
from reproduction.plan import Sizes, Wanted
from reproduction.rows import row_of
from reproduction.sources import Source

TIMING = "timing.json"
"""The file in the folder of a timed search that holds its seconds of processor time."""


@final
@dataclass(frozen=True)
class Lab:
    """The data set, and the place of everything that is made of it.

    Args:
        home: the folder.
        source: the data set.
        sizes: of the searches.
        workers: Ray actors; 0 for this process, every GPU or core if `None`.
    """

    home: Path
    source: Source
    sizes: Sizes
    workers: int | None

    def folder(self, family: Family) -> Path:
        """The folder of a supernet, which tells what it was trained on and for how long."""
        source = self.source
        data = f"{source.name}-{source.calibration}-{source.validation}"
        return self.home / data / f"{family.name}-{source.epochs}-epochs"

    def run_dir(self, family: Family, wanted: Wanted) -> Path:
        """The run directory of a search."""
        sizes = f"population{self.sizes.population}-generations{self.sizes.generations}"
        return self.folder(family) / sizes / f"{wanted.variant.name}-seed{wanted.seed}"

    def open(self, family: Family) -> raynas.ChainSupernet:
        """The trained supernet of a family."""
        folder = self.folder(family)
        folder.mkdir(parents=True, exist_ok=True)
        return family.open(self.source, folder / "supernet.safetensors")

    def search(self, family: Family, supernet: raynas.ChainSupernet, wanted: Wanted) -> Record:
        """The row of a search, which is run as far as it is missing.

        Args:
            family: of the supernet.
            supernet: as `open` gives it.
            wanted: the search.

        Raises:
            InputError: the folder holds another search.
        """
        run_dir = self.run_dir(family, wanted)
        if wanted.variant.timed and not (run_dir / RESULT).exists():
            self._time(family, supernet, wanted, run_dir)
        else:
            ledger = None if wanted.variant.timed else self.folder(family) / "scores.sqlite"
            self._search(family, supernet, wanted, run_dir, ledger=ledger)
        records = read_run(run_dir)
        timing = read_json(run_dir / TIMING) if (run_dir / TIMING).exists() else None
        recalibrated = records.config["evaluation"]["batch_norm"] == "recalibrate"
        return row_of(wanted, records, self.source.calibration if recalibrated else 0, timing)

    def _search(
        self,
        family: Family,
        supernet: raynas.ChainSupernet,
        wanted: Wanted,
        run_dir: Path,
        *,
        ledger: Path | None = None,
        clock: list[float] | None = None,
    ) -> None:
        """Search, or read a finished search again.

        Args:
            family, supernet, wanted: as those of `search`.
            run_dir: of the records.
            ledger: of the family's searches.
            clock: receives the processor time at the end of each generation.
        """
        raynas.search(
            supernet,
            self.source.images,
            strategy=wanted.variant.strategy(self.sizes.population, self.sizes.generations),
            constraint=family.limit(self.source.name),
            evaluation=wanted.variant.evaluation,
            run_dir=run_dir,
            workers=self.workers,
            seed=wanted.seed,
            resume=True,
            ledger=ledger,
            observer=None if clock is None else lambda *_: clock.append(time.process_time()),
        )

    def _time(
        self, family: Family, supernet: raynas.ChainSupernet, wanted: Wanted, run_dir: Path
    ) -> None:
        """Search without the ledger, from the first generation to the last in one go."""
        unfinished = run_dir.with_name(f".{run_dir.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        clock = [time.process_time()]
        self._search(family, supernet, wanted, unfinished, clock=clock)
        if self.workers == 0:
            pairs = pairwise(clock)
            write_json(unfinished / TIMING, {"cpu_seconds": [end - begin for begin, end in pairs]})
        os.replace(unfinished, run_dir)
