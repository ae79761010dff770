"""gahb_bench: how far is a denoiser from the best that is mathematically possible?

The public names. They are loaded when first used, so that ``import gahb_bench`` stays quick. ``__all__``, and that of
`geometry` and `plot`, is what stays: a name leaves it, or changes its meaning, only with a line in CHANGELOG.md. What
else the package holds may change at any time; a change of any number that a run stores raises `RESULTS_VERSION`.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gahb_bench import geometry, plot, sampling, testing
    from gahb_bench.api import compare, curves, exponent, score, summary
    from gahb_bench.channels.gaussian import add_noise
    from gahb_bench.core import errors
    from gahb_bench.core.images import Batch
    from gahb_bench.core.optimum import Reference
    from gahb_bench.core.posterior import Posterior
    from gahb_bench.job import run
    from gahb_bench.make import denoiser, family, network, problem
    from gahb_bench.sampling.posterior import sample_posterior
    from gahb_bench.sampling.samples import sample

_HOME = {
    "family": "make",
    "denoiser": "make",
    "network": "make",
    "problem": "make",
    "add_noise": "channels.gaussian",
    "sample": "sampling.samples",
    "run": "job",
    "sample_posterior": "sampling.posterior",
    "score": "api",
    "compare": "api",
    "summary": "api",
    "curves": "api",
    "exponent": "api",
    "Batch": "core.images",
    "Posterior": "core.posterior",
    "Reference": "core.optimum",
}

__all__ = [
    "Batch",
    "Posterior",
    "Reference",
    "add_noise",
    "compare",
    "curves",
    "denoiser",
    "errors",
    "exponent",
    "family",
    "geometry",
    "network",
    "plot",
    "problem",
    "run",
    "sample",
    "sample_posterior",
    "sampling",
    "score",
    "summary",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in ("geometry", "plot", "sampling", "testing"):
        return import_module(f"{__name__}.{name}")
    if name == "errors":
        return import_module(f"{__name__}.core.errors")
    if name == "__version__":
        return metadata.version("gahb_bench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
