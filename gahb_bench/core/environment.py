"""The environment a number was made in. What needs no torch is told without importing it."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from gahb_bench.core.errors import UsageError

_PACKAGES = (
    "gahb_bench",
    "torch",
    "numpy",
    "scipy",
    "PyWavelets",
    "scikit-image",
    "pandas",
    "pyarrow",
    "plotly",
    "matplotlib",
)
_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # Intel and AMD, Intel, ARM


def environment(device: str) -> dict[str, Any]:
    """Versions, threads and hardware. Results are bitwise repeatable only at equal thread counts on equal hardware."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in _PACKAGES},
        "threads": torch.get_num_threads(),
        "device": device,
        "cpu": cpu(),
        "gpu": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None,
        "git_commit": _git_commit(),
    }


def version(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return metadata.version(package)
    except (ModuleNotFoundError, OSError):  # of importlib.metadata, or of its backport, which may take its place
        return None


def cpu() -> str:
    """The processor's name."""
    return _said_of_cpu("model name") or platform.processor() or platform.machine()


def bf16() -> list[str]:
    """The instructions for bfloat16 arithmetic that the processor has, where the system tells."""
    flags = f"{_said_of_cpu('flags')} {_said_of_cpu('Features')}".split()
    return [flag for flag in _BF16 if flag in flags]


def _said_of_cpu(what: str) -> str:
    """What the system says of its first processor; empty on another system, or one that does not show it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(what)), "")


def _git_commit() -> str | None:
    """Commit of the checkout this package runs from, with ``+`` if files differ; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True, timeout=5
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def check_device(device: str) -> None:
    """Refuse a device that does not exist here."""
    import torch

    try:
        torch.zeros(1, device=device).cpu()  # on "meta" there are no numbers
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"the device {device!r} cannot be used here ({reason.rstrip('.')}): give --device cpu, or cuda or cuda:0 "
            "where there is a GPU and a torch that knows it."
        ) from None
