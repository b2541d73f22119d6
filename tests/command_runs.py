"""The `raynas` command, here or by torchrun: its exit code and what it prints; what it can load."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import raynas
from raynas.commands.main import main
from raynas.supernets import inverted

DIGITS = ("--data", "digits")
TINY = ("--supernet", "command_runs:tiny_supernet")
"""A supernet of the digits that takes much less time than theirs."""

BRIEF_SEARCH = ("search", *DIGITS, "--workers", 0, "--generations", 1, "--population", 4)
"""A search of the digits in this process; the supernet and the run directory are missing."""

IMAGES = ("--image-size", 8, "--supernet", "command_runs:image_supernet")
"""For the folders of `image_folder`."""


@dataclass(frozen=True)
class Finished:
    """The end of a command."""

    code: int
    out: str
    err: str


class Output(io.StringIO):
    """Output that has an encoding, as that of a process has; tyro draws its boxes by it."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._encoding


def command(*arguments: object, encoding: str = "utf-8") -> Finished:
    """Run `raynas` with arguments."""
    out, err, code = Output(encoding), Output(encoding), 0
    argv = ["raynas", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Finished(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> str:
    """Run `raynas` with arguments, see that all is well, and return what it prints."""
    ended = command(*arguments)
    assert (ended.code, ended.err) == (0, ""), ended
    return ended.out


def torchrun(*arguments: object) -> Finished:
    """Run something in two processes that torchrun starts, without GPUs, on the loopback."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "CUDA_VISIBLE_DEVICES": "",
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return Finished(done.returncode, done.stdout, done.stderr)


def assert_refused(arguments: Sequence[object], *texts: str, encoding: str = "utf-8") -> None:
    """The command ends with one line that holds the texts, and prints nothing else."""
    ended = command(*arguments, encoding=encoding)
    assert ended.code == 2, ended
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, "one line"
    for text in texts:
        assert text in ended.err


def cells(table: str) -> dict[str, str]:
    """The rows of a printed table of names and values."""
    rows = [line.split("│")[1:3] for line in table.splitlines() if line.startswith("│")]
    return {name.strip(): value.strip() for name, value in rows}


def tiny_supernet(channels: int = 1, classes: int = 10) -> raynas.ChainSupernet:
    """Three blocks of three choices, on images of 8×8."""

    def choice(kernel: int) -> nn.Module:
        conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(4, affine=False), nn.ReLU())

    mean = (0.3,) * channels
    return raynas.ChainSupernet(
        nn.Sequential(raynas.supernets.Normalize(mean, mean), nn.Conv2d(channels, 4, 3, padding=1)),
        [[nn.Identity(), choice(1), choice(3)] for _ in range(3)],
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes)),
        image_shape=(channels, 8, 8),
        num_classes=classes,
    )


def tiny_bottlenecks() -> raynas.ChainSupernet:
    """Two blocks of four choices that can be cropped, on images of 8×8."""
    options = {"stages": ((6, 1, 1), (8, 1, 2)), "stem_channels": 4, "separable_channels": 4}
    macro = inverted.macro_of(inverted.changed(inverted.SMALLEST, {**options, "head_channels": 8}))
    choices = inverted.Choices(kernels=(3,), se=True)
    return inverted.build(10, macro, choices, {"builder": "tests"})


class Gated(nn.Module):
    """Reads the statistics that its batch norm records."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        assert self.norm.running_mean is not None
        return self.norm(x) * torch.sigmoid(self.norm.running_mean)[:, None, None]


def gated_supernet() -> raynas.ChainSupernet:
    """One that can be searched with inherited statistics only."""
    tiny = tiny_supernet()
    return raynas.ChainSupernet(
        tiny.stem, [[nn.Identity(), Gated()]], tiny.head, image_shape=(1, 8, 8), num_classes=10
    )


def uncalibrated_digits() -> raynas.data.SearchData:
    """Digits without samples for batch norm."""
    return replace(raynas.data.digits(), calibration=())


def image_supernet() -> raynas.ChainSupernet:
    """One for two classes of colour images."""
    return tiny_supernet(3, 2)


def few_digits(validation: int = 40) -> raynas.data.SearchData:
    """Fewer of them, and a word."""
    print("digits, a few")
    return raynas.data.digits(calibration=20, validation=validation, test=30)


def slopes() -> raynas.data.SearchData:
    """A regression: the mean of some numbers."""
    numbers = np.random.default_rng(0).random((120, 6), dtype=np.float32)
    return raynas.data.from_arrays(numbers, numbers.mean(1), name="means")


def linear_supernet() -> raynas.ChainSupernet:
    """One for the regression, without batch norm."""
    choices = [[nn.Identity(), nn.Linear(4, 4), nn.Tanh()] for _ in range(2)]
    inputs = raynas.Inputs((6,), "float32")
    return raynas.ChainSupernet(
        nn.Linear(6, 4), choices, nn.Linear(4, 1), inputs=inputs, num_classes=None
    )


def closeness() -> raynas.Task:
    """The task of the regression."""
    return raynas.PerSample(negative_error, "closeness")


def negative_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How near each output is to its target, and the squared error."""
    error = outputs[:, 0] - targets
    return -error.abs(), error.square()


def few_milliseconds() -> list[raynas.Cost]:
    """Limits on a cost of the user's own: at most one block is not the first choice."""
    return [raynas.Cost([[0.0, 1.5, 1.5]] * 3, "ms", at_most=2.0)]


def image_folder(root: Path, *, val: bool = True) -> Path:
    """Two classes of six small images, and two each that are held out."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), *((("val", 2),) if val else ())):
        for label in ("cat", "dog"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def needs_an_argument(number: int) -> int:
    """No function for a command line."""
    return number


def returns_a_number() -> int:
    """Nothing that a command line wants."""
    return 5


def fails() -> raynas.ChainSupernet:
    """An error of two lines."""
    raise RuntimeError("no such thing\nin two lines")


def fails_as_raynas_does() -> raynas.ChainSupernet:
    """An error that raynas raises: the choices differ."""
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    return raynas.ChainSupernet(one, [[one], []], two, inputs=raynas.Inputs((4,)), num_classes=4)


class ChangesItsMind(nn.Module):
    """A head that torch cannot write as a program, and that computes as any other."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.linear(x.flatten(1))
        return outputs * 0 if bool(torch.isinf(outputs).any()) else outputs


def untraceable_supernet() -> raynas.ChainSupernet:
    """One whose subnets can be exported only in part."""
    tiny = tiny_supernet()
    choices = [[tiny.node((0,) * block + (choice,)) for choice in range(3)] for block in range(3)]
    return raynas.ChainSupernet(
        tiny.stem, choices, ChangesItsMind(), image_shape=(1, 8, 8), num_classes=10
    )


NUMBER = 3
"""No function."""
