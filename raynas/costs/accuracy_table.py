"""`AccuracyTable`: the accuracy of every choice of every block, as a value and as a file.

PONAS builds it while it trains a supernet block by block (section 3.2), and looks architectures up
in it afterwards: what an architecture loses is the sum of what its choices lose (section 3.3).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from raynas.costs.table_identity import read_identity, require_identity
from raynas.costs.tables import CostTable, exact
from raynas.errors import InputError, is_number, is_whole, reason_of, require
from raynas.files import as_path, dumps, replace_bytes, writing
from raynas.space import Architecture, SearchSpace

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

FORMAT = 1
"""The version of the file of a table."""

LOST = "lost"
"""The name of the cost of architectures that a table gives."""

REMEDY = "Give the table that was written beside the weights, or train with --paths progressive."


@final
@dataclass(frozen=True)
class AccuracyTable:
    """Accuracies of one-block variants of a supernet's best path, as PONAS measures them.

    Args:
        names: of the choices of each block.
        accuracies: `[block][choice]`, the task's first objective on validation samples; `None`
            where the outputs were not finite.
        best: the best choice of each block; of equal accuracies the one of least loss.
        weights: the digest of the weights that the training ended with; see
            `raynas.supernets.checkpoints.weights_digest`.
        objective: the name of what was measured.
        data: the name of the data set.
        samples: the digest of the samples.
        executed: blocks that were executed to measure it, times samples.
        alone: the blocks that would have been without shared prefixes, times samples.
        inputs: the shape of one sample; nothing is known if empty, and nothing compared then.
        supernet: the identity of the supernet with these weights, as `raynas.costs.table_identity`
            gives it; if empty, likewise.

    Raises:
        InputError: another number of names than of accuracies, a block without any accuracy, or
            one that is no finite number, or a best choice that another one exceeds.
    """

    names: tuple[tuple[str, ...], ...]
    accuracies: tuple[tuple[float | None, ...], ...]
    best: Architecture
    weights: str
    objective: str = "top1"
    data: str = ""
    samples: str = ""
    executed: int = 0
    alone: int = 0
    inputs: tuple[int, ...] = ()
    supernet: str = ""

    def __post_init__(self) -> None:
        for block, row in enumerate(self.accuracies):
            known = [value for value in row if value is not None]
            wrong = [f"{value!r:.40}" for value in known if not is_finite(value)]
            require(
                len(known) > 0 and not wrong,
                "table",
                f"finite accuracies in block {block}, at least one",
                ", ".join(wrong) or "none",
                REMEDY,
            )
        counts = [len(row) for row in self.accuracies]
        require(
            counts == [len(row) for row in self.names],
            "table",
            f"names of {counts} choices",
            [len(row) for row in self.names],
            REMEDY,
        )
        self.space.validate(self.best, "table")
        for block, (row, best) in enumerate(zip(self.accuracies, self.best, strict=True)):
            top = max(value for value in row if value is not None)
            require(
                row[best] == top,
                "table",
                f"a best choice of block {block} with its highest accuracy, {top}",
                f"choice {best} with {row[best]}",
                REMEDY,
            )

    @property
    def space(self) -> SearchSpace:
        """The choices of each block."""
        return SearchSpace(tuple(len(row) for row in self.accuracies))

    @cached_property
    def lost(self) -> CostTable:
        """The accuracy that each choice loses against the best one of its block.

        The paper's losses are t_i − t_best, at most 0, and it takes the least sum of them, which
        would be the worst blocks; its text and figures mean the least that is *lost*. So here they
        are t_best − t_i, at least 0. A choice without an accuracy loses more than all others of
        all blocks together.
        """
        rows = []
        for row in self.accuracies:
            top = max(exact(value) for value in row if value is not None)
            rows.append([None if value is None else top - exact(value) for value in row])
        most = 1 + sum(max(each for each in row if each is not None) for row in rows)
        numbers = [tuple(float(most if each is None else each) for each in row) for row in rows]
        return CostTable(LOST, 0.0, tuple(numbers))

    @property
    def largest_lost(self) -> tuple[float, ...]:
        """The most that a measured choice of each block loses (figure 2): how much it matters."""
        return tuple(
            max(float(lost) for lost, value in zip(own, row, strict=True) if value is not None)
            for own, row in zip(self.lost.blocks, self.accuracies, strict=True)
        )

    @property
    def saved(self) -> float:
        """The share of block executions that shared prefixes saved."""
        return 1.0 - self.executed / self.alone if self.alone else 0.0

    def require_of(self, supernet: ChainSupernet) -> None:
        """Raise `InputError` unless the table is from the training of a supernet.

        Its choices, inputs and weights are compared, and what else it computes with (strides,
        attributes, code), unless the table is from an earlier version that did not say it.
        """
        # Tables are values that a strategy without torch looks things up in.
        from raynas.supernets.checkpoints import weights_digest

        require(
            self.space == supernet.space,
            "table",
            f"one of {list(supernet.space.choices)} choices per block",
            list(self.space.choices),
            REMEDY,
        )
        for block, (mine, own) in enumerate(zip(self.names, supernet.names, strict=True)):
            require(
                mine == own,
                "table",
                f"the choices {list(own)} in block {block}",
                list(mine),
                REMEDY,
            )
        require(
            self.inputs in ((), tuple(supernet.inputs.shape)),
            "table",
            f"one of samples of the shape {list(supernet.inputs.shape)}",
            f"one of {list(self.inputs)}",
            "Build the supernet for the samples that it was trained on, or train it on these.",
        )
        require(
            self.weights == weights_digest(supernet),
            "table",
            "that of the training which the supernet's weights are from",
            "one of other weights",
            REMEDY,
        )
        require_identity(self.supernet, supernet)

    def save(self, path: Path | str) -> None:
        """Write the table as JSON; the file is whole or not there.

        Raises:
            InputError: it cannot be written.
        """
        target = as_path(path, "out")
        with writing("out", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            known = json.loads(self.supernet) if self.supernet else None
            content = {"format": FORMAT, **asdict(self), "supernet": known}
            replace_bytes(target, (dumps(content) + "\n").encode())

    @staticmethod
    def load(path: Path | str) -> AccuracyTable:
        """Read a table.

        Raises:
            InputError: no such file, or one of something else.
        """
        source = as_path(path, "table")
        try:
            content = json.loads(source.read_text())
            require(
                content["format"] == FORMAT,
                "table",
                f"an accuracy table of format {FORMAT}",
                f"{source}, of format {content['format']}",
                "Train it with this version.",
            )
            return from_json(content)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            own = type(error) in (ValueError, TypeError) and str(error)
            reason = own or reason_of(error)
            raise InputError(
                "table",
                "a file that a progressive training wrote beside its weights",
                f"{source} ({reason})",
                REMEDY,
            ) from error


def is_finite(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    try:
        return is_number(value) and isfinite(value)
    except OverflowError:
        return False


def from_json(content: Mapping[str, Any]) -> AccuracyTable:
    """A table from the JSON object of one; errors as Python raises them."""
    names = [listed(row, "names", is_text) for row in listed(content["names"], "names")]
    rows = [listed(row, "accuracies") for row in listed(content["accuracies"], "accuracies")]
    numbers = [tuple(float(v) if is_finite(v) else v for v in row) for row in rows]
    texts = {name: content[name] for name in ("weights", "objective", "data", "samples")}
    listed([*texts.values()], ", ".join(texts), is_text)
    counts = {name: content[name] for name in ("executed", "alone")}
    listed([*counts.values()], ", ".join(counts), is_whole)
    return AccuracyTable(
        tuple(names),
        tuple(numbers),
        listed(content["best"], "best", is_whole),
        **texts,
        **counts,
        # Earlier tables do not say these.
        inputs=listed(content.get("inputs", []), "inputs", is_whole),
        supernet=read_identity(content.get("supernet")),
    )


def is_text(value: object) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def listed(
    values: Any, name: str, kind: Callable[[object], bool] = lambda value: True
) -> tuple[Any, ...]:
    """The values of a list of JSON, all of one kind.

    Raises:
        TypeError: something else.
    """
    if not isinstance(values, list):
        raise TypeError(f"{name}: {values!r:.40}, which is no list")
    for value in values:
        if not kind(value):
            raise TypeError(f"{name}: {value!r:.40}, of another type")
    return tuple(values)
