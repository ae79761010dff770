"""The tensors of a network in a checkpoint, found among what training programs keep beside them."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gahb_bench.core.errors import UsageError, printable
from gahb_bench.denoisers.brought import files, safety

_SAVE = "Save the tensors alone, torch.save(model.state_dict(), FILE)."
# Where a checkpoint keeps several networks: the first of these that it has is taken, averaged weights before others.
_PREFERRED = (
    *("params_ema", "ema", "model_ema", "ema_state_dict", "ema_model_state_dict"),
    *("params", "state_dict", "model_state_dict", "model", "net", "network"),
)
_WRAPPERS = ("module", "_orig_mod")  # of DataParallel and torch.compile, anywhere in a name
_OUTER = ("model", "net", "network")  # attributes that hold the network, if all names start with one
_BESIDE = ("n_averaged",)  # of torch's AveragedModel


@dataclass(frozen=True)
class Checkpoint:
    """A network's tensors by name, wrappers dropped from the names, and the settings that the file states beside it."""

    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


def read(content: bytes, path: str) -> Checkpoint:
    """The network in a file of torch.save or safetensors.

    It may stand under a key of its own, beside epochs and optimizers; where there are several, averaged weights
    (``params_ema``, ``ema``) come first. Settings are an ``argparse.Namespace`` under ``args``. ``module.`` of
    DataParallel and ``_orig_mod.`` of torch.compile are dropped from names, and ``model.`` or ``net.`` before them all.

    Raises
    ------
    UsageError
        If the file is damaged, would have to be executed, or holds no network's tensors by name, or several.
    """
    files.expect(content, path, "tensors", "pickle", "safetensors")
    if files.kind_of(content) == "safetensors":
        held: Any = safety.read_safetensors(content, path)
    else:
        held = safety.load(content, path)
    if not isinstance(held, Mapping):
        raise UsageError(f"{path} holds a {type(held).__name__}, not tensors by name. {_SAVE}")
    tensors, stated = _plain(_network(held, path), path), held.get("args")
    if any(value.numel() * value.element_size() > len(content) for value in tensors.values()):
        raise UsageError(f"{path} is refused: a tensor in it would have more numbers than the file holds. {_SAVE}")
    return Checkpoint(tensors, vars(stated) if isinstance(stated, argparse.Namespace) else {})


def _network(held: Mapping[Any, Any], path: str) -> Mapping[Any, Any]:
    """What holds the tensors: the whole, or the one part that is a state dict, or is a list of one."""
    found = {}
    for key, value in held.items():
        part = value[0] if isinstance(value, list) and len(value) == 1 else value
        if _is_state_dict(part):
            found[str(key)] = part
    if not found:
        return held
    chosen = next((key for key in _PREFERRED if key in found), None)
    if chosen is None and len(found) > 1:
        names = ", ".join(printable(key, 40) for key in found)
        raise UsageError(f"{path} holds several networks, {names}: save one alone, torch.save(held[NAME], FILE).")
    return found[chosen or next(iter(found))]


def _is_state_dict(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(held, Tensor) for name, held in value.items())


def _plain(held: Mapping[Any, Any], path: str) -> dict[str, Tensor]:
    """The tensors under their plain names."""
    for name, value in held.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind, place = type(value).__name__, printable(name, 60)
            raise UsageError(f"{path} holds a {kind} under the name {place!r}, not only tensors by name. {_SAVE}")
    names = [name for name in held if name not in _BESIDE]
    plain = {_unwrapped(name): held[name] for name in names}
    if len(plain) < len(names):
        raise UsageError(f"{path} holds tensors whose names differ by a wrapper (module., _orig_mod.) alone. {_SAVE}")
    for outer in _OUTER:
        if plain and all(name.startswith(f"{outer}.") for name in plain):
            plain = {name.removeprefix(f"{outer}."): value for name, value in plain.items()}
    return plain


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
