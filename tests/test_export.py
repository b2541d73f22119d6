"""One architecture on its own: the same logits as in the supernet, in files without raynas."""

from __future__ import annotations

import copy
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from plain_scoring import calibrated_copy
from random_chains import CLASSES, Scene, build_scene, scenes
from safetensors.torch import load_file
from small_search import contents
from torch import Tensor, nn

from raynas import export
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.evaluator import Evaluator
from raynas.export import DESCRIPTION, Exported, export_subnet, plain_subnet, replace_files
from raynas.inputs import Inputs
from raynas.module_files import PROGRAM, WEIGHTS
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize, digest, spos

IMAGES = Inputs((1, 8, 8))

ALONE = """
import sys
sys.modules["raynas"] = None
import torch
module = torch.export.load(sys.argv[1]).module()
for batch in torch.load(sys.argv[2], weights_only=True):
    print(module(batch).tolist())
"""


def evaluator_of(scene: Scene) -> Evaluator:
    return Evaluator(copy.deepcopy(scene.supernet), Evaluation(device="cpu"))


def merged_statistics(scene: Scene, architecture: Architecture) -> dict:
    evaluator = evaluator_of(scene)
    found = [evaluator.calibrate(shard, [architecture]) for shard in scene.calibration]
    return batch_stats.merge([result.statistics for result in found])


@torch.no_grad()
def logits(subnet: nn.Module, scene: Scene) -> Tensor:
    return torch.cat([subnet(torch.tensor(shard.features)) for shard in scene.validation])


@settings(max_examples=20, derandomize=True)
@given(scenes)
def test_a_plain_subnet_gives_the_scores_of_the_evaluator(scene: Scene):
    architecture = scene.candidates(1)[0]
    statistics = merged_statistics(scene, architecture)
    for given_statistics in (statistics, None):
        subnet = plain_subnet(scene.supernet, architecture, given_statistics)
        evaluator = evaluator_of(scene)
        found = [
            evaluator.score(shard, [architecture], given_statistics or "inherited")
            for shard in scene.validation
        ]
        labels = torch.cat([torch.tensor(shard.labels) for shard in scene.validation])
        own = logits(subnet, scene)
        losses = nn.functional.cross_entropy(own, labels, reduction="none").numpy()
        correct = np.concatenate([outcome.first[0] for outcome in found])
        assert (own.argmax(1) == labels).numpy().tolist() == correct.tolist()
        expected = np.concatenate([outcome.losses[0] for outcome in found])
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)


def test_a_subnet_shares_nothing_with_its_supernet():
    scene = build_scene(5)
    before = digest(scene.supernet)
    architecture = scene.candidates(1)[0]
    subnet = plain_subnet(scene.supernet, architecture, merged_statistics(scene, architecture))
    theirs = {tensor.data_ptr() for tensor in scene.supernet.state_dict().values()}
    assert all(tensor.data_ptr() not in theirs for tensor in subnet.state_dict().values())
    assert not subnet.training
    with torch.no_grad():
        for tensor in subnet.state_dict().values():
            tensor.zero_()
    assert digest(build_scene(5).supernet) == before


def test_blocks_that_share_a_module_keep_statistics_of_their_own():
    shared = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 2, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, CLASSES))
    supernet = ChainSupernet(
        stem, [[shared], [shared]], head, image_shape=(1, 6, 6), num_classes=CLASSES
    )
    made = build_scene(0)
    shards = [
        type(s).build(s.features[:, :1], s.labels, s.samples, split=s.split)
        for s in (*made.calibration, *made.validation)
    ]
    scene = Scene(supernet.eval(), shards[:1], shards[1:], 0)
    statistics = merged_statistics(scene, (0, 0))
    assert not np.allclose(statistics[(0,)], statistics[(0, 0)])
    own = logits(plain_subnet(supernet, (0, 0), statistics), scene)
    plain = logits(calibrated_copy(supernet, (0, 0), scene.calibration), scene)
    torch.testing.assert_close(own, plain)


def test_an_architecture_that_does_not_exist_is_refused():
    scene = build_scene(1)
    with pytest.raises(InputError, match="architecture"):
        plain_subnet(scene.supernet, (99,) * scene.supernet.space.blocks, None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, nn.Module, ChainSupernet]:
    directory = tmp_path_factory.mktemp("export") / "deep" / "best"
    torch.manual_seed(0)
    supernet = spos(
        5, image_size=8, image_channels=1, stem_channels=4, stages=((8, 1, 1), (16, 2, 2)),
        head_channels=16, mean=(0.3,), std=(0.4,),
    ).eval()  # fmt: skip
    subnet = plain_subnet(supernet, (3, 0, 1), None)
    made = export_subnet(directory, subnet, IMAGES, {"architecture": (3, 0, 1), "top1": 0.5})
    assert made == Exported(directory, (DESCRIPTION, WEIGHTS, PROGRAM), {}, None)
    assert made.require_complete() is made
    return directory, subnet, supernet


