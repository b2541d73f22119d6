"""One generation, on shards.

`interface`: the protocol of whoever scores a population; `evaluated`: the shards to evaluate on,
and known scores; `planner`: cutting a generation into work units; `frozen_shards`: both splits
behind one prefix; `shard_maps`: the map-reduces over shards; `recovery`: shards that are made again
after a loss; `voting`: candidates that choose the samples to keep; `evaluator`: scores and freezes;
`path_filter`, `variant_scorer`: scores of paths while a supernet is trained; `calibration`:
batch-norm statistics of one architecture.
"""
