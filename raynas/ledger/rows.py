"""Rows of a ledger: a score and its bits as values of SQLite, with a checksum."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from raynas.errors import require
from raynas.evaluation.scores import CandidateScore
from raynas.ledger.score_key import ScoreKey, digest_of
from raynas.space import decode, encode

COLUMNS = "architecture, correct, samples, top1, top5, loss, finite, bits, checksum"

Row = tuple[Any, ...]
"""The values of `COLUMNS`."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One score, and the samples behind it.

    Args:
        score: of one candidate.
        bits: `bool[samples]` which samples it classifies correctly, in sample order.
    """

    score: CandidateScore
    bits: np.ndarray


def row_of(key: ScoreKey, entry: Entry) -> Row:
    """An entry as the values of `COLUMNS`.

    Raises:
        InputError: bits that are not those of the score, or of the key's samples.
    """
    score, bits = entry.score, np.asarray(entry.bits, dtype=bool)
    require(
        bits.shape == (key.samples,)
        and (score.samples, score.correct) == (key.samples, int(bits.sum())),
        "entries",
        f"bits of the {key.samples} samples of the key, and their sum",
        f"{int(bits.sum())} of shape {bits.shape} for {score}",
        "Give each score with the samples that it was counted from.",
    )
    loss = None if math.isnan(score.loss) else float(score.loss)
    row = (
        encode(score.architecture),
        int(score.correct),
        int(score.samples),
        float(score.top1),
        float(score.top5),
        loss,
        int(score.finite),
        np.packbits(bits).tobytes(),
    )
    return (*row, checksum(key.digest, row))


def entry_of(row: Row) -> Entry:
    """The entry of a row whose checksum is right."""
    architecture, correct, samples, top1, top5, loss, finite, packed, _ = row
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=samples).astype(bool)
    known_loss = math.nan if loss is None else loss
    score = CandidateScore(
        decode(architecture), correct, samples, top1, top5, known_loss, bool(finite)
    )
    return Entry(score, bits)


def checksum(key: str, row: Row) -> bytes | None:
    """Of a row's values, all but the last, and of their key; `None` for no such values."""
    try:
        architecture, correct, samples, top1, top5, loss, finite, bits = row
        numbers = struct.pack(
            "<qqddd?", correct, samples, top1, top5, math.nan if loss is None else loss, finite
        )
        content = (key.encode(), architecture.encode(), numbers, bits)
        return bytes.fromhex(digest_of(*content))
    except (struct.error, TypeError, AttributeError, ValueError):
        return None


def damage(key: str, row: Row) -> str | None:
    """What is wrong with a row, if anything is."""
    found = checksum(key, row[:-1])
    if found is None or found != row[-1]:
        return "another checksum"
    entry = entry_of(row)
    if len(entry.bits) != entry.score.samples or int(entry.bits.sum()) != entry.score.correct:
        return f"{int(entry.bits.sum())} bits set for {entry.score.correct} correct samples"
    return None


def summary(row: Row) -> str:
    """A score in a few words, told apart from others by the digest of its samples."""
    _, correct, samples, top1, _, loss, _, bits, _ = row
    spots = hashlib.blake2b(bits, digest_size=4).hexdigest()
    return f"{correct} of {samples} (samples {spots}), top-1 {top1!r}, loss {loss!r}"