def test_the_program_runs_without_raynas_for_any_batch(exported, tmp_path):
    directory, subnet, _ = exported
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randint(0, 256, (size, 1, 8, 8), generator=generator, dtype=torch.uint8)
        for size in (1, 2, 7)
    ]
    torch.save(batches, tmp_path / "batches.pt")
    command = [sys.executable, "-c", ALONE, directory / "model.pt2", tmp_path / "batches.pt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for batch, line in zip(batches, done.stdout.splitlines(), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(torch.tensor(json.loads(line)), subnet(batch))


def test_weights_and_description_are_what_was_exported(exported):
    directory, subnet, _ = exported
    weights = load_file(directory / "weights.safetensors")
    assert weights.keys() == subnet.state_dict().keys()
    assert all(torch.equal(weights[name], t) for name, t in subnet.state_dict().items())
    described = json.loads((directory / "architecture.json").read_text())
    assert described == {
        "architecture": [3, 0, 1],
        "top1": 0.5,
        "inputs": {"shape": [1, 8, 8], "dtype": "uint8", "vocabulary": None},
        "batch": "any",
        "not_written": {},
    }
    assert sorted(path.name for path in directory.iterdir()) == [
        "architecture.json",
        "model.pt2",
        "weights.safetensors",
    ]


def test_another_architecture_does_not_overwrite_an_export(exported):
    directory, _, supernet = exported
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    other = plain_subnet(supernet, (0, 0, 0), None)
    with pytest.raises(InputError, match=r"\[3, 0, 1\]") as caught:
        export_subnet(directory, other, IMAGES, {"architecture": (0, 0, 0)})
    assert caught.value.argument == "export directory"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}'])
def test_a_directory_with_something_unreadable_is_left_alone(tmp_path, content, exported):
    (tmp_path / "architecture.json").write_text(content)
    with pytest.raises(InputError, match="unreadable"):
        export_subnet(tmp_path, exported[1], IMAGES, {"architecture": (3, 0, 1)})
    assert [path.name for path in tmp_path.iterdir()] == ["architecture.json"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path, exported):
    (tmp_path / "best").write_text("")
    for target in (tmp_path / "best", tmp_path / "best" / "deeper"):
        with pytest.raises(InputError) as caught:
            export_subnet(target, exported[1], IMAGES, {"architecture": (3, 0, 1)})
        assert caught.value.argument == "export directory"


@pytest.mark.parametrize("name", ["weights.safetensors", "model.pt2"])
def test_files_that_are_not_those_of_an_export_are_left_alone(
    name: str, tmp_path: Path, exported: tuple[Path, nn.Module, ChainSupernet]
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"export directory: .*{name} without architecture.json"):
        export_subnet(tmp_path, exported[1], IMAGES, {"architecture": (3, 0, 1)})
    assert contents(tmp_path) == {name: b"mine"}


class Tied(nn.Module):
    """One convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)
        self.second = nn.Conv2d(1, 1, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.float())).mean((2, 3))


class SharedNorm(nn.Module):
    """One batch norm under two names, statistics and all."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(1)
        norm.running_mean.fill_(3.0)
        self.one, self.two = nn.Sequential(norm), nn.Sequential(nn.Conv2d(1, 1, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x.float())).mean((2, 3))


class Views(nn.Module):
    """Buffers that are rows of one tensor, one value seen eight times, and a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        rows = torch.arange(16.0).view(2, 8)
        self.register_buffer("up", rows[0])
        self.register_buffer("down", rows[1])
        self.register_buffer("wide", torch.tensor([3.0]).expand(8))
        self.encode = nn.Linear(8, 8, bias=False)
        self.decode = nn.Linear(8, 8, bias=False)
        self.decode.weight = nn.Parameter(self.encode.weight.t())

    def forward(self, x: Tensor) -> Tensor:
        y = x.float().mean((1, 2)) * self.up + self.down
        return self.decode(self.encode(y)) * self.wide


@pytest.mark.parametrize("kind", [Tied, SharedNorm, Views])
def test_tensors_that_share_memory_are_written_for_each_name(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    subnet = kind().eval()
    made = export_subnet(tmp_path, subnet, IMAGES, {"architecture": (0,)})
    assert made.refused == {}
    samples = torch.from_numpy(IMAGES.examples(5, seed=3))
    with torch.no_grad():
        wanted = subnet(samples)
        program = torch.export.load(tmp_path / PROGRAM).module()
        torch.testing.assert_close(program(samples), wanted)
        weights = load_file(tmp_path / WEIGHTS)
        assert weights.keys() == subnet.state_dict().keys()
        again = kind().eval()
        if kind is Views:
            # PyTorch itself does not load into a value that is seen several times.
            again.register_buffer("wide", torch.zeros(8))
        again.load_state_dict(weights)
        torch.testing.assert_close(again(samples), wanted, rtol=0, atol=0)


class Looped(nn.Module):
    """Takes batches apart in Python, so that a program fits one size."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one.float().mean((1, 2)) for one in x])


class SqueezedLoop(nn.Module):
    """As `Looped`, but of one sample it makes no batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one.float().mean((0, 1, 2)) for one in x]).squeeze()


class Guarded(nn.Module):
    """Decides by values, which no program can."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.float().mean((2, 3))
        return y if float(y.sum()) > 0 else -y


