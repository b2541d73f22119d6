"""Shards: samples with their activations at one depth, which flow through the whole system.

`samples`: arrays of a user, taken exactly or refused; `storage`: activations at 32, 16, 8 or 4
bits; `features`: stored inputs or activations; `shard`: samples as one Arrow record batch;
`lazy`: shards that are made when asked for; `inspection`: the check that a shard fits the supernet
and the task.
"""
