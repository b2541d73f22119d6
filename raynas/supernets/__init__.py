"""Supernets: chains of choice blocks, how they are built, saved and loaded.

`chain`: `ChainSupernet`; `choice_names`: short names of choices; `blocks`, `inverted`: operations
and networks of them; one file per family: `spos` (with `spos_channels`), `proxylessnas`, `fairnas`,
`greedynas`, `ponas`, `resnet_mixed` (of `mixed_blocks`, with `quantizers`); `builder_options`:
checks of what builders are given; `sliced`: convolutions that share a weight; `plain_modules`: what
stands for modules that share in an exported subnet; `cropping`: larger choices as smaller ones;
`chain_nodes`: modules by name, and copies to examine; `node_runs`: their outputs on examples;
`checks`, `probing`, `call_memory` (of `kept_values`): whether a supernet can be searched;
`recalibration`, `unseen_writes`: whether calibration and shared inputs mean the same as in plain
PyTorch; `training_mode`: batch norms that are frozen; `layout`: memory layouts; `plain_torch`:
torch's state while a supernet is examined.

`identity`: everything that scores depend on, from `structure` (with `attributes`, `code_facts`,
`known_code`, `object_content`, `script_text`, `value_walk`, `reach`, `value_digest`,
`tensor_digest`) and `behaviour`; `written_state`: what of it a training writes. `checkpoints`:
saving and filling, from `tensor_files` under the spellings of `checkpoint_names`; `plain_state`:
what modules keep and change beside tensors.
"""

from raynas.supernets.blocks import Normalize
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoints import load, recipe_of, save
from raynas.supernets.checks import check_supernet
from raynas.supernets.fairnas import fairnas, fairnas_28x28
from raynas.supernets.greedynas import greedynas, greedynas_28x28
from raynas.supernets.identity import Identity, digest, identity
from raynas.supernets.ponas import ponas, ponas_8x8, ponas_28x28
from raynas.supernets.proxylessnas import proxylessnas, proxylessnas_28x28
from raynas.supernets.quantizers import PACT, QuantizedConv2d
from raynas.supernets.resnet_mixed import (
    MIXED_BITS,
    resnet_mixed,
    resnet_mixed_8x8,
    resnet_mixed_28x28,
    resnet_mixed_32x32,
)
from raynas.supernets.sliced import SlicedConv2d
from raynas.supernets.spos import spos, spos_8x8, spos_28x28, spos_32x32

__all__ = [
    "MIXED_BITS",
    "PACT",
    "ChainSupernet",
    "Identity",
    "Normalize",
    "QuantizedConv2d",
    "SlicedConv2d",
    "check_supernet",
    "digest",
    "fairnas",
    "fairnas_28x28",
    "greedynas",
    "greedynas_28x28",
    "identity",
    "load",
    "ponas",
    "ponas_8x8",
    "ponas_28x28",
    "proxylessnas",
    "proxylessnas_28x28",
    "recipe_of",
    "resnet_mixed",
    "resnet_mixed_8x8",
    "resnet_mixed_28x28",
    "resnet_mixed_32x32",
    "save",
    "spos",
    "spos_8x8",
    "spos_28x28",
    "spos_32x32",
]
