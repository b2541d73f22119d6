"""Running what is wanted: supernets trained once, each search in a folder of its own.

Searches share a ledger: the history is the same with and without, and most of what they propose
was scored before. Timed searches do without it. A timed search that was interrupted starts anew,
since the time of two parts says nothing; any other goes on where it was.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import raynas
from raynas.evaluation.settings import protocol_for
from raynas.files import Record, read_json, write_json
from raynas.preparation import Prepared, prepare
from raynas.report.read import read_run
from raynas.run_samples import require_same_data
from raynas.runlog import RESULT, require_resumable
from raynas.search import configuration, recorded_supernet
from reproduction.families import Family
from reproduction.plan import Sizes, Wanted
from reproduction.rows import row_of
from reproduction.sources import Source

TIMING = "timing.json"
"""The file in the folder of a timed search that holds its seconds of processor time."""


@final
@dataclass(frozen=True)
class Opened:
    """A trained supernet that is ready to be searched.

    Args:
        family: the supernet's.
        supernet: with its weights.
        prepared: supernet, data and limit, checked.
    """

    family: Family
    supernet: raynas.ChainSupernet
    prepared: Prepared


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

    def weights(self, family: Family) -> Path:
        """The file of a supernet's weights."""
        return self.folder(family) / "supernet.safetensors"

    def open(self, family: Family) -> Opened:
        """The supernet of a family, trained unless its weights are there.

        Raises:
            InputError: as the training, or a limit that cannot be satisfied.
        """
        self.folder(family).mkdir(parents=True, exist_ok=True)
        supernet = family.open(self.source, self.weights(family))
        limit = family.limit(self.source.name)
        prepared = prepare(supernet, self.source.images, limit, None, None)
        return Opened(family, supernet, prepared)

    def finished(self, opened: Opened, wanted: Wanted) -> Record | None:
        """The row of a search that has been run; `None` if it has not.

        Raises:
            InputError: its records are of another search.
        """
        run_dir = self.run_dir(opened.family, wanted)
        if not (run_dir / RESULT).exists():
            return None
        strategy = wanted.variant.strategy(self.sizes.population, self.sizes.generations)
        protocol = protocol_for(opened.supernet, wanted.variant.evaluation)
        config = configuration(opened.prepared, strategy, wanted.seed)
        config["evaluation"] = asdict(protocol)
        config["supernet"] = recorded_supernet(run_dir, opened.prepared, config["supernet"])
        require_resumable(run_dir, config, unknown=("data.digest", "device"))
        records = read_run(run_dir)
        result = records.require_result()
        require_same_data(records.config, result, self.source.images, protocol, "home")
        timing = read_json(run_dir / TIMING) if (run_dir / TIMING).exists() else None
        recalibrated = protocol.batch_norm == "recalibrate"
        return row_of(wanted, records, self.source.calibration if recalibrated else 0, timing)

    def search(self, opened: Opened, wanted: Wanted) -> Record:
        """The row of a search, which is run as far as it is missing.

        Raises:
            InputError: the folder holds another search.
        """
        row = self.finished(opened, wanted)
        if row is not None:
            return row
        run_dir = self.run_dir(opened.family, wanted)
        if wanted.variant.timed:
            self._time(opened, wanted, run_dir)
        else:
            ledger = self.folder(opened.family) / "scores.sqlite"
            self._search(opened, wanted, run_dir, ledger=ledger)
        found = self.finished(opened, wanted)
        assert found is not None
        return found

    def _search(
        self,
        opened: Opened,
        wanted: Wanted,
        run_dir: Path,
        *,
        ledger: Path | None = None,
        clock: list[float] | None = None,
    ) -> None:
        """Search, or go on with an interrupted search.

        Args:
            opened, wanted: as those of `search`.
            run_dir: of the records.
            ledger: of the family's searches.
            clock: receives the processor time at the end of each generation.
        """
        raynas.search(
            opened.supernet,
            self.source.images,
            strategy=wanted.variant.strategy(self.sizes.population, self.sizes.generations),
            constraint=opened.family.limit(self.source.name),
            evaluation=wanted.variant.evaluation,
            run_dir=run_dir,
            workers=self.workers,
            seed=wanted.seed,
            resume=True,
            ledger=ledger,
            observer=None if clock is None else lambda *_: clock.append(time.process_time()),
        )

    def _time(self, opened: Opened, wanted: Wanted, run_dir: Path) -> None:
        """Search without the ledger, from the first generation to the last in one go."""
        unfinished = run_dir.with_name(f".{run_dir.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        clock = [time.process_time()]
        self._search(opened, wanted, unfinished, clock=clock)
        if self.workers == 0:
            spent = [end - begin for begin, end in pairwise(clock)]
            write_json(unfinished / TIMING, {"cpu_seconds": spent})
        os.replace(unfinished, run_dir)
