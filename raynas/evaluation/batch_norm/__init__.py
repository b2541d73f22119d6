"""Batch-norm statistics as values, and the layers that read and write them.

`vectors`: the statistics of trie nodes in one array; `statistics`: reading, writing and merging
them; `counting`: modules of a user that average by themselves; `conv_norm`: a convolution and its
batch norm as one step; `joined`: the pairs of a module that run so; `fixed`: statistics made ready
for scoring.
"""
