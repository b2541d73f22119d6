"""Training settings of supernets and retrained networks on each data set, unless others are given.

Of the papers, PCF-ES retrains nothing, and GreedyNAS retrains its networks without
squeeze-and-excitation as ProxylessNAS, whose settings it does not state.
"""

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

FASHION_MNIST_PROGRESSIVE = replace(FASHION_MNIST, epochs=6, learning_rate=0.1, warmup_epochs=0.6)
"""`ponas_28x28` on progressive paths: the largest path; `--block-samples 3200` suits it."""

CIFAR = TrainingSettings(
    epochs=120, batch_size=128, learning_rate=0.1, warmup_epochs=1, schedule="cosine"
)
"""`spos_32x32` on CIFAR-10 or CIFAR-100."""

IMAGENET = TrainingSettings(
    epochs=120, batch_size=1024, learning_rate=0.5, warmup_epochs=1, schedule="cosine"
)
"""`spos` on ImageNet (SPOS, section 4), which trains all its supernets so, `resnet_mixed` too."""

IMAGENET_GREEDY = replace(IMAGENET, epochs=60, learning_rate=0.12, warmup_epochs=0)
"""`greedynas` on greedy paths of ImageNet (GreedyNAS, section 4.1).

At most as many epochs as its table 4 names: the pool ends the training when it is steady. The paper
states momentum, learning rate, schedule and batch size; the rest is as for SPOS.
"""

IMAGENET_PROGRESSIVE = TrainingSettings(
    epochs=50, batch_size=256, learning_rate=0.1, schedule="steps", label_smoothing=0.0
)
"""`ponas` on progressive paths of ImageNet (PONAS, section 4.1): the largest path.

The rate falls to a tenth at epochs 20 and 40; that of the blocks is 0.001, a hundredth of the
first, over 3 epochs each. The paper states neither a warm-up nor label smoothing, and for this
stage a momentum of 0.9 without Nesterov's name, which is taken here as everywhere.
"""

OWN_DATA = TrainingSettings(
    epochs=60, batch_size=64, learning_rate=0.1, warmup_epochs=1, schedule="cosine"
)
"""A supernet of one's own on data of one's own: a start, to be tuned."""

RETRAIN_DIGITS = replace(DIGITS, epochs=40, learning_rate=0.1)
"""One architecture of `spos_8x8` on the handwritten digits, from scratch."""

RETRAIN_FASHION_MNIST = replace(FASHION_MNIST, epochs=12, learning_rate=0.1, warmup_epochs=0.5)
"""One architecture of the small supernets on Fashion-MNIST, from scratch."""

RETRAIN_CIFAR = replace(CIFAR, epochs=240)
"""One architecture of `spos_32x32`, twice as long as its supernet, as SPOS does on ImageNet."""

RETRAIN_SPOS = TrainingSettings(epochs=240, batch_size=1024, learning_rate=0.5, schedule="linear")
"""A network on ImageNet by the recipe of ShuffleNetV2, which SPOS retrains with (section 4)."""

RETRAIN_PONAS = TrainingSettings(
    epochs=150, batch_size=256, learning_rate=0.045, schedule="cosine", label_smoothing=0.0
)
"""A network of PONAS on ImageNet (section 4.1; the epochs are those of its Table 3).

The size of the batch is that of its meta training; for retraining it states none.
"""

RETRAIN_GREEDY_SE = TrainingSettings(
    epochs=350,
    batch_size=512,
    learning_rate=0.064,
    weight_decay=1e-5,
    warmup_epochs=5,
    schedule="staircase",
    optimizer="rmsprop",
    average=0.999,
)
"""A network of GreedyNAS with squeeze-and-excitation on ImageNet (section 4.1).

It names MnasNet for its optimizer; epochs and weight decay, which it does not state, are those of
MnasNet's published code, too.
"""
