"""Blocks of timm (1.0.31)."""

from __future__ import annotations

from functools import partial

from block_zoo import TOKENS, WIDTH, Make
from timm import layers
from timm.layers.cbam import CbamModule
from timm.models import (
    _efficientnet_blocks as efficient,
)
from timm.models import (
    byobnet,
    cait,
    convmixer,
    convnext,
    edgenext,
    efficientvit_mit,
    fastvit,
    focalnet,
    ghostnet,
    inception_next,
    levit,
    maxxvit,
    metaformer,
    mlp_mixer,
    mobilevit,
    nfnet,
    repvit,
    res2net,
    resnest,
    resnet,
    resnetv2,
    rexnet,
    starnet,
    vision_transformer,
    xcit,
)
from torch import Tensor, nn


def after_conv(module: nn.Module) -> nn.Module:
    """A layer behind a convolution."""
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), module)


class OnGrid(nn.Module):
    """A block that takes tokens and the size of their grid."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.block(x.flatten(2).transpose(1, 2), h, w)
        return y.transpose(1, 2).reshape(n, c, h, w)


def max_vit(kind: type[nn.Module], **options: object) -> nn.Module:
    transformer = maxxvit.MaxxVitTransformerCfg(
        dim_head=8, window_size=(4, 4), grid_size=(4, 4), **options  # type: ignore[arg-type]
    )  # fmt: skip
    if kind is maxxvit.MaxxVitBlock:
        return kind(WIDTH, WIDTH, transformer_cfg=transformer, drop_path=0.1)
    return kind(WIDTH, cfg=transformer, drop_path=0.1)


MB_CONV = maxxvit.MaxxVitConvCfg()

IMAGES: dict[str, Make] = {
    "resnet.BasicBlock of ECA": lambda: resnet.BasicBlock(
        WIDTH, WIDTH, attn_layer=layers.EcaModule, drop_path=layers.DropPath(0.1)
    ),
    "resnet.BasicBlock of BlurPool": lambda: resnet.BasicBlock(
        WIDTH, 24, 2, resnet.downsample_avg(WIDTH, 24, 1, 2), aa_layer=layers.BlurPool2d
    ),
    "resnet.Bottleneck of CBAM": lambda: resnet.Bottleneck(
        WIDTH, 4, attn_layer=CbamModule
    ),
    "resnetv2.PreActBottleneck": lambda: resnetv2.PreActBottleneck(
        WIDTH, WIDTH, conv_layer=layers.StdConv2d,
        norm_layer=partial(layers.GroupNormAct, num_groups=4),
    ),
    "resnest.ResNestBottleneck": lambda: resnest.ResNestBottleneck(WIDTH, 4, radix=2),
    "res2net.Bottle2neck": lambda: res2net.Bottle2neck(
        WIDTH, 4, base_width=64, norm_layer=nn.BatchNorm2d
    ),
    "convnext.ConvNeXtBlock": lambda: convnext.ConvNeXtBlock(WIDTH, drop_path=0.1),
    "convnext.ConvNeXtBlock of GRN": lambda: convnext.ConvNeXtBlock(
        WIDTH, kernel_size=5, use_grn=True, ls_init_value=None
    ),
    "convnext.ConvNeXtBlock of convolutions": lambda: convnext.ConvNeXtBlock(
        WIDTH, conv_mlp=True, norm_layer=layers.LayerNorm2d
    ),
    "efficientnet.InvertedResidual": lambda: efficient.InvertedResidual(
        WIDTH, WIDTH, exp_ratio=2.0, se_layer=layers.SqueezeExcite, drop_path_rate=0.1
    ),
    "efficientnet.DepthwiseSeparableConv": lambda: efficient.DepthwiseSeparableConv(WIDTH, WIDTH),
    "efficientnet.EdgeResidual, down": lambda: efficient.EdgeResidual(
        WIDTH, 24, stride=2, pad_type="same"
    ),
    "efficientnet.CondConvResidual": lambda: efficient.CondConvResidual(
        WIDTH, WIDTH, exp_ratio=2.0, num_experts=3
    ),
    "efficientnet.UniversalInvertedResidual": lambda: efficient.UniversalInvertedResidual(
        WIDTH, WIDTH, exp_ratio=2.0, layer_scale_init_value=0.1
    ),
    "efficientnet.MobileAttention": lambda: efficient.MobileAttention(WIDTH, WIDTH, num_heads=2),
    "ghostnet.GhostBottleneck": lambda: ghostnet.GhostBottleneck(WIDTH, 24, WIDTH, se_ratio=0.25),
    "ghostnet.GhostBottleneck of attention": lambda: ghostnet.GhostBottleneck(
        WIDTH, 24, WIDTH, mode="attn"
    ),
    "byobnet.RepVggBlock": lambda: byobnet.RepVggBlock(WIDTH, WIDTH),
    "byobnet.MobileOneBlock": lambda: byobnet.MobileOneBlock(
        WIDTH, WIDTH, 3, group_size=1, num_conv_branches=2
    ),
    "byobnet.DarkBlock": lambda: byobnet.DarkBlock(WIDTH, WIDTH, bottle_ratio=0.5),
    "fastvit.RepMixerBlock": lambda: fastvit.RepMixerBlock(WIDTH, layer_scale_init_value=0.1),
    "fastvit.ReparamLargeKernelConv": lambda: fastvit.ReparamLargeKernelConv(
        WIDTH, WIDTH, 7, 1, 1, small_kernel=3, act_layer=nn.GELU
    ),
    "repvit.RepViTBlock": lambda: repvit.RepViTBlock(WIDTH, 2, 3, True, nn.GELU),
    "rexnet.LinearBottleneck": lambda: rexnet.LinearBottleneck(
        WIDTH, WIDTH, 1, exp_ratio=2.0, se_ratio=0.25
    ),
    "starnet.Block": lambda: starnet.Block(WIDTH, 2),
    "nfnet.NormFreeBlock": lambda: nfnet.NormFreeBlock(
        WIDTH, WIDTH, alpha=0.2, act_layer=nn.ReLU, conv_layer=layers.ScaledStdConv2d, skipinit=True
    ),
    "inception_next.MetaNeXtBlock": lambda: inception_next.MetaNeXtBlock(WIDTH, ls_init_value=0.1),
    "edgenext.SplitTransposeBlock": lambda: edgenext.SplitTransposeBlock(
        WIDTH, num_scales=2, num_heads=2
    ),
    "efficientvit_mit.EfficientVitBlock": lambda: efficientvit_mit.EfficientVitBlock(
        WIDTH, head_dim=8
    ),
    "focalnet.FocalNetBlock": lambda: nn.Sequential(
        focalnet.FocalNetBlock(WIDTH, focal_level=2, norm_layer=layers.LayerNorm2d)
    ),
    "mobilevit.MobileVitBlock": lambda: mobilevit.MobileVitBlock(
        WIDTH, transformer_dim=16, transformer_depth=1, patch_size=2, num_heads=2
    ),
    "mobilevit.MobileVitV2Block": lambda: mobilevit.MobileVitV2Block(
        WIDTH, transformer_dim=16, transformer_depth=1, patch_size=2
    ),
    "maxxvit.MaxxVitBlock": lambda: max_vit(maxxvit.MaxxVitBlock),
    "maxxvit.MbConvBlock": lambda: maxxvit.MbConvBlock(WIDTH, WIDTH, cfg=MB_CONV),
    "maxxvit.PartitionAttention2d": lambda: max_vit(maxxvit.PartitionAttention2d),
    "maxxvit.TransformerBlock2d": lambda: maxxvit.TransformerBlock2d(
        WIDTH, WIDTH, cfg=maxxvit.MaxxVitTransformerCfg(dim_head=8)
    ),
    "metaformer.MetaFormerBlock": lambda: metaformer.MetaFormerBlock(
        WIDTH, token_mixer=metaformer.Pooling, layer_scale_init_value=0.1
    ),
    "convmixer.Residual": lambda: nn.Sequential(
        convmixer.Residual(
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 5, groups=WIDTH, padding="same"), nn.GELU(),
                          nn.BatchNorm2d(WIDTH))
        ),
        nn.Conv2d(WIDTH, WIDTH, 1), nn.GELU(), nn.BatchNorm2d(WIDTH),
    ),
    "levit.ConvNorm": lambda: levit.ConvNorm(WIDTH, WIDTH, 3, padding=1),
    "xcit.XCABlock": lambda: OnGrid(xcit.XCABlock(WIDTH, 2, eta=0.1)),
    "layers.EcaModule": lambda: after_conv(layers.EcaModule(WIDTH)),
    "layers.CecaModule": lambda: after_conv(layers.CecaModule(WIDTH)),
    "layers.SEModule": lambda: layers.SEModule(WIDTH, rd_ratio=0.25, norm_layer=nn.BatchNorm2d),
    "layers.SelectiveKernel": lambda: layers.SelectiveKernel(WIDTH, WIDTH),
    "layers.SplitAttn": lambda: layers.SplitAttn(
        WIDTH, kernel_size=3, padding=1, norm_layer=nn.BatchNorm2d
    ),
    "layers.GatherExcite": lambda: layers.GatherExcite(
        WIDTH, extent=2, use_mlp=False, add_maxpool=True
    ),
    "layers.GlobalContext": lambda: layers.GlobalContext(WIDTH),
    "layers.NonLocalAttn": lambda: layers.NonLocalAttn(WIDTH),
    "layers.BatNonLocalAttn": lambda: layers.BatNonLocalAttn(WIDTH, block_size=4),
    "layers.BlurPool2d": lambda: after_conv(layers.BlurPool2d(WIDTH, stride=2)),
    "layers.MixedConv2d": lambda: layers.MixedConv2d(WIDTH, WIDTH, [3, 5]),
    "layers.Conv2dSame": lambda: layers.Conv2dSame(WIDTH, WIDTH, 3, stride=2),
    "layers.DropBlock2d": lambda: after_conv(layers.DropBlock2d(0.3)),
}  # fmt: skip
"""Blocks on maps."""


class Channels(nn.Module):
    """Channels as the last dimension, or back."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.order = (0, 2, 3, 1) if last else (0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


