"""Blocks of torchvision and torch, and every norm layer of torch."""

from __future__ import annotations

from functools import partial

import torch
from block_zoo import TOKENS, WIDTH, Make
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision import ops
from torchvision.models import (
    convnext,
    densenet,
    efficientnet,
    maxvit,
    mnasnet,
    mobilenetv2,
    mobilenetv3,
    regnet,
    resnet,
    shufflenetv2,
    squeezenet,
    swin_transformer,
    vision_transformer,
)
from torchvision.models.googlenet import Inception
from torchvision.models.inception import InceptionA
from torchvision.models.optical_flow import raft
from torchvision.models.quantization.resnet import QuantizableBasicBlock
from torchvision.models.segmentation import deeplabv3, fcn

BATCH_NORM = nn.BatchNorm2d


def norm_of(norm: nn.Module) -> nn.Module:
    """A norm behind a convolution."""
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), norm, nn.ReLU(inplace=True))


def in_grid(block: nn.Module) -> nn.Module:
    """A block that takes channels last as a shape, `[n, h, w, c]`."""
    return nn.Sequential(ops.Permute([0, 2, 3, 1]), block, ops.Permute([0, 3, 1, 2]))


def small(kernel: int, expansion: int, *, se: bool, activation: str) -> nn.Module:
    config = mobilenetv3.InvertedResidualConfig(
        WIDTH, kernel, expansion, WIDTH, se, activation, 1, 1, 1.0
    )
    return mobilenetv3.InvertedResidual(config, partial(BATCH_NORM, eps=1e-3, momentum=0.01))


def efficient(kind: str, kernel: int, stride: int) -> nn.Module:
    if kind == "fused":
        config = efficientnet.FusedMBConvConfig(2, kernel, stride, WIDTH, WIDTH, 1)
        return efficientnet.FusedMBConv(config, 0.2, BATCH_NORM)
    plain = efficientnet.MBConvConfig(2, kernel, stride, WIDTH, WIDTH, 1)
    return efficientnet.MBConv(plain, 0.2, BATCH_NORM)


def regnet_block(group: int, se: float | None, stride: int = 1) -> nn.Module:
    return regnet.ResBottleneckBlock(WIDTH, WIDTH, stride, BATCH_NORM, nn.ReLU, group, 1.0, se)


def dense(*, checkpointed: bool) -> nn.Module:
    """A dense block of two layers, and the transition that halves it."""
    layers = densenet._DenseBlock(2, WIDTH, 2, 8, 0.1, memory_efficient=checkpointed)
    return nn.Sequential(layers, densenet._Transition(WIDTH + 16, WIDTH))


def swin(shift: int, *, second: bool = False) -> nn.Module:
    kind = swin_transformer.SwinTransformerBlockV2
    kind = kind if second else swin_transformer.SwinTransformerBlock
    return in_grid(kind(WIDTH, 2, [4, 4], [shift, shift], stochastic_depth_prob=0.1))


def max_vit() -> nn.Module:
    return maxvit.MaxVitLayer(
        WIDTH, WIDTH, 0.25, 2.0, 1, BATCH_NORM, nn.GELU, 8, 2, 0.0, 0.0, 0.1, 4, (8, 8)
    )


