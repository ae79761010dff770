"""Foreign code leaves no traces: what it may change is put back exactly."""

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import backends, nn

_SIGNALS = tuple(number for number in signal.valid_signals() if number < 32)  # the others have no meaning of their own
# What of a process is put back where it was changed, in this order: how it is found out, and how it is set.
_PROCESS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (os.getcwd, os.chdir),
    (lambda: dict(os.environ), lambda kept: _set_environment(kept)),
    (lambda: list(sys.path), lambda kept: sys.path.__setitem__(slice(None), kept)),
    (lambda: list(warnings.filters), lambda kept: _set_filters(kept)),
    (lambda: {number: signal.getsignal(number) for number in _SIGNALS}, lambda kept: _set_handlers(kept)),
    (np.geterr, lambda kept: np.seterr(**kept)),
    (torch.get_default_device, lambda kept: torch.set_default_device(None if kept.type == "cpu" else kept)),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1]),
    ),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda kept: torch.autograd.set_detect_anomaly(*kept),
    ),
)
# Switches of torch.backends. Precision has older names and newer ones, which change each other: the older come first.
_SWITCHES: tuple[tuple[Any, str], ...] = (
    *((backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    *((backends.mkldnn, name) for name in ("enabled", "deterministic")),
    (backends.cuda.matmul, "allow_tf32"),
    (backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    (backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    *((owner, "fp32_precision") for owner in (backends, backends.cuda.matmul, backends.cudnn, backends.mkldnn)),
    *(
        (getattr(owner, part), "fp32_precision")
        for owner in (backends.cudnn, backends.mkldnn)
        for part in ("matmul", "conv", "rnn")
        if hasattr(owner, part)
    ),
)


@contextmanager
def undisturbed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Modules are in evaluation mode meanwhile; afterwards everything is as it was.

    That is each part's training flag, the working folder, environment variables, where modules are looked for, warning
    filters, signal handlers, NumPy's handling of errors, torch's global switches, whether gradients are recorded, and
    the global random numbers of Python, NumPy and torch.
    """
    modules = list(modules)
    modes = [(part, part.training) for module in modules for part in module.modules()]
    process, switches = [find() for find, _ in _PROCESS], _switches()
    python, numpy, torches = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    for module in modules:
        with suppress(NotImplementedError):  # a program of torch.export has no modes
            module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            if part.training != training:
                part.training = training
        for (find, put_back), kept in zip(_PROCESS, process, strict=True):
            if _found(find) != kept:
                put_back(kept)
        if _switches() != switches:
            for (owner, name), kept in switches.items():
                setattr(owner, name, kept)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torches)


def _found(find: Callable[[], Any]) -> Any:
    """What is so now; None where that cannot be told any more, for example of a working folder that was removed."""
    with suppress(Exception):
        return find()


def _switches() -> dict[tuple[Any, str], Any]:
    """The switches as they are; torch refuses to tell an older one that contradicts a newer one."""
    kept = {}
    for owner, name in _SWITCHES:
        with suppress(RuntimeError, AttributeError):
            kept[owner, name] = getattr(owner, name)
    return kept


def _set_environment(kept: dict[str, str]) -> None:
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)


def _set_filters(kept: list[Any]) -> None:
    """Python takes note of it by the reset."""
    warnings.resetwarnings()
    warnings.filters[:] = kept  # pyright: ignore[reportIndexIssue]


def _set_handlers(kept: dict[int, Any]) -> None:
    """Those that Python installed; only the main thread may, and no other could have changed one."""
    for number, handler in kept.items():
        if handler is not None and signal.getsignal(number) is not handler:
            with suppress(ValueError, OSError):
                signal.signal(number, handler)
