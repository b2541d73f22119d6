"""Files that hold no architecture, or one of another supernet: one error that says what and why."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import raynas
from raynas.errors import InputError
from raynas.foreign.block_shapes import shapes_of
from raynas.foreign.found import BlockShape
from raynas.foreign.reading import fitted, read_file
from raynas.supernets import ChainSupernet, digest, fairnas_28x28, proxylessnas_28x28

EIGHT = {f"layer_{i}": "k3" for i in range(1, 9)}


@pytest.fixture(scope="module")
def two_blocks() -> ChainSupernet:
    return proxylessnas_28x28(stages=((16, 2, 2),)).eval()


class Runs:
    """A value whose pickle would run a command."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('ran')",)


def saved(path: Path, value: Any) -> bytes:
    torch.save(value, path / "saved")
    return (path / "saved").read_bytes()


TEXTS: dict[str, tuple[str, str, str]] = {
    "nothing": ("a.json", "", "with neither an object nor a list"),
    "text": ("a.yaml", "c3", "with neither an object nor a list"),
    "broken": ("a.yaml", "{a: [", "with neither JSON nor YAML"),
    "object": ("a.json", "{}", "with neither an object nor a list"),
    "empty": ("a.json", "[]", "with no list of choices"),
    "nested": ("a.json", "[[1], [2]]", "with [1], which is no choice of a block"),
    "own": ("a.json", '{"architecture": 3}', "with no list of choices"),
    "own lengths": ("a.json", '{"names": ["c3"], "architecture": [1, 1]}',
        "with names and indices of two different numbers of blocks"),
    "python": ("a.py", "mb_config = [", "with a file that is no Python"),
    "no blocks": ("a.py", "mb_config = make()", "with no list mb_config"),
    "block": ("a.py", "mb_config = [[3, 32, 7]]", "with [3, 32, 7] for block 0 of mb_config"),
    "gap": ("a.json", json.dumps({**EIGHT, "layer_10": "k3"}), "with no layer_9"),
    "start": ("a.json", '{"layer_2": "k3"}', "with no layer_1"),
    "label": ("a.json", '{"first": "k3"}', "with 'first', which is no label of a block"),
    "kinds": ("a.json", '{"a1": "k3", "b1": 2}', "with labels of 2 kinds: a, b"),
    "hot": ("a.json", '{"a1": [true, true]}',
        "with [True, True] for a label a…, and no single choice"),
    "value": ("a.json", '{"a1": 2.5}', "with 2.5 for a label a…, and no choice"),
    "widths": ("a.json", '{"a1": "k3", "a2": "k3", "channel_1": 3}', "with 1 widths of 2 blocks"),
    "depth": ("a.json", '{"s2_depth": 5}', "with 5 for s2_depth, and not from 1 to 4"),
    "depths": ("a.json", '{"s2_depth": 2, "s2_i0": "k3e3"}', "with no s2_i1"),
    "stage": ("a.yaml", "stage_0_block_1: x", "with no block 0 of stage 0"),
    "several": ("a.yaml", "stage_0_block_0: {chosen: [a, b]}",
        "with ['a', 'b'] for stage_0_block_0, and no single choice"),
    "pruned": (
        "a.yaml", "modules: {stage_0_block_0: x}\nchannels: {a: 1}",
        "with channels, which are no choices of blocks",
    ),
    "foreign key": (
        "a.yaml", "stage_0_block_0: x\nhead: y",
        "with 'head', which names no stage and block as stage_0_block_1 and layers.0.1 do",
    ),
    "chosen elsewhere": (
        "a.yaml", "blocks.0: {chosen: dw5}\nblocks.1: {chosen: dw3}",
        "with 'blocks.0', which names no stage and block as stage_0_block_1 and layers.0.1 do",
    ),
    "json twice": ("a.json", '{"a1": "k3", "a1": "k5"}', "with 'a1' twice"),
    "yaml twice": ("a.yaml", "stage_0_block_0: x\nstage_0_block_0: y", "'stage_0_block_0' twice"),
    "label twice": ("a.json", '{"a1": "k3", "a01": "k5"}', "with several choices for a1"),
    "block twice": ("a.yaml", "a.layers.0.0: x\nb.layers.0.0: y",
        "with several choices for block 0 of stage 0"),
    "no stage": ("a.yaml", "layers.0.0: x\nlayers.2.0: y", "with no stage 1"),
    "stages": ("a.json", '{"s2_depth": 1, "s2_i0": "k3e3", "s4_depth": 1, "s4_i0": "k3e3"}',
        "with None for s3_depth, and not from 1 to 4"),
    "beyond": ("a.json", '{"s2_depth": 1, "s2_i0": "k3e3", "s2_i7": "k3e3"}',
        "with a block s2_i7 of a stage of 4"),
    "digits": ("a.json", f'{{"a{"9" * 5000}": 1}}', "with a number of 5000 digits in a label"),
    "number": ("a.json", f'{{"a1": {"9" * 5000}}}', "with neither JSON nor YAML"),
    "deep": ("a.json", "[" * 100_000, "with neither JSON nor YAML"),
    "deep python": ("a.py", f"mb_config = {'-' * 100_000}1", "with a file that is no Python"),
    "date": ("a.yaml", "layers.0.0: 2020-99-99", "with neither JSON nor YAML"),
    "two lists": ("a.py", "mb_config = [[3, 32, 7, 2]]\nmb_config = [[6, 32, 7, 2]]",
        "with several lists mb_config, or one that is changed"),
    "longer list": ("a.py", "mb_config = [[3, 32, 7, 2]]\nmb_config += [[6, 32, 7, 1]]",
        "with several lists mb_config, or one that is changed"),
    "changed list": ("a.py", "mb_config = [[3, 32, 7, 2]]\nmb_config[0] = [6, 32, 7, 2]",
        "with several lists mb_config, or one that is changed"),
    "appended list": ("a.py", "mb_config = [[3, 32, 7, 2]]\nmb_config.append([6, 32, 7, 1])",
        "with several lists mb_config, or one that is changed"),
    "no literal": ("a.py", "mb_config = {[]: 1}", "with no list mb_config"),
    "no network": ("a.json", '{"name": "ProxylessNASNets"}', "with no blocks in ProxylessNASNets"),
    "no layer": (
        "a.json", '{"name": "ProxylessNASNets", "blocks": [{}]}',
        "with no mobile_inverted_conv in block 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_texts_that_hold_no_architecture(
    case: str, two_blocks: ChainSupernet, tmp_path: Path
) -> None:
    name, text, reason = TEXTS[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        raynas.read_architecture(tmp_path / name, two_blocks)
    assert caught.value.argument == "architecture"
    assert f"got {tmp_path / name} with " in str(caught.value)
    assert f"{reason}. Give such a file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(two_blocks: ChainSupernet, tmp_path: Path) -> None:
    cases = {
        b"\xff\xfe\x00": "bytes that are no text",
        b"PK\x03\x04": "neither a pickle of choices nor a file of torch",
        pickle.dumps(Runs()): "neither a pickle of choices nor a file of torch",
        pickle.dumps((0, "a")): "(0, 'a'), which are no choices of blocks",
        pickle.dumps(())[:3]: "neither a pickle of choices nor a file of torch",
        saved(tmp_path, {"state_dict": {"a": torch.ones(2)}}): "without candidates of a search",
        saved(tmp_path, {"vis_dict": {(0,): {}}}): "candidates without errors",
    }
    file = tmp_path / "file"
    for content, reason in cases.items():
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"architecture: expected the architecture\.json") as e:
            raynas.read_architecture(file, two_blocks)
        assert reason in str(e.value)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"architecture: expected the architecture\.json"):
            raynas.read_architecture(path, two_blocks)


