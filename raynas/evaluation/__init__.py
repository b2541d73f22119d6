"""Scores of candidates from shards. Importing this loads no torch: `Evaluation` is a value.

`settings`: the protocol; `trie`: the prefix trie of a population, and its walk; `nodes`: running
its nodes under fixed statistics or a batch's own; `input_check`: that none changes its input;
`evaluator`: the plain worker; `outcomes`: judging outputs; `scores`: outcomes that add up to
scores; `selection`: the samples that shards keep; `importance`: the record of what was selected
from; `weights`: those of a supernet that is still trained; `batch_norm`: statistics as values;
`device`: the hardware, which changes no score's meaning.
"""

from raynas.evaluation.settings import Evaluation

__all__ = ["Evaluation"]
