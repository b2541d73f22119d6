"""What flows: samples with their activations at one depth.

`shard`: samples as one Arrow record batch; `features`: what it stores of them; `storage`: storing
activations at 32, 16, 8 or 4 bits; `inspection`: does a shard fit the supernet?
"""
