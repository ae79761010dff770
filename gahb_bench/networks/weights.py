"""Trained weights as files: safetensors, with the recipe that made them as JSON in the header. Nothing is executed."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError, printable
from gahb_bench.core.files import content_digest, write_atomically
from gahb_bench.core.network import build_empty
from gahb_bench.networks.recipe import KEY, read_recipe

_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LARGEST_SIDE = 2**16
_ROOM = 2**18  # numbers that a network may use while it is built, beside twice those of its file


def save(path: Path, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> None:
    """Write tensors and their recipe, whole or not at all; `load` needs network, family, shape, mean and std in it."""
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
    _check(recipe, path)
    tensors = read_tensors(path)
    network, shape = registry.make("networks", recipe["network"]), tuple(recipe["shape"])
    numbers = sum(tensor.numel() for tensor in tensors.values())
    empty = build_empty(network, shape, recipe["mean"], recipe["std"], most=2 * numbers + _ROOM)
    if empty is None:
        raise UsageError(
            f"the weights {path} do not fit the network: they are {numbers} numbers, and their recipe asks for "
            f"{network.spec} on images {shape}, which has far more."
        )
    _refuse_misfit(empty, tensors, str(path))
    module = network.build(shape, recipe["mean"], recipe["std"])
    fit_tensors(module, tensors, str(path))
    return module.eval().requires_grad_(False), recipe


def file_digest(path: Path) -> str:
    """Hash of the content of a file of weights.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    try:
        return content_digest(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read the weights {path}: {error.strerror or error}.") from None


def _check(recipe: dict[str, Any], path: Path) -> None:
    """Refuse a recipe that cannot have made a network."""
    shape, mean, std = (recipe.get(key) for key in ("shape", "mean", "std"))
    wrong = [key for key in ("network", "family") if not isinstance(recipe.get(key), str)]
    sides = shape if isinstance(shape, list) and len(shape) == 3 else [0]
    if not all(isinstance(side, int) and 0 < side <= _LARGEST_SIDE for side in sides):
        wrong.append("shape")
    wrong += [
        key
        for key, value in (("mean", mean), ("std", std))
        if not isinstance(value, int | float) or not math.isfinite(value) or (key == "std" and value <= 0)
    ]
    if wrong:
        raise UsageError(f"{path} holds no trained network: its recipe lacks, or states wrongly, {', '.join(wrong)}.")


def fit_tensors(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors into a module, in place; every name, shape and kind of number must match.

    A module that holds no numbers yet, made on the device ``meta``, takes the tensors themselves.

    Raises
    ------
    UsageError
        Naming the first tensors that are missing, unexpected, of another shape or kind, or not finite.
    """
    _refuse_misfit(module, tensors, source)
    wanted = module.state_dict()
    empty = any(value.is_meta for value in wanted.values())
    module.load_state_dict({name: tensors[name].to(wanted[name].dtype) for name in wanted}, assign=empty)


def _refuse_misfit(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    wanted = module.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is not of this network" for name in tensors if name not in wanted]
    for name in wanted.keys() & tensors.keys():
        if wanted[name].shape != tensors[name].shape:
            problems.append(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}")
        elif tensors[name].dtype not in (_REAL if wanted[name].is_floating_point() else (wanted[name].dtype,)):
            problems.append(f"{name} holds {tensors[name].dtype}, not {wanted[name].dtype}")
        elif not torch.isfinite(tensors[name].to(wanted[name].dtype)).all():
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(f"the weights {source} do not fit the network: {'; '.join(sorted(problems)[:3])}{more}.")
