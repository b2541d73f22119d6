"""`ScoreKey`: all that a score depends on beside the architecture; scores compare under one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np

from raynas.evaluation.selection import Selection
from raynas.evaluation.settings import Evaluation
from raynas.space import Architecture

ARITHMETIC = 5
"""The version of the evaluator's arithmetic, and of what the digests of supernets and tasks cover.

Raised with each change that alters bits of scores, or digests: scores of others are left alone.
"""

EXACT = ("prefix_sharing",)
"""Settings that change no score."""

INDIRECT = (
    "sample_rate", "unfrozen_sample_rate", "voters", "sampling", "bits", "calibration_images",
    "device",
)  # fmt: skip
"""Settings that act only through what a freeze does, how much is calibrated on, and the machine."""


@final
@dataclass(frozen=True)
class ScoreKey:
    """Everything that the score of an architecture depends on.

    Args:
        supernet: its digest (`raynas.supernets.digest`).
        data: the digest of the calibration and validation shards (`ShardDigest`).
        evaluation: a JSON object with everything else.
        samples: how many validation samples a candidate is scored on.
    """

    supernet: str
    data: str
    evaluation: Mapping[str, Any] = field(hash=False)
    samples: int

    def __post_init__(self) -> None:
        # As it is when it is read back: a tuple, say, becomes a list.
        object.__setattr__(self, "evaluation", json.loads(canonical(self.evaluation)))

    @cached_property
    def text(self) -> str:
        """Canonical JSON: equal keys have equal texts."""
        return canonical(asdict(self))

    @cached_property
    def digest(self) -> str:
        """The digest of the text: 32 hexadecimal digits."""
        return digest_of(self.text.encode())

    @staticmethod
    def parse(text: str) -> ScoreKey:
        """The key of a canonical text.

        Raises:
            ValueError: the text is not that of a key.
        """
        try:
            key = ScoreKey(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error
        if key.text != text:
            raise ValueError("not canonical JSON")
        return key


@final
@dataclass(frozen=True)
class Freeze:
    """The trace that one freeze, or a selection before it, leaves in the key of later scores.

    Args:
        prefix: that they were advanced to; empty if they still hold images.
        selection: a digest of the samples that they hold since then, of their weights, and of
            what the others add to scores; `None` if they hold all.
    """

    prefix: Architecture
    selection: str | None


def frozen(
    before: tuple[Freeze, ...],
    prefix: Architecture,
    selection: Selection | None,
) -> Freeze:
    """The trace of the next freeze.

    Args:
        before: the freezes so far.
        prefix: that the shards are advanced to.
        selection: which samples the validation shards keep, and what the others add to scores;
            `None` if it changes neither.
    """
    mark = before[-1].selection if before else None
    if selection is not None:
        rows, weights = selection.rows.astype(np.int64), selection.weights.astype(np.float64)
        rest = canonical(asdict(selection.dropped)).encode()
        mark = digest_of((mark or "").encode(), rows.tobytes(), weights.tobytes(), rest)
    return Freeze(tuple(prefix), mark)


def evaluation_of(
    settings: Evaluation,
    calibration: int,
    machine: Mapping[str, str],
    freezes: tuple[Freeze, ...] = (),
) -> dict[str, Any]:
    """Everything that scores depend on beside supernet and data, and nothing else.

    In float32 at 32 bits, shards hold what a full forward computes, to the bit, so a score is the
    same before and behind a prefix. Otherwise it depends on every prefix at which they were stored.

    Args:
        settings: new ones count, unless they are named in this module.
        calibration: how many images batch norm is calibrated on.
        machine: of the workers.
        freezes: those of the shards since they were inputs.
    """
    kept = asdict(settings)
    for name in (*EXACT, *INDIRECT):
        del kept[name]
    if machine["device"] != "cpu":
        del kept["threads"]
    return {
        **kept,
        "arithmetic": ARITHMETIC,
        "calibration": calibration,
        "machine": dict(machine),
        "selection": freezes[-1].selection if freezes else None,
        "storage": stored(settings, freezes),
    }


def in_full(settings: Evaluation) -> Evaluation:
    """The settings under which finalists are scored in full: without what only ranks."""
    return replace(settings, precision="float32", fold_batch_norm=False)


def stored(settings: Evaluation, freezes: tuple[Freeze, ...]) -> dict[str, Any] | None:
    """The rounding of activations on the way; `None` if there was none."""
    steps = [asdict(freeze) for freeze in freezes if freeze.prefix]
    # Under autocast a block may leave float32, which is rounded where it is read back.
    if not steps or (settings.bits == 32 and settings.precision == "float32"):
        return None
    return {"bits": settings.bits, "freezes": steps}


def digest_of(*parts: bytes) -> str:
    """A digest of bytes and where they are divided, 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def canonical(value: Mapping[str, Any]) -> str:
    """JSON in one spelling.

    Raises:
        TypeError: something that JSON does not know.
        ValueError: NaN or infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