def proxyless(change: Callable[[list[dict[str, Any]]], None]) -> dict[str, Any]:
    """A network of ProxylessNAS with two searched blocks, one of them changed."""

    def block(inputs: int, outputs: int, stride: int, expansion: int) -> dict[str, Any]:
        added = stride == 1 and inputs == outputs
        return {
            "mobile_inverted_conv": {
                "name": "MBInvertedConvLayer", "in_channels": inputs, "out_channels": outputs,
                "kernel_size": 3, "stride": stride, "expand_ratio": expansion, "use_se": False,
                "mid_channels": None, "act_func": "relu6",
            },
            "shortcut": {"name": "IdentityLayer"} if added else None,
        }  # fmt: skip

    blocks = [block(16, 8, 1, 1), block(8, 16, 2, 6), block(16, 16, 1, 3)]
    change(blocks)
    return {"name": "ProxylessNASNets", "blocks": blocks}


def layer(index: int, **entries: Any) -> Callable[[list[dict[str, Any]]], None]:
    """A change of one block's layer."""
    return lambda blocks: blocks[index]["mobile_inverted_conv"].update(entries)


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str]] = {
    "expansion": (layer(1, expand_ratio=4), "for block 0 one of e3k3, e3k5, .*got 'e4k3'"),
    "activation": (layer(2, act_func="h_swish"), "h_swish in block 2, and no relu6"),
    "inside": (layer(1, mid_channels=40), "40 channels inside block 1, and not 6 times"),
    "se": (layer(1, use_se=True), "got 'e6k3se'"),
    "first": (layer(0, kernel_size=5), "e1k5 as the first block, which is not searched"),
    "kernel": (layer(1, kernel_size=[3, 3]), r"\[3, 3\] kernel_size in block 1"),
    "kind": (layer(1, name="ConvLayer"), "a ConvLayer in block 1"),
    "outputs": (layer(1, out_channels=24), "for block 0 8 to 16 channels.*got 8 to 24 channels"),
    "stride": (
        lambda blocks: layer(1, stride=1)(blocks),
        "for block 0 8 to 16 channels at stride 2.*got 8 to 16 channels at stride 1",
    ),
    "shortcut": (lambda blocks: blocks[2].update(shortcut=None), "no shortcut in block 2"),
    "zero": (
        lambda blocks: blocks[1].update(mobile_inverted_conv={"name": "ZeroLayer", "stride": 2}),
        "a block 1 that is neither run nor skipped",
    ),
    "nothing": (
        lambda blocks: blocks[2].update(mobile_inverted_conv={"name": "ZeroLayer"}, shortcut=None),
        "a block 2 that is neither run nor skipped",
    ),
    "groups": (layer(1, groups=2), "a groups of 2 in block 1"),
    "se as a number": (layer(1, use_se=1), "1 use_se in block 1"),
    "count": (lambda blocks: blocks.pop(), "the choices of 2 blocks, got 1"),
}  # fmt: skip


