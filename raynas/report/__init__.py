"""Reports of searches, made from their records alone.

`read`: the records of a run directory, read without touching them; `liveness`: whether somebody
still writes them.
"""