IMAGES: dict[str, Make] = {
    "resnet.BasicBlock": lambda: resnet.BasicBlock(WIDTH, WIDTH),
    "resnet.Bottleneck": lambda: resnet.Bottleneck(WIDTH, 4),
    "resnet.Bottleneck of groups": lambda: resnet.Bottleneck(WIDTH, 4, groups=2, base_width=128),
    "resnet.Bottleneck of GroupNorm": lambda: resnet.Bottleneck(
        WIDTH, 4, norm_layer=partial(nn.GroupNorm, 2)
    ),
    "resnet.BasicBlock, down": lambda: resnet.BasicBlock(
        WIDTH, 24, 2, nn.Sequential(resnet.conv1x1(WIDTH, 24, 2), BATCH_NORM(24))
    ),
    "mobilenetv2.InvertedResidual": lambda: mobilenetv2.InvertedResidual(WIDTH, WIDTH, 1, 2),
    "mobilenetv2.InvertedResidual, down": lambda: mobilenetv2.InvertedResidual(WIDTH, 24, 2, 3),
    "mobilenetv3.InvertedResidual": lambda: small(3, 32, se=False, activation="RE"),
    "mobilenetv3.InvertedResidual of SE": lambda: small(5, 24, se=True, activation="HS"),
    "mnasnet._InvertedResidual": lambda: mnasnet._InvertedResidual(WIDTH, WIDTH, 5, 1, 2),
    "efficientnet.MBConv": lambda: efficient("plain", 3, 1),
    "efficientnet.MBConv, down": lambda: efficient("plain", 5, 2),
    "efficientnet.FusedMBConv": lambda: efficient("fused", 3, 1),
    "convnext.CNBlock": lambda: convnext.CNBlock(WIDTH, 1e-6, 0.1),
    "shufflenetv2.InvertedResidual": lambda: shufflenetv2.InvertedResidual(WIDTH, WIDTH, 1),
    "shufflenetv2.InvertedResidual, down": lambda: shufflenetv2.InvertedResidual(WIDTH, 24, 2),
    "densenet block": lambda: dense(checkpointed=False),
    "densenet block, checkpointed": lambda: dense(checkpointed=True),
    "googlenet.Inception": lambda: Inception(WIDTH, 4, 4, 4, 2, 4, 4),
    "inception.InceptionA": lambda: InceptionA(WIDTH, 8),
    "squeezenet.Fire": lambda: squeezenet.Fire(WIDTH, 4, 8, 8),
    "regnet.ResBottleneckBlock": lambda: regnet_block(8, None),
    "regnet.ResBottleneckBlock of SE": lambda: regnet_block(4, 0.25),
    "regnet.ResBottleneckBlock, down": lambda: regnet_block(8, 0.25, 2),
    "swin.SwinTransformerBlock": lambda: swin(0),
    "swin.SwinTransformerBlock, shifted": lambda: swin(2),
    "swin.SwinTransformerBlockV2": lambda: swin(2, second=True),
    "swin.PatchMerging": lambda: in_grid(swin_transformer.PatchMerging(WIDTH)),
    "maxvit.MaxVitLayer": max_vit,
    "raft.ResidualBlock of InstanceNorm": lambda: raft.ResidualBlock(
        WIDTH, WIDTH, norm_layer=nn.InstanceNorm2d
    ),
    "deeplabv3.ASPP": lambda: deeplabv3.ASPP(WIDTH, [2, 3], WIDTH),
    "fcn.FCNHead": lambda: fcn.FCNHead(WIDTH, WIDTH),
    "quantizable BasicBlock": lambda: QuantizableBasicBlock(WIDTH, WIDTH),
    "ops.SqueezeExcitation": lambda: ops.SqueezeExcitation(WIDTH, 4),
    "ops.StochasticDepth": lambda: norm_of(ops.StochasticDepth(0.5, "row")),
    "ops.DropBlock2d": lambda: norm_of(ops.DropBlock2d(0.3, 3)),
    "ops.Conv2dNormActivation": lambda: ops.Conv2dNormActivation(
        WIDTH, WIDTH, 5, activation_layer=nn.Hardswish
    ),
    "ops.Conv2dNormActivation of LayerNorm2d": lambda: ops.Conv2dNormActivation(
        WIDTH, WIDTH, 3, groups=WIDTH, norm_layer=convnext.LayerNorm2d, inplace=None,
        activation_layer=nn.GELU,
    ),
    "ops.Permute": lambda: nn.Sequential(ops.Permute([0, 1, 3, 2]), nn.Conv2d(WIDTH, WIDTH, 1)),
}  # fmt: skip
"""Blocks of torchvision on maps."""


def encoder(heads: int, **options: object) -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, heads, 24, batch_first=True, **options)  # type: ignore[arg-type]


class OverFeatures(nn.Module):
    """A norm of `[n, c, l]` over tokens `[n, l, c]`."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(WIDTH, WIDTH), norm

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.linear(x).transpose(1, 2)).transpose(1, 2)


class LinearNorm(nn.Module):
    """A linear layer, and batch norm over all tokens of all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return self.norm(y.flatten(0, 1)).reshape_as(y)


