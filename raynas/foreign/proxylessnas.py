"""The configurations of networks that ProxylessNAS released, such as `proxyless_mobile.config`.

The format is that of mit-han-lab/proxylessnas, `proxyless_nas/nas_modules.py` and
`proxyless_nas/layers.py`: a JSON object with the layers of every block. A block that is left out
is a `ZeroLayer`. Networks of once-for-all and MCUNet have the same format with entries for other
activations and squeeze-and-excitation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raynas.foreign.found import BlockShape, Found, NotUnderstoodError, bottleneck, part, shown

NETWORK = "ProxylessNASNets"

ENTRIES = (
    "name", "in_channels", "out_channels", "kernel_size", "stride", "expand_ratio", "mid_channels",
    "act_func", "use_se",
)  # fmt: skip
"""The entries of a layer; another one, such as groups, may mean another layer."""


def is_proxylessnas(content: Mapping[str, Any]) -> bool:
    """Whether a mapping is a network of ProxylessNAS."""
    return content.get("name") == NETWORK


def read(content: Mapping[str, Any]) -> Found:
    """The architecture of a network; its first block, which is not searched, is left out.

    Raises:
        NotUnderstoodError: another first block than a separable convolution, or a block that is no
            inverted bottleneck with ReLU6.
    """
    blocks = part(content, "blocks", list, NETWORK)
    choices: list[str] = []
    shapes: list[BlockShape] = []
    channels = 0
    for index, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            raise NotUnderstoodError(f"{shown(block)} for block {index}")
        layer = part(block, "mobile_inverted_conv", Mapping, f"block {index}")
        if layer.get("name") == "ZeroLayer":
            name, shape = "identity", BlockShape(channels, channels, 1)
            if layer.get("stride", 1) != 1 or not is_added(block.get("shortcut")):
                raise NotUnderstoodError(f"a block {index} that is neither run nor skipped")
        else:
            name, shape = bottleneck_of(layer, f"block {index}")
            require_shortcut(block.get("shortcut"), shape, f"block {index}")
        if index == 0:
            if name != "e1k3":
                raise NotUnderstoodError(f"{name} as the first block, which is not searched")
        else:
            choices.append(name)
            shapes.append(shape)
        channels = shape.outputs
    return Found("a network of ProxylessNAS", tuple(choices), shapes=tuple(shapes))


def bottleneck_of(layer: Mapping[str, Any], place: str) -> tuple[str, BlockShape]:
    """The name and the shape of an inverted bottleneck."""
    if layer.get("name") != "MBInvertedConvLayer":
        raise NotUnderstoodError(f"a {layer.get('name')} in {place}")
    shape = BlockShape(*(part(layer, name, int, place)
                         for name in ("in_channels", "out_channels", "stride")))  # fmt: skip
    expansion = part(layer, "expand_ratio", int, place)
    inside = layer.get("mid_channels")
    if inside not in (None, shape.inputs * expansion):
        raise NotUnderstoodError(f"{inside} channels inside {place}, and not {expansion} times")
    if layer.get("act_func", "relu6") != "relu6":
        raise NotUnderstoodError(f"{layer['act_func']} in {place}, and no relu6")
    kernel = part(layer, "kernel_size", int, place)
    for name in layer:
        if name not in ENTRIES and layer[name] is not None:
            raise NotUnderstoodError(f"a {name} of {shown(layer[name])} in {place}")
    excited = layer.get("use_se", False)
    if not isinstance(excited, bool):
        raise NotUnderstoodError(f"{shown(excited)} use_se in {place}")
    return bottleneck(expansion, kernel, se=excited), shape


def is_added(shortcut: Any) -> bool:
    """Whether a block adds its input."""
    return isinstance(shortcut, Mapping) and shortcut.get("name") == "IdentityLayer"


def require_shortcut(shortcut: Any, shape: BlockShape, place: str) -> None:
    """Raise `NotUnderstoodError` unless a block adds its input just where shapes agree."""
    added = is_added(shortcut)
    if added != (shape.stride == 1 and shape.inputs == shape.outputs):
        told = "a shortcut" if added else "no shortcut"
        raise NotUnderstoodError(f"{told} in {place}, unlike inverted bottlenecks of that shape")
