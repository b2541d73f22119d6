"""`raynas.shards.shard` under its earlier name, for scripts that import it so."""

from raynas.shards.shard import CALIBRATION, TEST, VALIDATION, Shard, make_shards

__all__ = ["CALIBRATION", "TEST", "VALIDATION", "Shard", "make_shards"]
