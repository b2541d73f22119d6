"""The identity of the supernet that an accuracy table is of, as a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from raynas.errors import is_number, require

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet


def identity_text(supernet: ChainSupernet) -> str:
    """The identity of a supernet as JSON: see `raynas.supernets.identity`."""
    # Tables are values that a strategy without torch looks things up in.
    from raynas.supernets.identity import identity

    return json.dumps(identity(supernet).to_json(), sort_keys=True)


def read_identity(found: Any) -> str:
    """The identity that the file of a table holds, as `identity_text` gives it; `""` for `None`.

    Raises:
        TypeError: something else.
    """
    if found is None:
        return ""
    rows = found.get("behaviour") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not isinstance(found.get("structure"), str):
        raise TypeError(f"supernet: {found!r:.40}, which is no identity")
    for row in rows:
        texts, numbers = (row[:3], row[3:]) if isinstance(row, list) else ([], [])
        if not (
            [type(each) for each in texts] == [str] * 3
            and len(numbers) <= 2
            and all(each is None or is_number(each) for each in numbers)
        ):
            raise TypeError(f"supernet: {row!r:.40}, which is no behaviour of a module")
    return json.dumps(found, sort_keys=True)


def require_identity(text: str, supernet: ChainSupernet) -> None:
    """Raise `InputError` unless a supernet is the one that a table is of.

    Args:
        text: of `identity_text`; nothing is compared if it is empty, as of earlier tables.
        supernet: to be compared.
    """
    if not text:
        return
    from raynas.supernets.identity import Identity, identity

    difference = identity(supernet).difference(Identity.from_json(json.loads(text)))
    require(
        difference is None,
        "table",
        "that of the supernet which was trained",
        f"one of another supernet: {difference} differ",
        "Build the supernet as it was trained, by the same code and versions.",
    )
