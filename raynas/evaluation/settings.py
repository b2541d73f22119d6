"""`Evaluation`: the protocol under which candidates are scored. Scores compare only under one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final, get_args

from raynas.errors import require

Sampling = Literal["top", "weighted", "disagreement", "random"]
"""Which samples are kept; see `Evaluation`."""


@final
@dataclass(frozen=True)
class Arithmetic:
    """How numbers are computed.

    Args:
        precision: `"float32"`, or the type that autocast computes in.
        fold_batch_norm: whether fixed batch norm is folded into the convolution before it.
        threads: intra-op threads on the CPU.
    """

    precision: str = "float32"
    fold_batch_norm: bool = False
    threads: int = 1


@final
@dataclass(frozen=True)
class Evaluation:
    """How candidates are scored.

    Args:
        batch_norm: `"recalibrate"` computes batch-norm statistics of every candidate on the
            calibration split (SPOS, section 3.4); `"inherit"` uses the supernet's running ones.
        sample_rate: the share of validation samples kept after the first freeze, in (0, 1]
            (PCF-ES, section 3.5).
        sampling: `"top"` keeps the samples of largest loss; `"weighted"` draws them with
            probability proportional to loss and weights them by p/q, which is unbiased
            (PCF-ES, equations 1 and 2); `"disagreement"` keeps those that the last generation
            disagrees on most, and counts the others as constants; `"random"` draws uniformly.
        unfrozen_sample_rate: the share kept from the first generation to the first freeze, in
            [`sample_rate`, 1]; below 1 only under `"disagreement"`.
        voters: how many of the first generation are scored on all samples to choose that share;
            all if `None`. They are evaluated even if a ledger knows their scores.
        bits: 32, 16, 8 or 4, how activations behind the frozen prefix are stored (PCF-ES, appendix
            A.5): as float32, float16, or integer codes with a scale for each channel of a shard.
            Each freeze stores them anew.
        precision: what candidates are ranked in: `"float32"`, or `"bfloat16"` or `"float16"` by
            autocast, which is faster where the device has instructions for it and moves scores a
            little. Winners are always scored in float32.
        fold_batch_norm: fold fixed batch norm into the convolution before it when candidates are
            ranked: faster at low precision, and moves losses in their last digits.
        calibration_images: how many calibration images rank candidates, taken in whole shards from
            the first on; all if `None`. A few hundred rank about as well as any number
            (`benchmarks/calibration.py`); winners are always scored with all (SPOS: 20,000).
        prefix_sharing: compute each distinct prefix of a generation once per shard; exact.
        threads: intra-op threads of each worker on the CPU; part of the protocol, since
            floating-point sums depend on it.
        device: `"auto"` (CUDA where a worker has it), `"cpu"` or `"cuda"`.

    Raises:
        InputError: a value out of its range.
    """

    batch_norm: Literal["recalibrate", "inherit"] = "recalibrate"
    sample_rate: float = 1.0
    sampling: Sampling = "top"
    unfrozen_sample_rate: float = 1.0
    voters: int | None = None
    bits: int = 32
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    fold_batch_norm: bool = False
    calibration_images: int | None = None
    prefix_sharing: bool = True
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def arithmetic(self) -> Arithmetic:
        """How candidates are ranked."""
        return Arithmetic(self.precision, self.fold_batch_norm, self.threads)

    @property
    def full_arithmetic(self) -> Arithmetic:
        """How finalists and winners are scored: in float32, and unfolded."""
        return Arithmetic(threads=self.threads)

    def __post_init__(self) -> None:
        options = {
            "batch_norm": ("recalibrate", "inherit"),
            "sampling": get_args(Sampling),
            "bits": (32, 16, 8, 4),
            "precision": ("float32", "bfloat16", "float16"),
            "device": ("auto", "cpu", "cuda"),
        }
        for name, values in options.items():
            value = getattr(self, name)
            require(
                value in values,
                name,
                " or ".join(repr(option) for option in values),
                repr(value),
                "Choose one of them.",
            )
        require(
            0.0 < self.sample_rate <= 1.0,
            "sample_rate",
            "a share above 0 and at most 1",
            self.sample_rate,
            "Use 1 for all samples, 0.4 for the paper's setting.",
        )
        require(
            0.0 < self.unfrozen_sample_rate <= 1.0,
            "unfrozen_sample_rate",
            "a share above 0 and at most 1",
            self.unfrozen_sample_rate,
            "Use 1 to score on all samples before the first freeze.",
        )
        if self.unfrozen_sample_rate < 1.0:
            require(
                self.sampling == "disagreement",
                "sampling",
                "'disagreement', beside an unfrozen_sample_rate below 1",
                repr(self.sampling),
                "Choose it, or set unfrozen_sample_rate to 1.",
            )
            require(
                self.sample_rate <= self.unfrozen_sample_rate,
                "sample_rate",
                f"at most the unfrozen_sample_rate, {self.unfrozen_sample_rate}",
                self.sample_rate,
                "Lower it; samples that were dropped do not come back.",
            )
        require(
            self.voters is None or (self.voters >= 2 and self.unfrozen_sample_rate < 1.0),
            "voters",
            "at least 2, beside an unfrozen_sample_rate below 1, or None",
            self.voters,
            "Use 10 beside such a rate (see benchmarks/regret.py), and leave it out otherwise.",
        )
        require(
            self.calibration_images is None or self.calibration_images >= 2,
            "calibration_images",
            "at least 2, or None for all",
            self.calibration_images,
            "Use 250 to 1,000; see benchmarks/calibration.py.",
        )
        require(
            self.threads >= 1, "threads", "at least 1", self.threads, "Use 1 thread per worker."
        )
