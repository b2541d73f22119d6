"""What architectures cost, and which are legal.

`tables`: additive costs; `counting`: what choices cost; `limits`: what is legal, and
exact counting; `drawing`: uniform draws from the legal architectures.
"""

from raynas.costs.counting import count_macs, count_params, flops_table, params_table
from raynas.costs.limits import Budget, Constraint, FLOPs, Params, distinct_sums
from raynas.costs.tables import CostTable

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
