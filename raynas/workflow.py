"""`raynas.commands.workflow` and training under an earlier name, for scripts that import it so."""

from raynas.commands.supernet_training import train_or_load
from raynas.commands.workflow import (
    StrategyName,
    choose_run_dir,
    make_strategy,
    run,
    search_and_show,
)

__all__ = [
    "StrategyName",
    "choose_run_dir",
    "make_strategy",
    "run",
    "search_and_show",
    "train_or_load",
]
