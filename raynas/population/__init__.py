"""One generation, on shards.

`evaluator`: scores, freezes, and what is known already; `shard_maps`: the map-reduces over shards;
`frozen_shards`: both splits behind one prefix; `voting`: which samples candidates keep; `recovery`:
shards that are made again after a loss; `planner`: how a generation is cut into work units.
"""
