"""Contract kits and small problems, for the tests of this library and for your own things.

`check_supernet`, `check_bounds`, `check_strategy`, `check_evaluator` and `check_pool` raise
`AssertionError` with the promise that is broken; `build_table` scores every architecture of a small
space, and `TableEvaluator` searches it in milliseconds. Needs no test framework.

`supernets`: small supernets and data; `tables`: exhaustive tables; `chains`: the contract of
supernets; `bounds`: that of limits; `strategies`: that of strategies; `evaluators`: those of
candidate evaluators and of pools.
"""

from raynas.testing.bounds import check_bounds
from raynas.testing.chains import check_supernet
from raynas.testing.evaluators import check_evaluator, check_pool
from raynas.testing.strategies import check_strategy, pretended_score, run_strategy
from raynas.testing.supernets import small_data, small_supernet
from raynas.testing.tables import Table, TableEvaluator, build_table, describe_table

__all__ = [
    "Table",
    "TableEvaluator",
    "build_table",
    "check_bounds",
    "check_evaluator",
    "check_pool",
    "check_strategy",
    "check_supernet",
    "describe_table",
    "pretended_score",
    "run_strategy",
    "small_data",
    "small_supernet",
]
