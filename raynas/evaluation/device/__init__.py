"""What hardware does: it never changes what a score means.

`numerics`: threads, precision and the state of torch; `memory`: smaller batches where memory is
short; `allocator`: keeping freed memory; `cuda_graphs`: kernels recorded and launched at once;
`machine`: what scores depend on.
"""
