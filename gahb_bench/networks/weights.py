"""Trained weights as files: safetensors, with the recipe that made them as JSON in the header. Nothing is executed."""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gahb_bench import catalog
from gahb_bench.errors import UsageError, printable
from gahb_bench.running.store import write_atomically

_KEY = "gahb_bench"
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
REQUIRED = ("network", "family", "shape", "mean", "std")


def save(path: Path, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> None:
    """Write tensors and their recipe, whole or not at all; `load` needs the keys `REQUIRED` in the recipe."""
    from safetensors.torch import save as as_bytes

    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = as_bytes(plain, metadata={_KEY: json.dumps(recipe)})
    write_atomically(path, lambda file: file.write(content))


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe in the header of a file of weights; the tensors are not read.

    Raises
    ------
    UsageError
        If the file cannot be read, is not safetensors, or holds no recipe of ours.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("its header would be too long")
            header = json.loads(file.read(length))
        recipe = json.loads(header["__metadata__"][_KEY])
        if not isinstance(recipe, dict):
            raise ValueError("its recipe is not a JSON object")
        return recipe
    except OSError as error:
        raise UsageError(f"cannot read the weights {path}: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise UsageError(
            f"{path} is not a file of weights that `train` writes (safetensors with a recipe): {printable(error)}."
        ) from None


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
