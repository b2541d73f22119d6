"""A source file, executed and compared with the network that it stands for."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from raynas.export.source.expressions import CannotBeWrittenError
from raynas.inputs import Inputs
from raynas.supernets.plain_torch import plain_torch, seed_generators

TOLERANCE = 1e-6
"""The share of the largest output by which those of both may differ."""


def require_same_network(source: str, file: str, network: nn.Module, inputs: Inputs) -> None:
    """Run a file and see that its network is the given one, as it computes and as it is trained.

    Args:
        source: the content of the file.
        file: its name.
        network: in evaluation mode, on the CPU; stays as it is.
        inputs: the shape and type of one sample.

    Raises:
        CannotBeWrittenError: another network.
        Exception: whatever the code of the file, or the network, raises.
    """
    namespace: dict[str, Any] = {"__name__": "network", "__file__": file}
    with plain_torch():
        exec(compile(source, file, "exec"), namespace)
        twin: nn.Module = namespace["build_network"]()
        require_same_state(twin, network)
        twin.load_state_dict(network.state_dict())
        require_same_outputs(twin.eval(), network, inputs, "evaluation")
        trained = copy.deepcopy(network).train()
        samples = torch.from_numpy(inputs.examples(2))
        try:
            run(trained, samples)
        # A network that cannot be trained on so few samples is compared in evaluation only.
        except Exception:
            return
        require_same_outputs(twin.train(), trained, inputs, "training")


def require_same_state(twin: nn.Module, network: nn.Module) -> None:
    """See that both have the same parameters and buffers, trained alike, under the same names."""

    def told(module: nn.Module) -> dict[str, tuple[Any, ...]]:
        parameters = module.named_parameters(remove_duplicate=False)
        buffers = module.named_buffers(remove_duplicate=False)
        return {
            name: (tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
            for name, tensor in (*parameters, *buffers)
        }

    own, other = told(twin), told(network)
    differing = [name for name in {**own, **other} if own.get(name) != other.get(name)]
    differing += [name for name in network.state_dict() if name not in twin.state_dict()]
    if differing:
        raise CannotBeWrittenError(f"the file gives another tensor {min(differing)}")


def require_same_outputs(twin: nn.Module, network: nn.Module, inputs: Inputs, mode: str) -> None:
    """See that both give the same outputs for samples that are not those of the trial run."""
    samples = torch.from_numpy(inputs.examples(2, seed=1))
    found, wanted = run(twin, samples), run(network, samples)
    scale = max(1.0, float(wanted.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    close = found.shape == wanted.shape and torch.allclose(
        found, wanted, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True
    )
    if not close:
        raise CannotBeWrittenError(f"the file gives other outputs in {mode}")


def run(module: nn.Module, samples: Tensor) -> Tensor:
    """The outputs for a copy of samples, with the random numbers of every run."""
    seed_generators()
    outputs: Tensor = module(samples.clone())
    return outputs
