"""Supernets: chains of choice blocks, how they are built, saved and loaded."""

from raynas.supernets.blocks import Normalize
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoints import digest, load, recipe_of, save
from raynas.supernets.spos import spos, spos_8x8, spos_28x28, spos_32x32

__all__ = [
    "ChainSupernet",
    "Normalize",
    "digest",
    "load",
    "recipe_of",
    "save",
    "spos",
    "spos_8x8",
    "spos_28x28",
    "spos_32x32",
]
