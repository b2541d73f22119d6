"""Ray's own metrics of a search, as its Prometheus endpoint shows them.

Every node of a cluster offers them at its metrics port, with `ray_` before each name; Ray's
dashboard, Prometheus and Grafana read them there.
"""

from __future__ import annotations

from typing import final

import ray
from ray.util.metrics import Gauge

from raynas.files import Record

STORE = "object_store_memory"
"""Ray's name for the bytes of a node's store."""


@final
class SearchGauges:
    """The gauges of a pool: its queue and store, and the generations that are shown on it.

    Each generation is shown under the label `run`, its run directory; other labels are Ray's.
    """

    def __init__(self) -> None:
        self._queue = Gauge(
            "raynas_queue_length", "Calls of the operation under way that are not done."
        )
        self._stored = Gauge("raynas_stored_bytes", "Bytes in the object stores of the cluster.")
        self._speed = Gauge(
            "raynas_candidates_per_second",
            "Candidates of the last generation by its seconds; known ones count.",
            ("run",),
        )
        self._frozen = Gauge("raynas_frozen_blocks", "Blocks that are frozen.", ("run",))
        self._best = Gauge(
            "raynas_best",
            "The best candidate's first objective so far, as candidates are scored now.",
            ("run", "objective"),
        )

    def queue(self, calls: int) -> None:
        """Show how many calls are not done."""
        self._queue.set(calls)

    def generation(self, run: str, record: Record, metrics: Record) -> None:
        """Show a generation, and what the stores hold now.

        Args:
            run: the run directory.
            record, metrics: of the generation; without metrics its speed is not known.
        """
        label = {"run": run}
        self._frozen.set(int(record["frozen"]), label)
        candidates = len(record["rescored"]) + len(record["population"])
        if candidates and metrics.get("seconds"):
            self._speed.set(candidates / float(metrics["seconds"]), label)
        name = next((each for each in record["best"] or {} if each != "architecture"), None)
        if name is not None and record["best"][name] is not None:
            self._best.set(float(record["best"][name]), {**label, "objective": name})
        self._stored.set(stored_bytes())


def stored_bytes() -> float:
    """The bytes that the object stores of all nodes hold, whoever put them there."""
    total, free = ray.cluster_resources(), ray.available_resources()
    return max(0.0, total.get(STORE, 0.0) - free.get(STORE, 0.0))
