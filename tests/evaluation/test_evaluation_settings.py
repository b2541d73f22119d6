"""`Evaluation`: what it accepts, and what it says of the rest."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
import torch
from random_chains import random_chain

from raynas.devices import resolve_device
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_norm", "ema"),
        ("sample_rate", 0.0),
        ("sample_rate", -0.4),
        ("sample_rate", 1.01),
        ("sample_rate", math.nan),
        ("sampling", "all"),
        ("bits", 64),
        ("bits", 2),
        ("threads", 0),
        ("device", "tpu"),
    ],
)
def test_values_out_of_range_are_refused_by_name(argument, value):
    with pytest.raises(InputError) as caught:
        Evaluation(**{argument: value})
    assert caught.value.argument == argument
    assert str(value) in str(caught.value)


def test_the_papers_setting_is_accepted_and_is_a_value():
    paper = Evaluation(sample_rate=0.4, bits=16)
    assert paper == Evaluation(bits=16, sample_rate=0.4)
    assert hash(paper) == hash(dataclasses.replace(paper))
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.bits = 32


def test_settings_are_made_without_loading_torch():
    code = "import sys; from raynas.evaluation import Evaluation; Evaluation(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "pyarrow"} & set(done.stdout.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a process without CUDA")
def test_cuda_where_there_is_none_is_refused():
    with pytest.raises(InputError) as caught:
        Evaluator(random_chain(0), Evaluation(device="cuda"))
    assert caught.value.argument == "device"
    assert "CUDA" in str(caught.value)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