SEQUENCES: dict[str, Make] = {
    "TransformerEncoderLayer": lambda: encoder(2),
    "TransformerEncoderLayer, norm first": lambda: encoder(4, norm_first=True, activation="gelu"),
    "TransformerEncoderLayer without biases": lambda: encoder(2, bias=False, dropout=0.0),
    "TransformerEncoder": lambda: nn.TransformerEncoder(encoder(2), 2, enable_nested_tensor=False),
    "vit.EncoderBlock": lambda: vision_transformer.EncoderBlock(2, WIDTH, 32, 0.1, 0.1),
    "ops.MLP": lambda: ops.MLP(WIDTH, [24, WIDTH], nn.LayerNorm, inplace=False, dropout=0.1),
    "BatchNorm1d over features": lambda: OverFeatures(nn.BatchNorm1d(WIDTH)),
    "BatchNorm1d of a flat batch": LinearNorm,
    "BatchNorm1d over tokens": lambda: nn.BatchNorm1d(TOKENS, momentum=None),
    "SyncBatchNorm over features": lambda: OverFeatures(nn.SyncBatchNorm(WIDTH)),
    "InstanceNorm1d with statistics": lambda: OverFeatures(
        nn.InstanceNorm1d(WIDTH, affine=True, track_running_stats=True)
    ),
    "GroupNorm over features": lambda: OverFeatures(nn.GroupNorm(4, WIDTH)),
    "RMSNorm": lambda: nn.Sequential(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WIDTH)),
}
"""Blocks on sequences of tokens."""


def normed(wrap: Make) -> nn.Module:
    """A convolution of a parametrization, and batch norm."""
    return nn.Sequential(wrap(), BATCH_NORM(WIDTH), nn.ReLU(inplace=True))


def conv() -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1)


NORMS: dict[str, Make] = {
    "BatchNorm2d": lambda: norm_of(BATCH_NORM(WIDTH)),
    "BatchNorm2d without affine": lambda: norm_of(BATCH_NORM(WIDTH, affine=False)),
    "BatchNorm2d of momentum None": lambda: norm_of(BATCH_NORM(WIDTH, momentum=None)),
    "BatchNorm2d of a large eps": lambda: norm_of(BATCH_NORM(WIDTH, eps=0.5)),
    "BatchNorm2d of the batch": lambda: norm_of(BATCH_NORM(WIDTH, track_running_stats=False)),
    "BatchNorm2d alone": lambda: BATCH_NORM(WIDTH),
    "BatchNorm2d twice": lambda: norm_of(nn.Sequential(BATCH_NORM(WIDTH), BATCH_NORM(WIDTH))),
    "BatchNorm3d": lambda: nn.Sequential(
        nn.Unflatten(1, (4, 4)), nn.BatchNorm3d(4), nn.Flatten(1, 2), nn.Conv2d(WIDTH, WIDTH, 1)
    ),
    "SyncBatchNorm": lambda: norm_of(nn.SyncBatchNorm(WIDTH)),
    "GroupNorm": lambda: norm_of(nn.GroupNorm(4, WIDTH)),
    "LayerNorm": lambda: norm_of(nn.LayerNorm([WIDTH, 8, 8])),
    "InstanceNorm2d": lambda: norm_of(nn.InstanceNorm2d(WIDTH)),
    "InstanceNorm2d with statistics": lambda: norm_of(
        nn.InstanceNorm2d(WIDTH, affine=True, track_running_stats=True)
    ),
    "LocalResponseNorm": lambda: norm_of(nn.LocalResponseNorm(5)),
    "RMSNorm of maps": lambda: norm_of(nn.RMSNorm([8, 8])),
    "CrossMapLRN2d": lambda: norm_of(nn.CrossMapLRN2d(5)),
    "FrozenBatchNorm2d": lambda: norm_of(ops.FrozenBatchNorm2d(WIDTH)),
    "LayerNorm2d": lambda: norm_of(convnext.LayerNorm2d(WIDTH)),
    "weight_norm": lambda: normed(lambda: parametrizations.weight_norm(conv())),
    "spectral_norm": lambda: normed(lambda: parametrizations.spectral_norm(conv())),
    "orthogonal": lambda: nn.Sequential(
        parametrizations.orthogonal(nn.Conv2d(WIDTH, WIDTH, 1)), BATCH_NORM(WIDTH)
    ),
    "the older spectral_norm": lambda: normed(lambda: torch.nn.utils.spectral_norm(conv())),
}
"""Norm layers of torch on maps."""
