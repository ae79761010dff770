"""gahb_bench: how far is a denoiser from the best that is mathematically possible?

The public names. They are loaded when first used, so that ``import gahb_bench`` stays quick.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gahb_bench import testing
    from gahb_bench.catalog import denoiser, family, network
    from gahb_bench.noise import add_noise
    from gahb_bench.scoring.compare import compare
    from gahb_bench.scoring.curve import curves
    from gahb_bench.scoring.exponent import exponent
    from gahb_bench.scoring.score import score
    from gahb_bench.types import Batch, Posterior, Reference

_HOME = {
    "family": "catalog",
    "denoiser": "catalog",
    "network": "catalog",
    "add_noise": "noise",
    "score": "scoring.score",
    "compare": "scoring.compare",
    "curves": "scoring.curve",
    "exponent": "scoring.exponent",
    "Batch": "types",
    "Posterior": "types",
    "Reference": "types",
}

__all__ = [
    "Batch",
    "Posterior",
    "Reference",
    "add_noise",
    "compare",
    "curves",
    "denoiser",
    "exponent",
    "family",
    "network",
    "score",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if name == "testing":
        return import_module(f"{__name__}.testing")
    if name == "__version__":
        return metadata.version("gahb_bench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
