"""The paper's search: the SPOS supernet on ImageNet, 20 choice blocks of 4, at most 330M FLOPs.

Population 50, 20 generations, Top-10, T = 0.7, monitor size 3, 40 % of the samples in 16 bits after
the first freeze (PCF-ES, sections 4.1 and A.5). Batch norm is recalibrated on 20,000 training
images; 5,000 other training images steer the search; the validation images of ImageNet are held
out. On a cluster: `ray submit cluster.yaml experiments/imagenet_spos.py -- --data … --checkpoint …`

    python experiments/imagenet_spos.py --data /data/imagenet --checkpoint checkpoint-150000.pth.tar
"""

from __future__ import annotations

from pathlib import Path

import raynas
from raynas.commands import program, workflow
from raynas.commands.named_strategies import make_strategy
from raynas.commands.run_options import RunOptions


def build_supernet(checkpoint: Path, num_classes: int | None) -> raynas.ChainSupernet:
    """The full SPOS supernet with trained weights.

    The released weights (`.pth.tar`) expect BGR images with values from 0 to 255; a file that
    raynas wrote says by itself what it expects.
    """
    recipe = raynas.supernets.recipe_of(checkpoint)
    if recipe is None:
        supernet = raynas.supernets.spos(
            num_classes, mean=(0.0,) * 3, std=(1 / 255,) * 3, reverse_channels=True
        )
    else:
        supernet = raynas.supernets.spos(**{k: v for k, v in recipe.items() if k != "builder"})
    raynas.supernets.load(supernet, checkpoint)
    return supernet


def main(
    data: Path,
    checkpoint: Path,
    run: RunOptions,
    calibration: int = 20_000,
    validation: int = 5_000,
    test: int | None = None,
    sample_rate: float = 0.4,
    bits: int = 16,
    flops: float = 330e6,
    population: int = 50,
    generations: int = 20,
) -> None:
    """Search the full SPOS supernet on ImageNet.

    Args:
        data: a folder with train/CLASS/*.JPEG and val/CLASS/*.JPEG.
        checkpoint: trained weights: the released SPOS supernet, a state dict, or safetensors.
        run: the search; its records go below runs/imagenet.
        calibration: training images for batch-norm statistics.
        validation: training images that steer the search.
        test: held-out images; all of val if omitted.
        sample_rate: the share of validation samples kept after the first freeze.
        bits: how activations behind the frozen prefix are stored.
        flops: the most multiply-adds of a legal architecture.
        population: architectures per generation.
        generations: the generation limit.
    """
    strategy = make_strategy(run.strategy, population=population, generations=generations)
    constraint = raynas.FLOPs(at_most=flops)
    evaluation = raynas.Evaluation(sample_rate=sample_rate, bits=bits)
    directory = run.directory(Path("runs/imagenet"))
    images = raynas.data.imagenet(data, calibration=calibration, validation=validation, test=test)
    workflow.search_and_show(
        build_supernet(checkpoint, images.num_classes),
        images,
        strategy,
        directory,
        constraint=constraint,
        evaluation=evaluation,
        **run.options(),
        **run.shown(),
    )


if __name__ == "__main__":
    program.run(main)