NORMS: dict[str, Make] = {
    name: (lambda make=make: after_conv(make(WIDTH)))  # type: ignore[misc]
    for name, make in {
        "BatchNormAct2d": layers.BatchNormAct2d,
        "BatchNormAct2d without activation": partial(layers.BatchNormAct2d, apply_act=False),
        "SyncBatchNormAct": lambda width: layers.convert_sync_batchnorm(
            layers.BatchNormAct2d(width)
        ),
        "FrozenBatchNormAct2d": layers.FrozenBatchNormAct2d,
        "SplitBatchNorm2d": layers.SplitBatchNorm2d,
        "GroupNormAct": partial(layers.GroupNormAct, num_groups=4),
        "GroupNorm1": layers.GroupNorm1,
        "LayerNorm2d": layers.LayerNorm2d,
        "LayerNormAct2d": layers.LayerNormAct2d,
        "RmsNorm2d": layers.RmsNorm2d,
        "SimpleNorm2d": layers.SimpleNorm2d,
        "EvoNorm2dB0": layers.EvoNorm2dB0,
        "EvoNorm2dB1": layers.EvoNorm2dB1,
        "EvoNorm2dS0": partial(layers.EvoNorm2dS0, groups=4),
        "FilterResponseNormTlu2d": layers.FilterResponseNormTlu2d,
    }.items()
}
"""Norm layers on maps."""

