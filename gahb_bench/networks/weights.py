"""Trained weights as files: safetensors, with the recipe that made them as JSON in the header. Nothing is executed."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gahb_bench import catalog
from gahb_bench.errors import UsageError, printable
from gahb_bench.networks.recipe import KEY, read_recipe
from gahb_bench.running.store import write_atomically

REQUIRED = ("network", "family", "shape", "mean", "std")


def save(path: Path, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> None:
    """Write tensors and their recipe, whole or not at all; `load` needs the keys `REQUIRED` in the recipe."""
    from safetensors.torch import save as as_bytes

    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = as_bytes(plain, metadata={KEY: json.dumps(recipe)})
    write_atomically(path, lambda file: file.write(content))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises
    ------
    UsageError
        If the file cannot be read, or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise UsageError(f"cannot read the weights {path}: {error.strerror or error}.") from None
    except SafetensorError as error:
        raise UsageError(f"the weights {path} are damaged or cut short: {printable(error)}.") from None


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The trained module ``D(y, sigma) -> x_hat`` in evaluation mode, float32, and its recipe.

    Raises
    ------
    UsageError
        If the file cannot be read, or its tensors do not fit the architecture that its recipe names.
    """
    recipe = read_recipe(path)
    missing = [key for key in REQUIRED if key not in recipe]
    if missing:
        raise UsageError(f"{path} holds no trained network: its recipe lacks {', '.join(missing)}.")
    module = catalog.network(recipe["network"]).build(tuple(recipe["shape"]), recipe["mean"], recipe["std"])
    fit_tensors(module, read_tensors(path), str(path))
    return module.eval().requires_grad_(False), recipe


def fit_tensors(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors into a module, in place; every name and shape must match.

    Raises
    ------
    UsageError
        Naming the first tensors that are missing, unexpected, of another shape, or not finite.
    """
    wanted = module.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is not of this network" for name in tensors if name not in wanted]
    for name in wanted.keys() & tensors.keys():
        if wanted[name].shape != tensors[name].shape:
            problems.append(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}")
        elif not torch.isfinite(tensors[name]).all():
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(f"the weights {source} do not fit the network: {'; '.join(sorted(problems)[:3])}{more}.")
    module.load_state_dict({name: tensors[name].to(wanted[name].dtype) for name in wanted})
