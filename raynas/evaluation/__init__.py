"""Scores of candidates from shards. Importing this loads no torch: `Evaluation` is a value."""

from raynas.evaluation.settings import Evaluation

__all__ = ["Evaluation"]
