"""Data sets, as the shards that a search evaluates on and the images that a supernet trains on."""

from raynas.data.cifar import cifar10, cifar100
from raynas.data.fashion import fashion_mnist
from raynas.data.handwritten import digits
from raynas.data.imagenet_folder import imagenet
from raynas.data.splits import SearchData
from raynas.shards.shard import Shard

__all__ = [
    "SearchData",
    "Shard",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "imagenet",
]
