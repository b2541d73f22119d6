"""Who evaluates: pools of workers, in this process or on Ray.

`open_pool`: opening one; `pool`: the interface, and the pool of this process; `calls`: what crosses
to workers; `replicas`: copies of a supernet. On Ray: `ray_pool`: dispatch and retries;
`ray_workers`: starting, awaiting and replacing actors; `patience`: how long they are awaited;
`ray_actor`: the remote wrapper of an evaluator; `ray_cluster`: joining or starting Ray;
`handshake`: asking an address whether it is Ray; `ray_objects`: references and errors.
"""
