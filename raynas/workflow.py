"""`raynas.commands.workflow` under its earlier name, for scripts that import it so."""

from raynas.commands.workflow import (
    StrategyName,
    choose_run_dir,
    make_strategy,
    run,
    search_and_show,
    train_or_load,
)

__all__ = [
    "StrategyName",
    "choose_run_dir",
    "make_strategy",
    "run",
    "search_and_show",
    "train_or_load",
]
