"""What this machine has, what is installed and stored, and what is wrong with it; torch is imported only if asked."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import get_args

from packaging.requirements import Requirement

from gahb_bench.core import memory, registry
from gahb_bench.core.environment import bf16, cpu, version
from gahb_bench.core.errors import GahbError, reason_of
from gahb_bench.core.files import HOME, SET_HOME, home, refuse_unwritable

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_DEVICES = ("nvidia*", "kfd", "dxg")  # in /dev, where a GPU can be reached: NVIDIA, AMD, Windows below
_FOR_DEVELOPERS = ("dev", "docs", "test")  # extras


@dataclass(frozen=True)
class Finding:
    """One line of the report, or several: what was looked at, what was found, and what is wrong with it."""

    topic: str
    lines: list[str]
    problems: list[str] = field(default_factory=list)


def examine(ask_torch: bool = False) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Parameters
    ----------
    ask_torch : import torch, which takes seconds, and ask it for its threads and GPU; without it, only where a GPU may
        be.
    """
    yield Finding("program", [f"gahb_bench {version('gahb_bench') or 'not installed'}, in {Path(__file__).parent}"])
    yield Finding("python", [f"{platform.python_version()} on {platform.platform()}, {sys.executable}"])
    yield from _packages()
    kinds = ", ".join(bf16())
    yield Finding("processor", [f"{cpu()}; bfloat16: {kinds or 'none, so train --precision bf16 gains nothing'}"])
    yield Finding("memory", [memory.in_words(memory.total())])
    yield from _torch(ask_torch or _may_have_gpu())
    yield _home()
    yield _stored()
    counts = [f"{len(registry.entries(kind))} {kind}" for kind in get_args(registry.Kind)]
    yield Finding("plugins", [", ".join(counts)], [str(problem) for problem in registry.problems()])


def _packages() -> Iterator[Finding]:
    """What the package requires, and the extras that it has more for."""
    needed, extras, problems = [], [], []
    try:
        stated = [Requirement(text) for text in metadata.requires("gahb_bench") or ()]
    except (ModuleNotFoundError, OSError):  # of importlib.metadata, or of its backport, which may take its place
        yield Finding("packages", [], ["gahb_bench is not installed: install it with pip, so that its needs are met."])
        return
    for each in stated:
        there = version(each.name)
        good = there is not None and each.specifier.contains(there, prereleases=True)
        extra = next((name for name in _extras() if each.marker and each.marker.evaluate({"extra": name})), "")
        if not each.marker or each.marker.evaluate({"extra": ""}):
            needed.append(f"{each.name} {there}")
            if not good:
                problems.append(f"{each.name} is {there or 'not installed'}, and must be {each.specifier}: install it.")
        elif extra and each.name != "gahb_bench":
            found = f"{each.name} {there}" if good else f'pip install "gahb_bench[{extra}]" to have it'
            extras.append(f"{extra}: {found}")
    yield Finding("packages", [", ".join(needed)], problems)
    yield Finding("extras", [", ".join(extras)])


def _extras() -> list[str]:
    named = metadata.metadata("gahb_bench").get_all("Provides-Extra") or []
    return [name for name in named if name not in _FOR_DEVELOPERS]


def _torch(ask: bool) -> Iterator[Finding]:
    """Threads and GPU, as torch has them or, unasked, as far as the environment says."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    set_to = next((f"{name}={os.environ[name]}" for name in _THREADS if os.environ.get(name)), "")
    limits = f"{set_to or ' and '.join(_THREADS) + ' are not set'}; processors to use: {usable}"
    if not ask:
        yield Finding("threads", [f"{limits} (doctor --torch asks torch)"])
        yield Finding("gpu", [f"none that torch {version('torch')} can use"])
        return
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [torch.cuda.get_device_name(place) for place in range(count)]
        low = f"; bfloat16: {'yes' if torch.cuda.is_bf16_supported() else 'no'}" if count else ""
    except Exception as error:  # of a damaged installation, anything
        problem = f"torch {version('torch')} cannot be used: {reason_of(error)}. Install it again."
        yield Finding("threads", [limits], [problem])
        return
    yield Finding("threads", [f"torch uses {torch.get_num_threads()}; {limits}"])
    yield Finding("gpu", [f"{', '.join(names) or f'none that torch {torch.__version__} can use'}{low}"])


def _may_have_gpu() -> bool:
    """Whether torch may find a GPU; False only where that is sure without asking it."""
    if (version("torch") or "").endswith("+cpu"):
        return False
    devices = Path("/dev")
    return not devices.is_dir() or any(next(devices.glob(name), None) for name in _DEVICES)


def _home() -> Finding:
    try:
        folder = home()
        refuse_unwritable(folder, SET_HOME)
    except GahbError as error:
        return Finding("home", [str(os.environ.get(HOME) or "none")], [str(error)])
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    named = f"named by {HOME}" if os.environ.get(HOME) else f"by default; {HOME} names another"
    state = "can be written" if folder.is_dir() else "is made when something is kept"
    return Finding("home", [f"{folder} ({named}); {state}, {memory.in_words(shutil.disk_usage(there).free)} free"])


def _stored() -> Finding:
    """What is kept in the home, each file with its size, and of a table how much it holds."""
    try:
        folder = home()
    except GahbError:  # it is said where the home is
        return Finding("stored", ["nothing"])
    lines, problems = [], []
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")):
        held = ""
        if path.suffix == ".parquet":
            from gahb_bench.tables import store

            try:
                rows = store.read(path)
            except GahbError as error:
                problems.append(str(error))
            else:
                laws = len({family for family, _ in rows})
                held = f", {sum(map(len, rows.values()))} numbers of {laws} laws"
        lines.append(f"{path.relative_to(folder)}: {memory.in_words(path.stat().st_size)}{held}")
    return Finding("stored", lines or ["nothing"], problems)