class Noisy(nn.Module):
    """Gives other outputs with every call, so that no program can be seen to be right."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x.float(), 0.5, training=True)


@pytest.mark.parametrize(("kind", "batch"), [(Looped, 1), (SqueezedLoop, 2)])
def test_a_program_for_one_batch_size_is_said_to_be_one(
    kind: type[nn.Module], batch: int, tmp_path: Path
) -> None:
    subnet = kind().eval()
    made = export_subnet(tmp_path, subnet, IMAGES, {"architecture": (0,)})
    assert (made.files, made.batch) == ((DESCRIPTION, WEIGHTS, PROGRAM), batch)
    (reason,) = made.refused.values()
    assert "dynamic" in reason
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert described["batch"] == batch
    assert described["not_written"] == {"model.pt2 for any batch size": reason}
    program = torch.export.load(tmp_path / PROGRAM).module()
    samples = torch.from_numpy(IMAGES.examples(batch, seed=3))
    torch.testing.assert_close(program(samples), subnet(samples))
    with pytest.raises(InputError, match=r"export: .*model\.pt2 in .*for any batch size was not"):
        made.require_complete()


@pytest.mark.parametrize(("kind", "text"), [(Guarded, "guard"), (Noisy, "other outputs")])
def test_what_torch_refuses_is_told_and_the_rest_is_written(
    kind: type[nn.Module], text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / DESCRIPTION).write_text('{"architecture": [0]}')
    (tmp_path / PROGRAM).write_text("of an earlier export, with other weights")
    made = export_subnet(tmp_path, kind().eval(), IMAGES, {"architecture": (0,)})
    assert made.files == (DESCRIPTION, WEIGHTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [DESCRIPTION, WEIGHTS]
    assert text in made.refused[PROGRAM]
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert described["not_written"] == dict(made.refused)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError) as caught:
        made.require_complete()
    assert "\n" not in str(caught.value)
    assert f"{DESCRIPTION}, {WEIGHTS} in {tmp_path}, but {PROGRAM} was not" in str(caught.value)


class Extra(nn.Linear):
    """A layer whose state is more than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 2}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


def test_state_that_is_no_tensor_is_told(tmp_path: Path) -> None:
    made = export_subnet(
        tmp_path, Extra(8, 2).eval(), Inputs((8,), "float32"), {"architecture": (0,)}
    )
    assert made.refused == {"_extra_state": "a dict, and no tensor"}
    assert load_file(tmp_path / WEIGHTS).keys() == {"weight", "bias"}
    assert (tmp_path / PROGRAM).exists()


@pytest.mark.parametrize(
    ("inputs", "subnet"),
    [
        (Inputs((8,), "float32"), nn.Linear(8, 3)),
        (Inputs((8,), "float16"), nn.Linear(8, 3).half()),
        (Inputs((6,), "int64", vocabulary=9), nn.Sequential(nn.Embedding(9, 4), nn.Flatten())),
        (Inputs((6,), "int32", vocabulary=9), nn.Sequential(nn.Embedding(9, 4), nn.Flatten())),
    ],
    ids=["float32", "float16", "int64", "int32"],
)
def test_inputs_of_any_shape_and_type(inputs: Inputs, subnet: nn.Module, tmp_path: Path) -> None:
    made = export_subnet(tmp_path, subnet.eval(), inputs, {"architecture": (0,)})
    assert (made.refused, made.batch) == ({}, None)
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert Inputs(**described["inputs"]) == inputs
    program = torch.export.load(tmp_path / PROGRAM).module()
    samples = torch.from_numpy(inputs.examples(7, seed=2))
    with torch.no_grad():
        torch.testing.assert_close(program(samples), subnet(samples))


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_permissions_that_the_user_gives_new_files(
    mask: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        export_subnet(tmp_path / "best", nn.Flatten(), IMAGES, {"architecture": (0,)})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "best").iterdir()}
    assert modes == dict.fromkeys((DESCRIPTION, WEIGHTS, PROGRAM), 0o666 & ~mask)


def test_a_full_disk_leaves_the_earlier_export_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_subnet(tmp_path, nn.Linear(8, 3), Inputs((8,), "float32"), {"architecture": (0,)})
    before = contents(tmp_path)
    write = export.write_through

    def fill(path: Path, content: bytes) -> None:
        write(path, content[:9])
        if path.name == PROGRAM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export, "write_through", fill)
    with pytest.raises(InputError, match=r"export directory: expected room on the disk.*No space"):
        export_subnet(tmp_path, nn.Linear(8, 3), Inputs((8,), "float32"), {"architecture": (0,)})
    assert contents(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_no_file_is_replaced_before_all_are_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_files(tmp_path, {"a": b"new", "missing/b": b"new"})
    assert contents(tmp_path) == {"a": b"old"}


def test_modules_that_cannot_be_copied_are_named() -> None:
    supernet = build_scene(5).supernet
    supernet.stem.kept = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(InputError, match="supernet: expected modules that can be copied"):
        plain_subnet(supernet, (0,) * supernet.space.blocks, None)