SEQUENCES: dict[str, Make] = {
    "vit.Block": lambda: vision_transformer.Block(
        WIDTH, 2, qkv_bias=True, init_values=0.1, drop_path=0.1, proj_drop=0.1
    ),
    "vit.ResPostBlock": lambda: vision_transformer.ResPostBlock(WIDTH, 2, init_values=0.1),
    "vit.ParallelScalingBlock": lambda: vision_transformer.ParallelScalingBlock(
        WIDTH, 2, qk_norm=True
    ),
    "vit.ParallelThingsBlock": lambda: vision_transformer.ParallelThingsBlock(WIDTH, 2),
    "cait.LayerScaleBlock": lambda: cait.LayerScaleBlock(WIDTH, 2),
    "mixer.MixerBlock": lambda: mlp_mixer.MixerBlock(WIDTH, TOKENS),
    "mixer.ResBlock": lambda: mlp_mixer.ResBlock(WIDTH, TOKENS, init_values=0.1),
    "mixer.SpatialGatingBlock": lambda: mlp_mixer.SpatialGatingBlock(WIDTH, TOKENS),
    "levit.LinearNorm": lambda: nn.Sequential(levit.LinearNorm(WIDTH, 24), nn.Hardswish(),
                                              levit.LinearNorm(24, WIDTH)),
    "layers.SwiGLU": lambda: layers.SwiGLU(WIDTH, 24),
}  # fmt: skip
"""Blocks on sequences of tokens."""
