"""Scores are the same whatever the caller's state of torch, which stays as it was."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import pytest
import torch
from callers_states import STATES
from random_chains import Scene, random_shards
from torch import Tensor, nn

from raynas.evaluation import Evaluation
from raynas.evaluation.device.numerics import numerics
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.supernets import ChainSupernet, Normalize
from raynas.torch_state import SWITCHES, flushes_denormals
from raynas.workers.pool import LocalPool

CPU = torch.device("cpu")


def matmul_precision() -> str:
    """Torch's word for it; where its switches contradict each other, torch raises."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "mixed"


def cudnn_tf32() -> bool | None:
    """Whether cuDNN may compute in TF32; `None` where torch's switches contradict each other."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def plain_name(precision: str) -> str:
    """The name of a switch's position; of the two that mean float32, one."""
    return "none" if precision == "ieee" else precision


def state() -> tuple[Any, ...]:
    """What a caller may have set."""
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        matmul_precision(),
        cudnn_tf32(),
        torch.overrides._len_torch_function_stack(),  # type: ignore[attr-defined]
        len(vars(torch.nn.modules.module)["_global_forward_hooks"]),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.mkldnn.enabled,
        torch.get_num_threads(),
        denormals(),
        *(plain_name(torch._C._get_fp32_precision_getter(*place)) for place in SWITCHES),
    )


def denormals() -> bool:
    with torch.device("cpu"):
        return flushes_denormals()


class Tiny(nn.Module):
    """Depends on denormal numbers, on matrix products, and on tensors that it makes itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        small = (x * torch.tensor([1e-39]).to(x.device)) * 1e39
        mixed = torch.einsum("oc,nchw->nohw", self.weight, x)
        return mixed + small + torch.ones(x.shape[1], 1, 1).to(x.device) / 3


def scene_of_all() -> Scene:
    """Blocks with batch norms, and one of a user's own making."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(
            Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        )
        blocks = [
            [
                nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
                Tiny(8),
            ]
            for _ in range(2)
        ]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        supernet = ChainSupernet(stem, blocks, head, image_shape=(3, 7, 6), num_classes=4)
    splits = ("calibration", "validation")
    return Scene(supernet.eval(), *(random_shards(supernet, s, 12, 6, 1) for s in splits), 0)


CANDIDATES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def history(scene: Scene, device: Literal["cpu", "cuda"] = "cpu", **options: Any) -> list[Any]:
    """Everything that an evaluator says of candidates, before and behind a freeze."""
    protocol = Evaluation(device=device, **options)
    evaluator = PopulationEvaluator(
        LocalPool(scene.supernet, protocol),
        Splits(scene.calibration, scene.validation, scene.validation),
        protocol,
        0,
    )
    found: list[Any] = [evaluator.score(CANDIDATES)]
    losses = evaluator.outcomes(CANDIDATES).losses
    evaluator.freeze((1,), (1, 1))
    found += [evaluator.score(CANDIDATES[2:]), evaluator.score_in_full(CANDIDATES)]
    found.append(evaluator.test((0, 1)))
    statistics = evaluator.statistics((0, 1))
    return [*found, losses.tobytes(), {p: v.tobytes() for p, v in statistics.items()}]


@pytest.mark.parametrize(
    "options", [{"bits": 8}, {"precision": "bfloat16", "fold_batch_norm": True}], ids=["8", "fast"]
)
@pytest.mark.parametrize("name", STATES)
def test_scores_do_not_depend_on_the_callers_state(name: str, options: dict[str, Any]) -> None:
    scene = scene_of_all()
    expected = history(scene, **options)
    before = state()
    with STATES[name]():
        inside = state()
        assert (inside != before) == (name != "gradients")
        assert history(scene, **options) == expected
        assert state() == inside
    assert state() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:kernels are launched one by one")  # `Tiny` waits for a copy.
@pytest.mark.parametrize("name", STATES)
def test_scores_on_a_gpu_do_not_depend_on_the_callers_state(name: str) -> None:
    scene = scene_of_all()
    expected = history(scene, "cuda")
    before = state()
    with STATES[name]():
        assert history(scene, "cuda") == expected
    assert state() == before


def fail_inside() -> None:
    """Raise an error once everything is set as evaluations want it."""
    low = torch.get_autocast_dtype("cpu")
    with numerics(CPU, Evaluation(threads=3).arithmetic):
        wanted = (False, low, False, False, torch.float32, CPU, "highest", False, 0, 0)
        precisions = ["none"] * len(SWITCHES)
        assert state() == (*wanted, False, False, True, 3, False, *precisions)
        raise KeyError("inside")


@pytest.mark.parametrize("name", STATES)
def test_an_error_restores_the_callers_state_too(name: str) -> None:
    with STATES[name]():
        before = state()
        with pytest.raises(KeyError, match="inside"):
            fail_inside()
        assert state() == before


def test_deterministic_algorithms_warn_of_nothing() -> None:
    scene = scene_of_all()
    with STATES["deterministic algorithms, warnings"](), warnings.catch_warnings():
        warnings.simplefilter("error")
        history(scene)
