"""Search strategies behind one ask/tell interface; they run without torch."""

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
