"""The batch norms that a recalibration switches to training mode: all but frozen ones."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.supernets.chain_nodes import copy_of


def trained_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a module that are in training mode after `module.train()`.

    A layer may keep itself out of it, and so may any module around it, as detectors do
    (`norm_eval`).

    Args:
        module: in evaluation mode; it stays as it is.
    """
    norms = norms_of(module)
    if all(switches_as_usual(part) for part in module.modules()):
        return norms
    # A `train` of a user's own may do more than switch, such as merge weights.
    tried = copy_of(module)
    tried.train()
    follows = [bool(norm.training) for norm in norms_of(tried)]
    tried.eval()
    return [norm for norm, trained in zip(norms, follows, strict=True) if trained]


def norms_of(module: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a module, with running statistics or without."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def switches_as_usual(module: nn.Module) -> bool:
    """Whether a module's mode is what was last set, and its `train` that of torch."""
    kind = type(module)
    usual = kind.train is nn.Module.train and not hasattr(kind, "training")
    return usual and "train" not in vars(module)
