"""Reading and writing weights: nothing lost, nothing half loaded, nothing run."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from supernet_zoo import ZOO, random_images, scrambled, sliced, small_spos
from torch import nn

import raynas
from raynas.errors import InputError
from raynas.files import file_beside
from raynas.supernets import ChainSupernet, Normalize, digest, load, recipe_of, save, spos


def state(supernet: ChainSupernet) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


@pytest.mark.parametrize("name", sorted(ZOO))
@torch.no_grad()
def test_round_trip(name: str, tmp_path: Path) -> None:
    supernet, other = scrambled(ZOO[name](), 1), scrambled(ZOO[name](), 2)
    images, architecture = random_images(supernet), (0,) * supernet.space.blocks
    assert not torch.equal(other(images, architecture), supernet(images, architecture))
    save(supernet, tmp_path / "a" / "weights.safetensors")
    load(other, tmp_path / "a" / "weights.safetensors")
    assert torch.equal(other(images, architecture), supernet(images, architecture))
    assert digest(other) == digest(supernet)
    assert os.listdir(tmp_path / "a") == ["weights.safetensors"]


PLAIN = lambda tensors: tensors  # noqa: E731
WRAPPED: list[tuple[Callable, str]] = [
    (wrap, start)
    for wrap in (PLAIN, lambda s: {"state_dict": s}, lambda s: {"model": s})
    for start in ("", "module.")
]
"""The ways in which a state dict is saved, and the prefixes of its names."""


@pytest.mark.parametrize(
    ("build", "wrap", "start"),
    [
        *((small_spos, *way) for way in WRAPPED),
        *((ZOO[name], PLAIN, "module.") for name in sorted(ZOO)),
    ],
)
def test_torch_state_dicts(build: Callable, wrap: Callable, start: str, tmp_path: Path) -> None:
    supernet, other = scrambled(build(), 1), scrambled(build(), 2)
    named = {start + key: tensor for key, tensor in supernet.state_dict().items()}
    torch.save(wrap(named), tmp_path / "weights.pt")
    load(other, tmp_path / "weights.pt")
    assert digest(other) == digest(supernet)
    assert recipe_of(tmp_path / "weights.pt") is None


def test_shared_tensors_are_written_once(tmp_path: Path) -> None:
    supernet = sliced()
    save(supernet, tmp_path / "weights.safetensors")
    written = load_file(tmp_path / "weights.safetensors")
    assert sum(".shared.expand." in name for name in written) == supernet.space.blocks
    assert len(written) == len({id(t) for t in supernet.state_dict(keep_vars=True).values()})


def test_sharing_survives_loading(tmp_path: Path) -> None:
    supernet, other = scrambled(sliced(), 1), scrambled(sliced(), 2)
    save(supernet, tmp_path / "weights.safetensors")
    load(other, tmp_path / "weights.safetensors")
    first, second = other.node((0,)), other.node((1,))
    assert first.shared.expand.weight is second.shared.expand.weight


def test_a_shared_tensor_with_two_values_is_refused(tmp_path: Path) -> None:
    supernet = sliced()
    contradictory = state(supernet)
    contradictory["blocks.0.1.shared.expand.weight"] += 1
    torch.save(contradictory, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"several values.*blocks\.0\.1\.shared\.expand\.weight"):
        load(supernet, tmp_path / "weights.pt")


def test_numbers_of_numpy_are_saved_as_plain_ones(tmp_path: Path) -> None:
    supernet = raynas.supernets.resnet_mixed_8x8(np.int64(3), alpha=np.float32(0.25))
    save(supernet, tmp_path / "weights.safetensors")
    plain = raynas.supernets.resnet_mixed_8x8(3, alpha=0.25).recipe
    assert recipe_of(tmp_path / "weights.safetensors") == plain == supernet.recipe


def test_batch_counters_are_optional(tmp_path: Path) -> None:
    supernet, other = scrambled(small_spos(), 1), scrambled(small_spos(), 2)
    tensors = {n: t for n, t in state(supernet).items() if not n.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "without.pt")
    load(other, tmp_path / "without.pt")
    assert digest(other) == digest(supernet)
    torch.save(state(supernet) | {"x.num_batches_tracked": torch.tensor(3)}, tmp_path / "extra.pt")
    load(scrambled(other, 3), tmp_path / "extra.pt")
    assert digest(other) == digest(supernet)


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {("x" if name == "stem.1.weight" else name): t for name, t in tensors.items()}


MISFITS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "missing": (lambda s: {n: t for n, t in s.items() if "head" not in n}, r"4 missing \(head\.0"),
    "unexpected": (lambda s: s | {"y": torch.ones(1)}, r"1 unexpected \(y\)"),
    "renamed": (renamed, r"1 missing \(stem\.1\.weight\); 1 unexpected \(x\)"),
    "shape": (
        lambda s: s | {"head.6.weight": torch.ones(8, 24)},
        r"head\.6\.weight \(8, 24\) torch\.float32 instead of \(7, 24\)",
    ),
    "integers": (
        lambda s: s | {"head.6.weight": torch.ones(7, 24, dtype=torch.int64)},
        r"head\.6\.weight \(7, 24\) torch\.int64",
    ),
    "nothing": (lambda s: {}, "missing"),
    "not tensors": (lambda s: s | {"head.6.weight": 3}, "a mapping from names to tensors"),
    "a list": (lambda s: list(s.values()), "a mapping from names to tensors"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_misfits_leave_the_supernet_alone(misfit: str, tmp_path: Path) -> None:
    change, message = MISFITS[misfit]
    supernet = scrambled(small_spos(), 1)
    torch.save(change(state(scrambled(small_spos(), 2))), tmp_path / "weights.pt")
    before = state(supernet)
    with pytest.raises(InputError, match=message):
        load(supernet, tmp_path / "weights.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_a_long_list_of_misfits_is_cut(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "weights.pt")
    with pytest.raises(InputError) as caught:
        load(small_spos(), tmp_path / "weights.pt")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth.tar"])
@pytest.mark.parametrize("content", ["absent", "empty", "garbage", "cut", "folder", "text"])
def test_unreadable_files(content: str, suffix: str, tmp_path: Path) -> None:
    supernet, path = scrambled(small_spos()), tmp_path / f"weights{suffix}"
    before = state(supernet)
    if suffix == ".safetensors":
        save(supernet, path)
    else:
        torch.save({"state_dict": state(supernet)}, path)
    whole = path.read_bytes()
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content != "absent":
        broken = {"empty": b"", "garbage": os.urandom(99), "cut": whole[:-9], "text": b"weights"}
        path.write_bytes(broken[content])
    with pytest.raises(InputError, match="checkpoint"):
        load(supernet, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


@pytest.mark.parametrize("content", [b"\x10" + bytes(7) + b"{garbage", b"\xff" * 8 + b"{"])
def test_recipe_of_unreadable_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="checkpoint"):
        recipe_of(tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="checkpoint"):
        recipe_of(tmp_path / "absent.safetensors")


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickles_are_not_run(legacy: bool, tmp_path: Path) -> None:
    path, target = tmp_path / "weights.pth.tar", tmp_path / "owned"
    content = {"state_dict": {"stem.1.weight": Malicious(target)}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"mkdir.*Nothing was imported"):
        load(small_spos(), path)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="checkpoint"):
        load(small_spos(), path)
    assert not target.exists()


def test_metadata(tmp_path: Path) -> None:
    supernet, path = small_spos(), tmp_path / "weights.safetensors"
    save(supernet, path, {"epochs": "3"})
    assert recipe_of(path) == supernet.recipe
    recipe = dict(supernet.recipe or {})
    del recipe["builder"]
    rebuilt = spos(**recipe)
    load(rebuilt, path)
    assert digest(rebuilt) == digest(supernet)
    save(sliced(), path)
    assert recipe_of(path) is None
    with pytest.raises(InputError, match="metadata"):
        save(supernet, path, {"recipe": "mine"})
    supernet.recipe = {"size": {1, 2}}
    with pytest.raises(InputError, match=r"supernet\.recipe"):
        save(supernet, path)


def test_files_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with file_beside(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with file_beside(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can be written"):
        save(small_spos(), tmp_path / "file" / "weights.safetensors")


@torch.no_grad()
def test_digest_sees_every_bit() -> None:
    supernet = scrambled(ZOO["skipping"]())
    values = [t for t in supernet.state_dict().values() if t.is_floating_point()]
    seen = {digest(supernet)}
    for tensor in values:
        last = tensor.view(-1)[-1]
        last.copy_(torch.nextafter(last, torch.tensor(torch.inf)))
        seen.add(digest(supernet))
    assert len(seen) == 1 + len(values)


def test_digest_sees_the_input_constants() -> None:
    def variant(**changes: object) -> str:
        supernet = scrambled(small_spos())
        arguments = {"mean": (0.4, 0.4, 0.4), "std": (0.2, 0.2, 0.2), "reverse_channels": False}
        supernet.stem[0] = Normalize(**(arguments | changes))  # type: ignore[arg-type,operator]
        return digest(supernet)

    changes = [{}, {"mean": (0.4, 0.4, 0.5)}, {"std": (0.2, 0.2, 0.3)}, {"reverse_channels": True}]
    assert len({variant(**change) for change in changes}) == len(changes)


def test_digest_depends_on_values_only() -> None:
    supernet = scrambled(small_spos())
    expected = digest(supernet)
    assert digest(scrambled(small_spos())) == expected
    assert digest(copy.deepcopy(supernet).train()) == expected
    counted = copy.deepcopy(supernet)
    for name, tensor in counted.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.add_(1)
    assert digest(counted) == expected
    assert digest(supernet.to(memory_format=torch.channels_last)) == expected
    assert len(expected) == 32


def test_a_buffer_that_was_expanded_takes_values_of_its_own(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self, mask: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("mask", mask)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.mask.view(1, -1, 1, 1)

    def chain(mask: torch.Tensor) -> ChainSupernet:
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        return ChainSupernet(
            Normalize((0.5,) * 3, (0.3,) * 3),
            [[Masked(mask)]],
            head,
            image_shape=(3, 4, 4),
            num_classes=2,
        )

    target = chain(torch.ones(1).expand(3))
    save(chain(torch.tensor([1.0, 2.0, 3.0])), tmp_path / "weights.safetensors")
    load(target, tmp_path / "weights.safetensors")
    assert target.state_dict()["blocks.0.0.mask"].tolist() == [1.0, 2.0, 3.0]
