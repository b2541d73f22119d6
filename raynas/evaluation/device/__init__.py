"""The hardware under an evaluation, which never changes the meaning of a score.

`numerics`: threads, precision and the state of torch; `memory`: smaller batches where memory is
short; `allocator`: keeping freed memory; `cuda_graphs`: kernels recorded and launched at once;
`machine`: what scores depend on.
"""
