"""Shards: samples with their activations at one depth, which flow through the whole system.

`samples`: what users hold, as arrays, taken exactly or refused; `shard`: samples as one Arrow
record batch; `features`: what it stores of them; `storage`: activations at 32, 16, 8 or 4 bits;
`inspection`: does a shard fit the supernet and the task?
"""
