"""Pools of workers that evaluate, in this process or on Ray.

`calls`: the operations that cross to workers; `call_progress`: how many of them are done; `busy`:
the seconds that these take there; `replicas`: copies of a supernet; `same_code`: whether a copy, or
a task, computes the same elsewhere; `pool`: the interface, and the pool of this process;
`open_pool`: opening one; `training_pool`: one whose weights change. On Ray: `handshake`: asking an
address whether it is Ray; `ray_cluster`: joining or starting Ray; `ray_actor`: the remote wrapper
of an evaluator; `ray_objects`: references and errors; `ray_metrics`: what Ray's endpoint shows;
`patience`: how long actors are awaited; `ray_workers`: starting, awaiting and replacing them;
`ray_meters`: reading their meters; `ray_job`: the calls of one run; `ray_pool`: dispatch and
retries.
"""
