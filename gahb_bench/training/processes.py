"""Several processes under ``torchrun``: who we are, and the group we belong to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from gahb_bench.core.environment import check_device
from gahb_bench.core.errors import UsageError


def count() -> int:
    """How many processes share the work."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this one is; 0 writes files and speaks."""
    return int(os.environ.get("RANK", 0))


@contextmanager
def join(device: str) -> Iterator[str]:
    """Join the group, if ``torchrun`` started us; yields the device of this process.

    Raises
    ------
    UsageError
        If the device does not exist, or one GPU is named for several processes.
    """
    if count() == 1:
        check_device(device)
        yield device
        return
    kind = torch.device(device)
    if kind.index is not None:
        raise UsageError(f"--device {device} cannot be shared by {count()} processes: give --device {kind.type}.")
    place = f"cuda:{os.environ['LOCAL_RANK']}" if kind.type == "cuda" else device
    check_device(place)
    distributed.init_process_group("nccl" if kind.type == "cuda" else "gloo")
    try:
        yield place
    finally:
        distributed.destroy_process_group()
