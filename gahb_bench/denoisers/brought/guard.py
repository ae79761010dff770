"""Foreign code leaves no traces: what it may change is put back exactly."""

import os
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Modules are in evaluation mode meanwhile; afterwards everything is as it was.

    That is each part's training flag, the working folder, the default dtype, the number of threads, whether gradients
    are recorded, and the global random numbers of Python, NumPy and torch.
    """
    modules = list(modules)
    folder = os.getcwd()
    modes = [(part, part.training) for module in modules for part in module.modules()]
    dtype, threads, records = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
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
        os.chdir(folder)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(records)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torches)
