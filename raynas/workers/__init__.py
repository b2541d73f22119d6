"""Who evaluates: pools of workers, in this process or on Ray.

`pool`: the interface, and the pool of this process; `open_pool`: opening one; `ray_pool`: actors
with dynamic dispatch and retries; `ray_actor`: the remote wrapper of an evaluator; `ray_cluster`:
joining or starting Ray; `ray_objects`: references and the errors of Ray.
"""
