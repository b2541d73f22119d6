"""What architectures cost, and which are legal.

`tables`: additive cost tables, limits, and exact counting under a limit; `drawing`: uniform draws
from the legal architectures.
"""

from raynas.costs.tables import (
    Budget,
    Constraint,
    CostTable,
    FLOPs,
    Params,
    count_macs,
    count_params,
    distinct_sums,
    flops_table,
    params_table,
)

__all__ = [
    "Budget",
    "Constraint",
    "CostTable",
    "FLOPs",
    "Params",
    "count_macs",
    "count_params",
    "distinct_sums",
    "flops_table",
    "params_table",
]
