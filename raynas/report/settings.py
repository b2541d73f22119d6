"""Limits, configuration and versions: all that reproduces a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raynas.report.runs import ReportedRun, part_of
from raynas.report.units import cost_name, cost_text, is_finite


def limits_of(run: ReportedRun) -> list[tuple[str, str]]:
    """The limits of a search, each in words."""
    constraint = run.records.config.get("constraint")
    if not isinstance(constraint, dict) or not constraint:
        return [("limits", "none")]
    rows = []
    for name, bounds in constraint.items():
        if not isinstance(bounds, dict):
            rows.append((cost_name(name), str(bounds)))
            continue
        words = {"at_most": "at most", "at_least": "at least", "table": "by the table"}
        told = [
            f"{words.get(key, key)} {cost_text(name, value) if is_finite(value) else value}"
            for key, value in bounds.items()
            if value is not None
        ]
        rows.append((f"limit on {cost_name(name)}", ", ".join(told) or "none"))
    return rows


def settings_of(run: ReportedRun) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of names and values that reproduce a run: limits, configuration, versions."""
    config = run.records.config
    supernet = part_of(config, "supernet")
    last = run.records.metrics[-1] if run.records.metrics else {}
    versions = (run.result or {}).get("versions") or last.get("versions")
    told: Mapping[str, Any] = {
        name: supernet[name] for name in ("digest", "structure") if name in supernet
    }
    named = ("seed", "device", "format", "arithmetic")
    general: Mapping[str, Any] = {name: config[name] for name in named if name in config}
    groups: list[tuple[str, Mapping[str, Any]]] = [
        ("strategy", run.strategy),
        ("evaluation", part_of(config, "evaluation") or part_of(config, "evaluator")),
        ("supernet", told),
        ("data", part_of(config, "data")),
        ("task", part_of(config, "task")),
        ("run", {"directory": str(run.records.directory), **general}),
        ("versions", versions or {"versions": "not recorded by the version that ran it"}),
    ]
    shown = [(name, [(key, value_text(each)) for key, each in rows.items()])
             for name, rows in groups if rows]  # fmt: skip
    return [("limits", limits_of(run)), *shown]


def value_text(value: Any) -> str:
    """A setting as it would be written."""
    return value if isinstance(value, str) else json.dumps(value)
