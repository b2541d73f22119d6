"""Retraining: one architecture of a supernet as a network of its own, trained for itself.

`network`: the network, fresh or with inherited weights; `retrain`: its training, scores and files;
`records`: the directory that a retraining writes to.
"""
