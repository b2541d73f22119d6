"""Steps of `raynas.commands` under an earlier name, for scripts that import them so."""

from raynas.commands.named_strategies import StrategyName, make_strategy
from raynas.commands.program import run
from raynas.commands.run_options import choose_run_dir
from raynas.commands.supernet_training import train_or_load
from raynas.commands.workflow import search_and_show

__all__ = [
    "StrategyName",
    "choose_run_dir",
    "make_strategy",
    "run",
    "search_and_show",
    "train_or_load",
]
