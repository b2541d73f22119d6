"""Search strategies behind one ask/tell interface; they run without torch.

`strategy`: the interface; `operators`: mutation, crossover and random drawing; `freezing`: choice
percentages and the freezing tests; one file per algorithm: `random_search`, `spos` (`EA`),
`choice_freezing` (`CFES`, `PCFES`).
"""

from raynas.evolution.choice_freezing import CFES, PCFES
from raynas.evolution.random_search import RandomSearch
from raynas.evolution.spos import EA
from raynas.evolution.strategy import Problem, Proposal, State, Strategy
from raynas.score import Score

__all__ = [
    "CFES",
    "EA",
    "PCFES",
    "Problem",
    "Proposal",
    "RandomSearch",
    "Score",
    "State",
    "Strategy",
]
