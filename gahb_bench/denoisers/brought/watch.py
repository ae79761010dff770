"""What foreign code does beside computing: the files that it opens, and what no hash can follow."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gahb_bench.core.origins import is_users

_BEYOND = {
    "socket.connect": "it connects to a network",
    "sqlite3.connect": "it reads a database",
    "subprocess.Popen": "it starts another program",
}
_SYSTEM = ("/proc", "/sys", "/dev")


@dataclass
class Seen:
    """The user's files that were opened to be read, there or not, and why results may depend on more than these."""

    files: set[Path] = field(default_factory=set)
    beyond: str = ""


_watching: list[Seen] = []


@contextmanager
def watch(seen: Seen) -> Iterator[None]:
    """Note what is opened meanwhile, by Python; files that compiled code opens by itself are not seen."""
    _install()
    _watching.append(seen)
    try:
        yield
    finally:
        _watching.remove(seen)


def _install() -> None:
    """Once, and for good: Python's audit hooks cannot be taken away."""
    if not getattr(sys, "_gahb_bench_watches", False):
        sys._gahb_bench_watches = True  # pyright: ignore[reportAttributeAccessIssue]
        sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in _BEYOND:
        for seen in _watching:
            seen.beyond = seen.beyond or _BEYOND[event]
    elif event == "open":
        path = _read(*arguments)
        if path is not None and is_users(path) and not str(path).startswith(_SYSTEM):
            for seen in _watching:
                seen.files.add(path)


def _read(path: Any, mode: Any, flags: Any) -> Path | None:
    """The file that is opened to be read; of a module's compiled form its source."""
    if isinstance(path, int) or (isinstance(mode, str) and not mode.startswith("r")):
        return None
    if mode is None and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_CREAT):
        return None
    try:
        found = Path(os.fsdecode(path)).resolve()
        return Path(importlib.util.source_from_cache(str(found))) if found.suffix == ".pyc" else found
    except (TypeError, ValueError, OSError, NotImplementedError):
        return None
