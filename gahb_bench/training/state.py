"""What a training goes on from, as named tensors: the weights, their running average, the optimizer's moments."""

import torch
from torch import Tensor, nn

from gahb_bench.networks.weights import fit_tensors


def tensors(network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All of it, by name."""
    found = {f"network.{name}": value for name, value in network.state_dict().items()}
    found |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, moving in optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{name}": value for name, value in moving.items()}
    return found


def restore(network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, kept: dict[str, Tensor]) -> None:
    """Put it back, in place.

    Raises
    ------
    UsageError, KeyError, ValueError
        If something is missing, of another shape, or not finite.
    """
    fit_tensors(network, _under("network.", kept), "in the state")
    fit_tensors(average, _under("average.", kept), "in the state")
    moving = optimizer.state_dict()
    moving["state"] = {}
    for index, parameter in enumerate(network.parameters()):
        mine = _under(f"optimizer.{index}.", kept)
        for name in ("exp_avg", "exp_avg_sq"):
            if mine[name].shape != parameter.shape or not torch.isfinite(mine[name]).all():
                raise ValueError(f"optimizer.{index}.{name} does not fit")
        moving["state"][index] = {"step": mine["step"], **mine}
    optimizer.load_state_dict(moving)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
