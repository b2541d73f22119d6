"""The weight decay of each parameter in training."""

from __future__ import annotations

from typing import Any

from torch import nn

from raynas.errors import require
from raynas.training.settings import TrainingSettings


def parameter_groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """The parameters in groups of one weight decay each, as optimizers take them.

    Weights of two or more dimensions decay by `weight_decay`, biases and batch norms not at all.
    Those that a module names in `raynas_decayed`, such as the clipping levels of PACT, decay by
    `alpha_decay`, or as weights where that is `None`. Where no module names any there is no third
    group, so that checkpoints stay those of the other two.

    Raises:
        InputError: names in `raynas_decayed` that the module has no parameters of.
    """
    named = named_parameters(module)
    parameters = [each for each in module.parameters() if id(each) not in named]
    own = [each for each in module.parameters() if id(each) in named]
    weights = [each for each in parameters if each.ndim > 1]
    others = [each for each in parameters if each.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if own:
        decay = settings.weight_decay if settings.alpha_decay is None else settings.alpha_decay
        groups.append({"params": own, "weight_decay": decay})
    return groups


def named_parameters(module: nn.Module) -> set[int]:
    """The parameters, by `id`, that modules name in `raynas_decayed`.

    Raises:
        InputError: see `parameter_groups`.
    """
    found: set[int] = set()
    for place, part in module.named_modules():
        names = getattr(part, "raynas_decayed", ())
        known = dict(part.named_parameters(recurse=False))
        require(
            isinstance(names, tuple | list) and all(name in known for name in names),
            place or type(part).__name__,
            f"raynas_decayed to hold names of its parameters, {', '.join(known) or 'none'}",
            repr(names),
            "Name parameters of the module itself.",
        )
        found |= {id(known[name]) for name in names}
    return found
