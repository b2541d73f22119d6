"""Rows of a ledger: a score and a digest of its samples as values of SQLite, with a checksum."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from raynas.errors import require
from raynas.ledger.score_key import ScoreKey, digest_of
from raynas.score import Score
from raynas.space import decode, encode

COLUMNS = "architecture, objectives, loss, finite, samples, correct, outcomes, checksum"

DIGEST_SIZE = 16
"""Bytes of a digest of outcomes."""

Row = tuple[Any, ...]
"""The values of `COLUMNS`."""


@final
@dataclass(frozen=True)
class Entry:
    """One score, and a mark of the samples behind it.

    Two scores may agree in their means and be of other samples: the mark tells them apart.

    Args:
        score: of one candidate.
        outcomes_digest: of what it got on each sample, as `digest_of_outcomes` makes it.
        lasting: whether another search would find it to the bit; one whose batches were halved for
            lack of memory may differ in its last bits, and serves its own search only.
    """

    score: Score
    outcomes_digest: bytes
    lasting: bool = True


def digest_of_outcomes(*outcomes: np.ndarray) -> bytes:
    """The digest of what a candidate got on each sample: of values, types, shapes and order.

    Args:
        outcomes: one or more arrays, such as `bool[samples]` (correct or not). Whatever may differ
            in its last bits from one evaluation to the next does not belong here.

    Returns:
        16 bytes.
    """
    total = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for each in outcomes:
        total.update(f"{each.dtype.str} {each.shape}\n".encode())
        total.update(np.ascontiguousarray(each).tobytes())
    return total.digest()


def row_of(key: ScoreKey, entry: Entry) -> Row:
    """An entry as the values of `COLUMNS`.

    Raises:
        InputError: a score of another number of samples than the key has, or without an objective,
            or a digest of another size.
    """
    score = entry.score
    require(
        score.samples == key.samples
        and len(score.objectives) > 0
        and len(entry.outcomes_digest) == DIGEST_SIZE,
        "entries",
        f"scores of the {key.samples} samples of the key, with an objective and a digest of "
        f"{DIGEST_SIZE} bytes",
        f"{score} and a digest of {len(entry.outcomes_digest)} bytes",
        "Give each score with the digest of the samples that it was counted from.",
    )
    # In their order, since the first objective is the one that a search maximises.
    objectives = {str(name): float(value) for name, value in score.objectives.items()}
    row = (
        encode(score.architecture),
        json.dumps(objectives),
        None if math.isnan(score.loss) else float(score.loss),
        int(score.finite),
        int(score.samples),
        None if score.correct is None else int(score.correct),
        entry.outcomes_digest,
    )
    return (*row, checksum(key.digest, row))


def entry_of(row: Row) -> Entry:
    """The entry of a row whose checksum is right."""
    architecture, objectives, loss, finite, samples, correct, outcomes, _ = row
    known_loss = math.nan if loss is None else loss
    return Entry(
        Score(
            decode(architecture), json.loads(objectives), known_loss, bool(finite), samples, correct
        ),
        outcomes,
    )


def checksum(key: str, row: Row) -> bytes | None:
    """The digest of a row's values, all but the last, and of their key's digest.

    Returns:
        16 bytes; `None` for values of other types.
    """
    try:
        architecture, objectives, loss, finite, samples, correct, outcomes = row
        numbers = struct.pack(
            "<d?q?q",
            math.nan if loss is None else loss,
            finite,
            samples,
            correct is None,
            0 if correct is None else correct,
        )
        texts = (key.encode(), architecture.encode(), objectives.encode())
        return bytes.fromhex(digest_of(*texts, numbers, outcomes))
    except (struct.error, TypeError, AttributeError, ValueError):
        return None


def damage(key: str, row: Row) -> str | None:
    """A description of what is wrong with a row; `None` if nothing is."""
    found = checksum(key, row[:-1])
    return "another checksum" if found is None or found != row[-1] else None


def summary(row: Row) -> str:
    """A score in a few words, told apart from others by the digest of its samples."""
    _, objectives, loss, _, samples, correct, outcomes, _ = row
    means = ", ".join(f"{name} {value!r}" for name, value in json.loads(objectives).items())
    counted = "" if correct is None else f"{correct} of "
    return f"{counted}{samples} samples ({outcomes[:4].hex()}), {means}, loss {loss!r}"
