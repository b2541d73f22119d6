"""Costs of architectures, and the limits that make some of them legal.

`tables`: additive costs; `formulas`: operations that PyTorch's counter does not know;
`stated_bits`: those of few bits; `counting`: the costs of a supernet's choices; `bounds`: limits as
the user states them, `bit_operations`: that on few bits; `windows`: one limit, and the room it
leaves behind a prefix; `limits`: all limits on a supernet, which `sums` count exactly,
`feasibility` decides by integer programming, and `drawing` draws from, with `rejection` where they
are narrow; `native_output`: keeping the solver's lines off the standard output; `baselines`:
architectures to compare with; `latency_table`: measured seconds, `latency`: limits on them, and
`timing`: measuring them; `accuracy_table`: what choices lose, `table_identity`: in which supernet,
and `optimum`: the least of a cost within limits.
"""

from raynas.costs.accuracy_table import AccuracyTable
from raynas.costs.baselines import random_near, same_choice
from raynas.costs.bit_operations import BitOps
from raynas.costs.bounds import (
    Bounds,
    Constraint,
    Cost,
    FLOPs,
    Params,
    parse_bound,
    resolve_limits,
)
from raynas.costs.counting import bitops_table, flops_table, params_table
from raynas.costs.latency import Latency
from raynas.costs.latency_table import LatencyTable
from raynas.costs.limits import Limits
from raynas.costs.tables import CostTable
from raynas.costs.windows import Limit

__all__ = [
    "AccuracyTable",
    "BitOps",
    "Bounds",
    "Constraint",
    "Cost",
    "CostTable",
    "FLOPs",
    "Latency",
    "LatencyTable",
    "Limit",
    "Limits",
    "Params",
    "bitops_table",
    "flops_table",
    "params_table",
    "parse_bound",
    "random_near",
    "resolve_limits",
    "same_choice",
]
