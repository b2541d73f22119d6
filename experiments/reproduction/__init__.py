"""The papers on our data: what `experiments/reproduce.py` searches, counts and writes.

`sources` and `families` say what there is, `plan` what is wanted; `lab` runs one search and `study`
all of them; `rows` makes numbers of their records, `observations` and `importance` of their
populations. `page` joins the sections `searched`, `generations`, `settings`, `chosen` and
`sampled`, which stand on `tables`; `paper` holds the paper's numbers.
"""
