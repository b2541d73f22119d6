"""The `raynas` command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from raynas._version import __version__
from raynas.commands.describe import describe, evaluate
from raynas.commands.export import export
from raynas.commands.latency import latency
from raynas.commands.ledger import ledger
from raynas.commands.onnx import onnx
from raynas.commands.program import run
from raynas.commands.report import report
from raynas.commands.retrain import retrain
from raynas.commands.search import search
from raynas.commands.specialize import specialize
from raynas.commands.train import train
from raynas.commands.watch import watch

COMMANDS: Mapping[str, Callable[..., None]] = {
    "train": train,
    "describe": describe,
    "evaluate": evaluate,
    "latency": latency,
    "search": search,
    "watch": watch,
    "specialize": specialize,
    "export": export,
    "onnx": onnx,
    "retrain": retrain,
    "ledger": ledger,
    "report": report,
}
"""The subcommands by name."""


def main() -> None:
    """Run one of the subcommands, or print the version."""
    if sys.argv[1:] == ["--version"]:
        print(f"raynas {__version__}")
        return
    run(COMMANDS)
