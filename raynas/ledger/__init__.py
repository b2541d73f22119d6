"""Scores that outlive a search.

`score_key`: everything that a score depends on beside the architecture; `rows`: scores as rows;
`spaces`: names and costs beside them; `file`: the SQLite file; `ledger`: looking up, adding and
listing scores.
"""
