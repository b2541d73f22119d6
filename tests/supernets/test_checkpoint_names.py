"""Checkpoints under the names and keys that other programs give them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from supernet_zoo import ZOO, grey_spos, scrambled
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.supernets import ChainSupernet, digest, load, save
from raynas.supernets.checkpoint_names import own_names
from raynas.supernets.tensor_files import CONTAINERS

State = dict[str, Tensor]


def loaded(content: object, folder: Path) -> bool:
    """Whether a file with this content gives a fresh supernet the weights of `trained`."""
    fresh = scrambled(grey_spos(), 2)
    torch.save(content, folder / "weights.pt")
    load(fresh, folder / "weights.pt")
    return digest(fresh) == digest(trained())


def trained() -> ChainSupernet:
    return scrambled(grey_spos(), 1)


def behind(prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in trained().state_dict().items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.",
        "supernet.",
        "architecture.",
        "model.module._orig_mod.net.",
        "anything.of_mine.",
    ],
)
def test_one_prefix_before_all_names(prefix: str, tmp_path: Path) -> None:
    assert loaded({"state_dict": behind(prefix), "epoch": 3}, tmp_path)


@pytest.mark.parametrize("key", CONTAINERS)
def test_keys_of_state_dicts(key: str, tmp_path: Path) -> None:
    assert loaded({"epoch": 3, "loss": 0.5, key: behind("")}, tmp_path)
    assert loaded({key: {"model": behind("module.")}, "optimizer": {"state": {}}}, tmp_path)


def test_plain_weights_come_before_averaged_ones(tmp_path: Path) -> None:
    averaged = {name: tensor * 2 for name, tensor in behind("").items()}
    assert loaded({"state_dict_ema": averaged, "state_dict": behind("")}, tmp_path)


def test_averaged_models_and_counters_of_operations(tmp_path: Path) -> None:
    counted = {"stem.1.total_ops": torch.zeros(1), "total_params": torch.zeros(1)}
    assert loaded(behind("module.") | {"n_averaged": torch.tensor(3)}, tmp_path)
    assert loaded(behind("") | counted, tmp_path)


def test_blocks_that_were_compiled_one_by_one(tmp_path: Path) -> None:
    named = {n.replace("blocks.1.0.", "blocks.1.0._orig_mod."): t for n, t in behind("").items()}
    assert named.keys() != behind("").keys()
    assert loaded(named, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: behind("model.") | behind("ema."), r"behind '(model|ema)\.' and '(model|ema)\.'"),
        (lambda: behind("model.") | {"loss.weight": torch.ones(1)}, r"behind 'model\.'"),
        (lambda: {"epoch": 3, "student": behind("")}, "got .* with epoch, student. Save"),
        (lambda: {"epoch": 3}, r"under state_dict, model, model_state_dict"),
        (lambda: 3, "got .* with int"),
    ],
)
def test_what_cannot_be_told_is_named(
    content: Callable[[], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        loaded(content(), tmp_path)


@given(
    prefix=st.lists(st.sampled_from(["a", "model", "stem", "blocks", "0"]), max_size=3),
    name=st.sampled_from(sorted(ZOO)),
)
def test_any_prefix_is_taken_off(prefix: list[str], name: str) -> None:
    own = SUPERNETS[name].state_dict()
    start = "".join(f"{part}." for part in prefix)
    given_names, found = own_names({start + key: tensor for key, tensor in own.items()}, own)
    assert found == start
    assert given_names.keys() == own.keys()


SUPERNETS = {name: make() for name, make in ZOO.items()}


def test_a_compiled_supernet_keeps_its_names() -> None:
    own = {"blocks.0._orig_mod.weight": torch.ones(1), "head.weight": torch.ones(1)}
    assert own_names(own, own) == (own, "")
    bare = {"blocks.0.weight": torch.ones(1), "head.weight": torch.ones(1)}
    assert own_names(bare, own)[0].keys() == own.keys()


@pytest.mark.parametrize("change", [{"mean": (0.4,)}, {"std": (0.5,)}, {"stem_stride": 2}])
def test_weights_of_another_recipe_are_refused(change: dict, tmp_path: Path) -> None:
    from raynas.supernets import spos

    path, recipe = tmp_path / "weights.safetensors", dict(grey_spos().recipe or {})
    save(trained(), path)
    recipe.pop("builder")
    other = scrambled(spos(**(recipe | change)), 3)
    before = digest(other)
    (name,) = change
    with pytest.raises(InputError, match=rf"computes the same.*{name}"):
        load(other, path)
    assert digest(other) == before
    load(spos(**(recipe | {"dropout": 0.5, "image_size": 16})), path)


def test_weights_of_other_strides_are_refused(tmp_path: Path) -> None:
    """The tensors have the same shapes, wherever the image is halved."""
    from raynas.supernets import ponas_8x8

    path = tmp_path / "weights.safetensors"
    save(ponas_8x8(3, stages=((8, 1, 2), (8, 1, 1))), path)
    other = scrambled(ponas_8x8(3, stages=((8, 1, 1), (8, 1, 2))), 3)
    before = digest(other)
    with pytest.raises(InputError, match=r"computes the same.*stages \[\[8, 1, 2\], \[8, 1, 1\]\]"):
        load(other, path)
    shifted = ponas_8x8(3, stages=((8, 1, 1), (8, 1, 2)), mean=(0.9,))
    with pytest.raises(InputError, match=r"computes the same.*mean .*, stages"):
        load(shifted, path)
    with pytest.raises(InputError, match="of another shape"):
        load(ponas_8x8(3, stages=((8, 1, 1), (16, 1, 2))), path)
    assert digest(other) == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_get_the_users_permissions(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        save(trained(), tmp_path / "weights.safetensors")
    finally:
        os.umask(before)
    found = stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode)
    assert found == 0o666 & ~mask


class Stateful(nn.Identity):
    def get_extra_state(self) -> Tensor:
        return torch.ones(1)

    def set_extra_state(self, state: object) -> None:
        pass


def test_extra_state_is_refused_when_saving(tmp_path: Path) -> None:
    stem = nn.Sequential(nn.Flatten(), Stateful())
    supernet = ChainSupernet(stem, [[nn.Identity()]], nn.Linear(4, 2), image_shape=(1, 2, 2))
    with pytest.raises(InputError, match="state of tensors only"):
        save(supernet, tmp_path / "weights.safetensors")