def test_names_and_indices_that_contradict_each_other(
    two_blocks: ChainSupernet, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    names = ["e6k3", "e3k5"]
    file.write_text(json.dumps({"names": names, "architecture": [3, 1]}))
    assert raynas.read_architecture(file, two_blocks) == (3, 1)
    file.write_text(json.dumps({"names": names, "architecture": [3, 2]}))
    with pytest.raises(InputError) as caught:
        raynas.read_architecture(file, two_blocks)
    assert str(caught.value) == (
        f"architecture {file}: expected for block 1 the index of e3k5 in this space, 1, under "
        "architecture, got 2 there, and e3k5 under names. Correct one of them, or leave "
        "architecture out of the file if its names are right."
    )
    # One order of choices in all blocks: those of another space. Two indices of a name are none.
    file.write_text(json.dumps({"names": ["e6k5", "e6k5"], "architecture": [9, 9]}))
    assert raynas.read_architecture(file, two_blocks) == (4, 4)
    file.write_text(json.dumps({"names": ["e6k5", "e6k5"], "architecture": [4, 9]}))
    with pytest.raises(InputError, match=r"for block 1 the index of e6k5 in this space, 4, "):
        raynas.read_architecture(file, two_blocks)
    # A space of widths has longer names: the file's indices are those of another space.
    file.write_text(json.dumps({"names": ["c7"], "architecture": [2]}))
    assert fitted(read_file(file), [["c3@1.0", "c7@1.0"]], file) == (1,)


def test_a_network_that_fits(two_blocks: ChainSupernet, tmp_path: Path) -> None:
    before = digest(two_blocks)
    (tmp_path / "net.config").write_text(json.dumps(proxyless(lambda blocks: None)))
    found = raynas.read_architecture(tmp_path / "net.config", two_blocks.train())
    assert two_blocks.decode(found) == ("e6k3", "e3k3")
    assert two_blocks.training
    assert digest(two_blocks.eval()) == before


@pytest.mark.parametrize("case", CHANGES)
def test_a_network_of_another_space_is_refused_by_block(
    case: str, two_blocks: ChainSupernet, tmp_path: Path
) -> None:
    change, reason = CHANGES[case]
    (tmp_path / "net.config").write_text(json.dumps(proxyless(change)))
    with pytest.raises(InputError, match=reason) as caught:
        raynas.read_architecture(tmp_path / "net.config", two_blocks)
    assert caught.value.argument.startswith("architecture")
    assert str(tmp_path / "net.config") in str(caught.value)


def test_shapes_are_measured_where_they_can_be_told() -> None:
    assert shapes_of(proxylessnas_28x28(stages=((16, 2, 2), (24, 1, 2)))) == [
        BlockShape(8, 16, 2), BlockShape(16, 16, 1), BlockShape(16, 24, 2),
    ]  # fmt: skip
    tiny = fairnas_28x28(image_size=4, stages=((16, 2, 2),))
    assert shapes_of(tiny) == [BlockShape(8, 16, 0), BlockShape(16, 16, 0)]
    flat = ChainSupernet(
        nn.Flatten(), [[nn.Linear(4, 3)]], nn.Linear(3, 2), num_classes=2,
        inputs=raynas.Inputs((2, 2), "float32"),
    )  # fmt: skip
    assert shapes_of(flat) == [None]


def nested(depth: int) -> Any:
    """A value of few bytes whose text would have 2 ** depth entries."""
    value: Any = ("x",)
    for _ in range(depth):
        value = (value, value)
    return value


def test_values_that_hold_themselves_often_are_named_in_short(
    two_blocks: ChainSupernet, tmp_path: Path
) -> None:
    (tmp_path / "arch.pkl").write_bytes(pickle.dumps(nested(200)))
    anchors = [f"layers.0.0: &a0 [{'x,' * 9}]"]
    anchors += [f"layers.0.{i}: &a{i} [{f'*a{i - 1},' * 9}]" for i in range(1, 60)]
    (tmp_path / "a.yaml").write_text("\n".join(anchors))
    for name in ("arch.pkl", "a.yaml"):
        with pytest.raises(InputError) as caught:
            raynas.read_architecture(tmp_path / name, two_blocks)
        assert len(str(caught.value)) < 1000


def test_candidates_without_a_finite_error_are_not_the_best(tmp_path: Path) -> None:
    candidates = {(0, 0): {"err": math.nan}, (1, 1): {"err": 10.0}, (2, 2): {"err": -math.inf}}
    (tmp_path / "search.tar").write_bytes(saved(tmp_path, {"vis_dict": candidates}))
    assert read_file(tmp_path / "search.tar").choices == (1, 1)
    candidates["text"] = {"err": 10.0}  # type: ignore[index]
    (tmp_path / "search.tar").write_bytes(saved(tmp_path, {"vis_dict": candidates}))
    with pytest.raises(InputError, match="'text', which are no choices of blocks"):
        read_file(tmp_path / "search.tar")


def test_one_of_a_list_is_that_of_a_block_with_as_many_choices(tmp_path: Path) -> None:
    file = tmp_path / "nni.json"
    file.write_text('{"LayerChoice1": [false, true]}')
    found = read_file(file)
    assert fitted(found, [["c3", "c5"]], file) == (1,)
    with pytest.raises(InputError, match=r"one of c3, c5, c7, or an index .*got 'one of 2'"):
        fitted(found, [["c3", "c5", "c7"]], file)


def test_words_of_the_file_come_before_their_translations(tmp_path: Path) -> None:
    file = tmp_path / "nni.json"
    file.write_text('{"layer_1": "k3"}')
    assert fitted(read_file(file), [["c3", "k3"]], file) == (1,)
    assert fitted(read_file(file), [["c3", "c5"]], file) == (0,)


def test_names_of_ones_own_are_taken_as_they_are(tmp_path: Path) -> None:
    blocks = [[nn.Identity(), nn.ReLU()], [nn.Identity(), nn.Tanh()]]
    supernet = ChainSupernet(
        nn.Linear(4, 4), blocks, nn.Linear(4, 2), inputs=raynas.Inputs((4,), "float32"),
        num_classes=2, names=[["skip", "act"], ["skip", "shuffle_3x3"]],
    )  # fmt: skip
    content = {"layers.0.0": "act", "layers.1.0": {"chosen": "shuffle_3x3"}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    again = copy.deepcopy(supernet)
    assert raynas.read_architecture(str(tmp_path / "a.yaml"), again) == (1, 1)
