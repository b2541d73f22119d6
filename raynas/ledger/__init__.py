"""Scores that outlive a search.

`ledger`: looking up, adding and listing scores; `file`: the SQLite file; `rows`: scores as rows;
`score_key`: everything that a score depends on beside the architecture.
"""
