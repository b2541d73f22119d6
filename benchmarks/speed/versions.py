"""Is one version of the package slower than another?

Question: how do the processor seconds of a generation compare between two source trees, mode by
mode, and do both give the same correct counts?

Protocol: each version runs in a process of its own, with its folder first on the path, one thread,
and the same work (`generations.py`): 25 random candidates of the 12-block supernet of 28² images
with random weights on noise, 1,000 calibration and 500 validation images; every turn has other
candidates, as every generation of a search. Versions take turns, in an order that is reversed every
other time, so that drifts of the machine meet both. Both are started several times, since where a
process happens to lie in memory moves all its turns by up to 7 per cent. Modes: `trie`,
`frozen+trie` behind 6 frozen blocks, and `all` with first votes, few calibration images, folding
and bfloat16. Shown are median and quartiles, over the starts, of the median ratio of
processor seconds within a turn, to the first version; `equal` compares all correct counts. On a
busy machine even processor seconds drift: compare a version with itself (give its folder twice) to
see by how much.

Usage:
    git worktree add ../before COMMIT
    python benchmarks/speed/versions.py ../before . --json versions.json
    python benchmarks/speed/versions.py . . --quick
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

sys.path.insert(1, str(Path(__file__).parents[1]))

from common.reports import machine, write_report
from generations import MODES

from raynas.errors import require

SERVER = Path(__file__).with_name("generations.py")


def main(
    folders: tyro.conf.Positional[tuple[Path, Path]],
    json_path: Annotated[Path, tyro.conf.arg(name="json")] = Path("versions.json"),
    quick: bool = False,
    starts: int = 8,
    turns: int = 4,
    modes: tuple[str, ...] = tuple(MODES),
) -> None:
    """Compare the processor seconds of generations between two source trees.

    Args:
        folders: of the versions: each holds the package `raynas`.
        json_path: receives the raw rows.
        quick: few starts, and turns of few candidates.
        starts: of each version in each mode.
        turns: of each start.
        modes: to compare in.
    """
    for folder in folders:
        found = (folder / "raynas" / "__init__.py").exists()
        require(found, "folders", "folders that hold the package raynas", folder, "Name two trees.")
    unknown = sorted(set(modes) - set(MODES))
    require(not unknown, "modes", f"some of {', '.join(MODES)}", unknown, "Leave it out for all.")
    starts, turns = (2, 2) if quick else (starts, turns)
    require(starts > 1, "starts", "at least 2", starts, "Use 8.")
    require(turns > 0, "turns", "at least 1", turns, "Use 4.")
    report: dict[str, Any] = {"quick": quick, "machine": machine(), "rows": []}
    for mode in modes:
        rows = []
        for _ in range(starts):
            with serving(folders, mode, quick=quick) as servers:
                rows.append(compare(servers, turns))
        report["rows"] += [
            {"mode": mode, "version": name, "starts": [row[index] for row in rows]}
            for index, name in enumerate(("first", "second"))
        ]
        report["load"] = os.getloadavg()[0]
        write_report(json_path, report)
    show(report)


@contextmanager
def serving(folders: Sequence[Path], mode: str, *, quick: bool) -> Iterator[list[subprocess.Popen]]:
    """A warmed-up process for each version, which ends with the context."""
    servers = []
    try:
        for folder in folders:
            paths = [str(folder.resolve()), os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
            command = [sys.executable, str(SERVER), mode, str(folder.resolve()), str(int(quick))]
            servers.append(
                subprocess.Popen(
                    command,
                    env={**environment, "OMP_NUM_THREADS": "1"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for server in servers:
            ask(server, "warm up")
        yield servers
    finally:
        for server in servers:
            # Its end of input is its end.
            server.communicate()


def ask(server: subprocess.Popen, request: str) -> dict[str, Any]:
    """Send a line, and wait for the answer."""
    assert server.stdin
    assert server.stdout
    server.stdin.write(request + "\n")
    server.stdin.flush()
    line = server.stdout.readline()
    if not line:
        raise EOFError("a version ended early; what it printed above says why")
    answer: dict[str, Any] = json.loads(line)
    return answer


def compare(servers: Sequence[subprocess.Popen], turns: int) -> list[dict[str, Any]]:
    """The turns of both versions in one start."""
    answers: list[list[dict[str, Any]]] = [[] for _ in servers]
    for turn in range(turns):
        order = list(zip(servers, answers, strict=True))
        for server, mine in reversed(order) if turn % 2 else order:
            mine.append(ask(server, f"turn {turn}"))
    rows = []
    for mine in answers:
        pairs = list(zip(answers[0], mine, strict=True))
        rows.append(
            {
                "processor_seconds": [answer["processor_seconds"] for answer in mine],
                "seconds": [answer["seconds"] for answer in mine],
                "ratios": [b["processor_seconds"] / a["processor_seconds"] for a, b in pairs],
                "equal": all(a["correct"] == b["correct"] for a, b in pairs),
            }
        )
    return rows


def show(report: dict[str, Any]) -> None:
    """Print the rows."""
    table = Table(title="processor seconds of a generation")
    for column in ("mode", "version", "seconds", "ratio (quartiles)", "equal"):
        table.add_column(column, justify="right")
    for row in report["rows"]:
        starts = row["starts"]
        ratios = [statistics.median(start["ratios"]) for start in starts]
        seconds = [statistics.median(start["processor_seconds"]) for start in starts]
        lower, middle, upper = statistics.quantiles(ratios, n=4)
        table.add_row(
            row["mode"],
            row["version"],
            f"{statistics.median(seconds):.2f}",
            f"{middle:.3f} ({lower:.3f}, {upper:.3f})",
            "yes" if all(start["equal"] for start in starts) else "no",
        )
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(main)
