"""`Evaluation`: the protocol under which candidates are scored. Scores compare only under one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, final, get_args

from raynas.devices import THREADS
from raynas.errors import is_number, is_whole, require

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

Sampling = Literal["top", "weighted", "disagreement", "random"]
"""The mode that selects the samples to keep; see `Evaluation`."""


DRIVEN = (
    "batch_norm", "sample_rate", "sampling", "unfrozen_sample_rate", "voters", "precision",
    "fold_batch_norm", "calibration_images",
)  # fmt: skip
"""Settings that workers do not hold: the driver acts on them, or sends them with each call."""


@final
@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic of an evaluation: precision, folding and threads.

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
    """The evaluation protocol: everything that is decided about scoring candidates.

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
        precision: the type to rank candidates in: `"float32"`, or `"bfloat16"` or `"float16"` by
            autocast, which is faster where the device has instructions for it and moves scores a
            little. Winners are always scored in float32, and so is all of a supernet of mixed
            precision.
        fold_batch_norm: fold fixed batch norm into the convolution before it when candidates are
            ranked: faster at low precision, and moves losses in their last digits.
        calibration_images: how many calibration images rank candidates, taken in whole shards from
            the first on; all if `None`. A few hundred rank about as well as any number
            (`benchmarks/regret`); winners are always scored with all (SPOS: 20,000).
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
        """The arithmetic that candidates are ranked in."""
        return Arithmetic(self.precision, self.fold_batch_norm, self.threads)

    @property
    def held_by_workers(self) -> dict[str, Any]:
        """The settings that workers are opened with: all but those that the driver decides on."""
        return {name: value for name, value in asdict(self).items() if name not in DRIVEN}

    @property
    def full_arithmetic(self) -> Arithmetic:
        """The arithmetic that finalists and winners are scored in: float32, and unfolded."""
        return Arithmetic(threads=self.threads)

    def __post_init__(self) -> None:
        self._require_options()
        self._require_numbers()
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
            "Use 10 beside such a rate, and leave it out otherwise.",
        )

    def _require_options(self) -> None:
        """Raise `InputError` unless every choice is one of those that there are."""
        options = {
            "batch_norm": ("recalibrate", "inherit"),
            "sampling": get_args(Sampling),
            "bits": (32, 16, 8, 4),
            "precision": ("float32", "bfloat16", "float16"),
            "fold_batch_norm": (False, True),
            "prefix_sharing": (False, True),
            "device": ("auto", "cpu", "cuda"),
        }
        for name, values in options.items():
            value = getattr(self, name)
            require(
                any(type(value) is type(option) and value == option for option in values),
                name,
                " or ".join(repr(option) for option in values),
                repr(value),
                "Choose one of them.",
            )

    def _require_numbers(self) -> None:
        """Raise `InputError` unless every number is in its range, and whole where it must be."""
        for name in ("sample_rate", "unfrozen_sample_rate"):
            value = getattr(self, name)
            require(
                is_number(value) and 0 < value <= 1,
                name,
                "a share above 0 and at most 1",
                repr(value),
                "Use 1 for all samples, 0.4 for the paper's setting.",
            )
        ranges = {"voters": (1, None), "calibration_images": (2, None), "threads": (1, THREADS)}
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            require(
                (value is None and name != "threads")
                or (is_whole(value) and least <= value <= (most or value)),
                name,
                f"a whole number from {least}" + (f" to {most}" if most else ", or None"),
                repr(value),
                "Use 1 thread per worker." if name == "threads" else "Use 250 to 1,000 images."
                if name == "calibration_images" else "Use 10 voters.",
            )  # fmt: skip

    @staticmethod
    def recommended(device: Literal["auto", "cpu", "cuda"] = "auto") -> Evaluation:
        """The fast protocol that loses nothing measurable, as this machine computes it best.

        Samples that candidates disagree on (30 % by ten first votes, 20 % behind a frozen prefix),
        250 calibration images, and bfloat16 with folded batch norm where the processor or GPU has
        instructions for it; elsewhere float32, which is faster there.

        Args:
            device: of the workers, which must be like this machine.
        """
        from raynas.evaluation.device.machine import computes_fast_in

        low = computes_fast_in("bfloat16", device)
        return Evaluation(
            sampling="disagreement",
            unfrozen_sample_rate=0.3,
            voters=10,
            sample_rate=0.2,
            calibration_images=250,
            fold_batch_norm=low,
            precision="bfloat16" if low else "float32",
            device=device,
        )


def protocol_for(supernet: ChainSupernet, evaluation: Evaluation) -> Evaluation:
    """The protocol that suits a supernet.

    Nothing is recalibrated where there is no batch norm. Modules that state bit operations run in
    float32: few bits round small differences to whole steps, so that candidates would rank
    differently in bfloat16 (Spearman's ρ of 0.79 on 14 paths of a small supernet).
    """
    from raynas.costs.stated_bits import states_bits
    from raynas.supernets.chain import batch_norms

    if evaluation.precision != "float32" and states_bits(supernet):
        evaluation = replace(evaluation, precision="float32")
    return evaluation if batch_norms(supernet) else replace(evaluation, batch_norm="inherit")
