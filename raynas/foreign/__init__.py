"""Architectures in the files of other projects, read as architectures of a supernet.

`reading`: which file it is, and whether its architecture is one of the supernet; `found`: what a
file says; one file per project: `mmrazor` (with GreedyNAS's space), `nni`, `proxylessnas`,
`fairnas`, `megvii`; `own`: files of raynas itself; `block_shapes`: channels and strides of the
blocks of a supernet.

Only the choices of blocks are read. Stem, head, preprocessing and weights are the supernet's;
weights are loaded with `raynas.supernets.load`.
"""

from raynas.foreign.reading import read_architecture, read_file

__all__ = ["read_architecture", "read_file"]
