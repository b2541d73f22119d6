"""Training settings of this library's supernets on each data set, unless others are given."""

from __future__ import annotations

from dataclasses import replace

from raynas.training.settings import TrainingSettings

DIGITS = TrainingSettings(
    epochs=120, batch_size=32, learning_rate=0.2, warmup_epochs=1, schedule="cosine"
)
"""`spos_8x8` on the handwritten digits."""

FASHION_MNIST = TrainingSettings(
    epochs=24,
    batch_size=64,
    learning_rate=0.3,
    weight_decay=5e-4,
    warmup_epochs=1,
    schedule="cosine",
)
"""`spos_28x28`, `proxylessnas_28x28`, `greedynas_28x28` and `resnet_mixed_28x28` on
Fashion-MNIST."""

FASHION_MNIST_FAIR = replace(FASHION_MNIST, epochs=4, learning_rate=0.1, warmup_epochs=0.4)
"""`fairnas_28x28` on fair paths: six a step, whose gradients are summed."""

CIFAR = TrainingSettings(
    epochs=120, batch_size=128, learning_rate=0.1, warmup_epochs=1, schedule="cosine"
)
"""`spos_32x32` on CIFAR-10 or CIFAR-100."""

IMAGENET = TrainingSettings(
    epochs=120, batch_size=1024, learning_rate=0.5, warmup_epochs=1, schedule="cosine"
)
"""`spos` on ImageNet (SPOS, section 4), which trains all its supernets so, `resnet_mixed` too."""

OWN_DATA = TrainingSettings(
    epochs=60, batch_size=64, learning_rate=0.1, warmup_epochs=1, schedule="cosine"
)
"""A supernet of one's own on data of one's own: a start, to be tuned."""
