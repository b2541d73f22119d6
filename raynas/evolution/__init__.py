"""Search strategies behind one ask/tell interface; they run without torch.

`strategy`: the interface; `operators`: mutation, crossover and random drawing; `freezing`: choice
percentages and the freezing tests; `fronts`: non-dominated ranks and crowding; one file per
algorithm: `random_search`, `spos` (`EA`), `choice_freezing` (`CFES`, `PCFES`), `nsga2` (`NSGA2`);
`table_search`: the genetic algorithm on an accuracy table; `presets`: the thresholds of the papers.
"""

from raynas.evolution import presets
from raynas.evolution.choice_freezing import CFES, PCFES
from raynas.evolution.fronts import hypervolume
from raynas.evolution.nsga2 import NSGA2
from raynas.evolution.random_search import RandomSearch
from raynas.evolution.spos import EA
from raynas.evolution.strategy import Problem, Proposal, State, Strategy
from raynas.evolution.table_search import TableSearch
from raynas.score import Score

__all__ = [
    "CFES",
    "EA",
    "NSGA2",
    "PCFES",
    "Problem",
    "Proposal",
    "RandomSearch",
    "Score",
    "State",
    "Strategy",
    "TableSearch",
    "hypervolume",
    "presets",
]
