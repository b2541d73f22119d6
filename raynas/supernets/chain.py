"""`ChainSupernet`: a stem, a chain of choice blocks, and a head."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.errors import InputError, require, require_flags
from raynas.files import plain_number
from raynas.inputs import Inputs
from raynas.space import Architecture, SearchSpace
from raynas.supernets import choice_names
from raynas.task import Classification, Task

NodePath = tuple[int, ...]
"""A node of the chain: `()` the stem, a prefix of k choices the k-th block, and an architecture
followed by one 0 the head."""


NodeKind = tuple[int, int]
"""Depth and choice: `(0, 0)` the stem, `(k, c)` choice c of the k-th block, and at the depth after
the last block the head."""


@final
class ChainSupernet(nn.Module):
    """A supernet whose subnets are chains: one choice of each block between a stem and a head.

    An architecture is a value and an argument of `forward`; nothing about the supernet changes
    when it is evaluated. Choices of one block must map inputs of one shape to outputs of one
    shape, must not modify their input in place, and may share weights with each other.

    Optional methods of any module say what cannot be seen from outside: `raynas_identity(self)`
    gives a JSON value that belongs to the supernet's identity (`raynas.supernets.identity`),
    `raynas_cost(self, *inputs)` multiply-accumulates and parameters, `raynas_bitops(self, *inputs)`
    bit operations (`raynas.costs.counting`), and `raynas_plain(self)` a module that computes the
    same on its own, which an exported subnet has instead (`raynas.supernets.plain_modules`). An
    attribute `raynas_decayed` names parameters that decay in training by
    `TrainingSettings.alpha_decay` (`raynas.training.decay`).

    Args:
        stem: maps images (uint8, `[n, c, h, w]`) to the input of the first block.
        blocks: the choices of each block, shallowest block first.
        head: maps the output of the last block to logits `[n, num_classes]`.
        image_shape: `(channels, height, width)` of images of bytes; `inputs` says the same.
        num_classes: the number of logits of a classifier; `None` for other tasks.
        inputs: the shape and type of a sample, where it is not an image of bytes.
        names: short names of each block's choices, such as `[["c3", "c5"], ["c3", "c5"]]`; derived
            from their classes if `None`. Nothing that is computed depends on them.
        recipe: how it was built (a JSON object), saved with the weights so that the command line
            can rebuild it; `None` for supernets that only their user's code can build.

    Raises:
        InputError: no blocks, a block without choices, or one that is no list of modules (the
            inner lists forgotten), fewer than two classes, no single shape of inputs, or names
            that are not one short text for each choice of a block.
    """

    inputs: Inputs

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[Sequence[nn.Module]],
        head: nn.Module,
        *,
        image_shape: tuple[int, int, int] | None = None,
        num_classes: int | None = None,
        inputs: Inputs | None = None,
        names: Sequence[Sequence[str]] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require(
            (image_shape is None) != (inputs is None),
            "inputs",
            "either image_shape (images of bytes) or inputs (anything else)",
            "neither" if inputs is None else "both",
            "Say what one sample is.",
        )
        require(
            image_shape is None
            or (isinstance(image_shape, Iterable) and len(tuple(image_shape)) == 3),
            "image_shape",
            "(channels, height, width)",
            repr(image_shape),
            "Describe samples that are no images as inputs=raynas.Inputs(shape, dtype).",
        )
        self.inputs = Inputs(image_shape) if inputs is None else inputs  # type: ignore[arg-type]
        listed = require_choices(blocks)
        self.space = SearchSpace(tuple(len(choices) for choices in listed))
        require_module(stem, "stem")
        require_module(head, "head")
        if num_classes is not None:
            Classification(num_classes)
        self.stem = stem
        self.blocks = nn.ModuleList(nn.ModuleList(choices) for choices in listed)
        self.head = head
        self.num_classes = num_classes
        self.names = (
            tuple(map(choice_names.derive_names, listed))
            if names is None
            else choice_names.require_names(names, self.space.choices)
        )
        self.recipe = as_json(recipe)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one sample: `(channels, height, width)` of images."""
        return self.inputs.shape

    def encode(self, chosen: Iterable[str | int]) -> Architecture:
        """The architecture of one name, or index, for each block, shallowest first.

        Raises:
            InputError: another number of blocks, or a choice that its block does not have.
        """
        return choice_names.encode(self.names, chosen)

    def read(self, text: str) -> Architecture:
        """The architecture that a text names: `"c7,c5,x"`, `"c7 c5 x"`, or `"2,1,3"`.

        Raises:
            InputError: another number of blocks, or a choice that its block does not have.
        """
        return self.encode(choice_names.split(text))

    def decode(self, architecture: Sequence[int]) -> tuple[str, ...]:
        """The names of an architecture's choices.

        Raises:
            InputError: an architecture of wrong length or choice.
        """
        return choice_names.decode(self.names, self.space.validate(architecture))

    def node(self, path: NodePath) -> nn.Module:
        """The module at a node of the chain: stem, a choice, or head."""
        if not path:
            return self.stem
        if len(path) > self.space.blocks:
            return self.head
        choices = self.blocks[len(path) - 1]
        assert isinstance(choices, nn.ModuleList)
        return choices[path[-1]]

    def forward(
        self, x: Tensor, architecture: Architecture, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Run one subnet, or a range of its blocks.

        Args:
            x: images if `start` is 0, else the output of block `start - 1` of the architecture.
            architecture: one choice per block.
            start: the depth of `x`: how many blocks it has been through.
            stop: the depth of the result; `None` runs all blocks and the head, 0 only the stem
                (ranges compose from depth 1 on).

        Returns:
            Logits `[n, num_classes]`, or the activation at depth `stop`.
        """
        if start == 0:
            x = self.stem(x)
        last = self.space.blocks if stop is None else stop
        for depth in range(start + 1, last + 1):
            x = self.node(architecture[:depth])(x)
        return self.head(x) if stop is None else x

    def subnet(self, architecture: Sequence[int]) -> nn.Sequential:
        """One architecture as a plain `nn.Sequential` that shares this supernet's weights.

        Raises:
            InputError: an architecture of wrong length or choice.
        """
        chosen = self.space.validate(architecture)
        layers = [self.node(chosen[:depth]) for depth in range(1, self.space.blocks + 1)]
        return nn.Sequential(self.stem, *layers, self.head)

    def check(self, task: Task | None = None, *, stochastic: bool = False) -> None:
        """Run every choice on examples in a copy; see `check_supernet`.

        Args:
            task: that the outputs must suit; classification if there are `num_classes`.
            stochastic: let modules draw random numbers in evaluation mode, as training can.

        Raises:
            InputError: what a search could not use, by block and choice.
        """
        from raynas.supernets.checks import check_supernet

        require_flags(stochastic=stochastic)
        if task is None and self.num_classes is not None:
            task = Classification(self.num_classes)
        check_supernet(self, task, stochastic=stochastic)


def require_choices(blocks: Sequence[Sequence[nn.Module]]) -> list[list[nn.Module]]:
    """The choices of each block as lists, if every one is a module.

    Raises:
        InputError: a block that is a module itself, or a choice that is none, by name.
    """
    require(
        isinstance(blocks, Iterable),
        "blocks",
        "a list with a list of choices for each block",
        f"a {type(blocks).__name__}",
        "Write blocks=[[choice, choice], [choice, choice]].",
    )
    found: list[list[nn.Module]] = []
    for block, choices in enumerate(blocks):
        require(
            isinstance(choices, list | tuple | nn.ModuleList),
            f"blocks[{block}]",
            "a list of choices",
            f"a {type(choices).__name__}",
            "Write blocks=[[choice, choice], [choice, choice]], a list for each block; of a dict "
            "of choices, list(d.values()).",
        )
        for choice, module in enumerate(choices):
            require_module(module, f"blocks[{block}][{choice}]")
            first = next(index for index, each in enumerate(choices) if each is module)
            require(
                first == choice,
                f"blocks[{block}][{choice}]",
                "choices that are modules of their own",
                f"the very module of blocks[{block}][{first}]",
                "Make each by a call of its own ([make() for _ in range(3)], not [make()] * 3); "
                "modules inside choices may be shared.",
            )
        found.append(list(choices))
    return found


def as_json(recipe: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A recipe as a file gives it back; one that JSON cannot hold as it is."""
    if recipe is None:
        return None
    try:
        read: dict[str, Any] = json.loads(json.dumps(dict(recipe), default=plain_number))
    except (TypeError, ValueError):
        return dict(recipe)
    return read


def require_module(module: object, name: str) -> None:
    """Raise `InputError` unless something is a module, with the remedy for what it is."""
    if isinstance(module, nn.Module):
        return
    kind = type(module).__name__
    remedy = "Give an instance of a subclass of torch.nn.Module."
    if module is None:
        remedy = "For a choice that does nothing, give torch.nn.Identity()."
    elif isinstance(module, type):
        kind, remedy = f"the class {module.__name__}", "Call it to make an instance."
    elif isinstance(module, list | tuple):
        remedy = "Join layers that run one after another in torch.nn.Sequential(*layers)."
    elif callable(module):
        remedy = "Write a torch.nn.Module whose forward calls the function."
    raise InputError(name, "a torch.nn.Module", kind, remedy)


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a module that keep running statistics, in definition order."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
