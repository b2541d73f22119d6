"""The papers on our data, behind `experiments/reproduce.py`."""
