"""The `raynas` command."""

from __future__ import annotations

from raynas.commands.describe import describe, evaluate
from raynas.commands.export import export
from raynas.commands.ledger import ledger
from raynas.commands.search import search
from raynas.commands.train import train
from raynas.commands.workflow import run


def main() -> None:
    """Run one of the subcommands."""
    run(
        {
            "train": train,
            "describe": describe,
            "evaluate": evaluate,
            "search": search,
            "export": export,
            "ledger": ledger,
        }
    )
