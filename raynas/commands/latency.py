"""`raynas latency`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

import raynas
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.options import given, options_of
from raynas.commands.terminal import make_console
from raynas.costs.latency_table import LatencyTable
from raynas.costs.timing import TimingSettings, measure_latency
from raynas.files import require_writable

if TYPE_CHECKING:
    from raynas.costs.timing import TimingSettings as TimingOptions
else:
    TimingOptions = options_of(TimingSettings)


def latency(
    data: DataOptions, supernet: SupernetOptions, out: Path, settings: TimingOptions
) -> None:
    """Measure the seconds of every choice of every block on this machine, for --latency-table.

    Args:
        data: the samples, whose size counts alone.
        supernet: what is measured; its weights do not matter.
        out: the JSON file to write.
        settings: how it is measured.
    """
    chosen = given(TimingSettings, settings)
    require_writable("out", out)
    samples = load_data(data)
    network, _ = supernet.load(data, samples)
    screen = make_console()

    def observe(size: int, done: int, rounds: int) -> None:
        screen.print(f"batch {size}: round {done} of {rounds}", soft_wrap=True)

    table = measure_latency(network, chosen, observe)
    table.save(out)
    screen.print(latency_table(table))
    screen.print(f"Wrote {out}", soft_wrap=True)


def measured_in(
    file: Path, supernet: raynas.ChainSupernet, settings: TimingSettings
) -> LatencyTable:
    """The latency table of a file, measured on this machine and written first if it is missing.

    Raises:
        InputError: another file, or a place that cannot be written to.
    """
    if not file.exists():
        require_writable("table", file)
        make_console().print(f"Measuring latencies: {file}", soft_wrap=True)
        measure_latency(supernet, settings).save(file)
    return LatencyTable.load(file)


def latency_table(table: LatencyTable) -> Table:
    """The range of a table's sums and their errors, for each size of batch."""
    threads = table.setting.get("threads")
    words = [table.device, *([] if threads is None else [f"threads: {threads}"])]
    shown = Table(title=f"Latency on {', '.join(words)}")
    columns = ("batch", "cheapest", "dearest", "mean error of sums", "largest", "Kendall's τ")
    for column in columns:
        shown.add_column(column, justify="right")
    for size, measured in sorted(table.batches.items()):
        costs = measured.table()
        verified, tau = measured.verification, measured.verification.kendall_tau
        shown.add_row(
            str(size),
            *(f"{1e3 * costs.of(pick()):.2f} ms" for pick in (costs.cheapest, costs.dearest)),
            f"{verified.mean_error:.1%}",
            f"{verified.largest_error:.1%}",
            "none" if tau is None else f"{tau:.2f}",
        )
    return shown
