"""Data sets, as the shards that a search evaluates on and the samples that a supernet trains on.

A user's own: `from_arrays`, `from_folder`, `from_datasets`; or `SearchData` of `make_shards`.

`splits`: the data of a search and a training; `counts`, `stratify`: sizes of splits, and drawing
them; `arrays`: samples in memory; `own_data`, `items`: arrays and data sets of a user; `folders`,
`image_folder`, `decoding`, `pixels`, `folder_training`: folders of image files, decoded on access;
`handwritten`, `fashion`, `cifar`, `imagenet_folder`: one file per data set, with `idx` and
`cifar_batches` for their formats, and `downloads`; `shard`: `raynas.shards.shard` by its earlier
name.
"""

from raynas.data.arrays import ArrayImages
from raynas.data.cifar import cifar10, cifar100
from raynas.data.fashion import fashion_mnist
from raynas.data.folders import from_folder
from raynas.data.handwritten import digits
from raynas.data.imagenet_folder import imagenet
from raynas.data.own_data import from_arrays, from_datasets
from raynas.data.splits import SearchData, TrainingImages, inspect_splits
from raynas.shards.shard import Shard, make_shards

__all__ = [
    "ArrayImages",
    "SearchData",
    "Shard",
    "TrainingImages",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "from_arrays",
    "from_datasets",
    "from_folder",
    "imagenet",
    "inspect_splits",
    "make_shards",
]
