"""Signals whose increments are independent: random walks with jumps of a heavy-tailed or sparse law."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gahb_bench.core.family import Family
from gahb_bench.families.levy.jumps import JumpLaw, Kind

_OF_ONE_LAW = {"df": "student", "rate": "bernoulli-laplace"}  # parameters that one law of jumps alone has


class Levy(Family):
    """Signals that are sums of independent jumps: a Levy process at the times 1 ... N, images of 1 x N pixels.

        x_k = u_1 + ... + u_k,    u_i independent:
        gauss              N(0, scale^2)
        laplace            density exp(-|u|/scale) / (2 scale)
        student            scale times Student's t of ``df`` degrees of freedom; no variance for df <= 2
        bernoulli-laplace  0 with probability 1 - rate, else laplace: constant pieces

    The signals lie in units of their own, not in [0, 1]: they start at 0 and drift. ``scale`` is the unit.

    Latents: ``jumps`` (n, N).

    References
    ----------
    M. Unser, P. D. Tafti, "An Introduction to Sparse Stochastic Processes", Cambridge University Press 2014.
    M. Zach, Y. Haouchat, M. Unser, arXiv:2509.12821 (test signals of the benchmark of posterior samplers).

    Examples
    --------
    >>> Levy(jumps="student").sample(range(3)).images.shape
    torch.Size([3, 1, 1, 64])
    """

    name: ClassVar = "levy"
    best: ClassVar = ".optimum:LevyOptimum"
    statistics: ClassVar = ".statistics:LevyStatistics"
    conditional: ClassVar = ".conditional:LevyConditional"
    source: ClassVar = "Unser & Tafti 2014; Kamilov, Pad, Amini & Unser 2013"
    variants: ClassVar = (
        "levy:jumps=gauss,scale=0.5",
        "levy:jumps=student",
        "levy:df=3,jumps=student",
        "levy:jumps=bernoulli-laplace",
    )

    jumps: Kind = Field("laplace", description="law of the jumps: gauss, laplace, student or bernoulli-laplace")
    scale: float = Field(1.0, gt=0, le=1e6, description="scale of the jumps; of gauss, their standard deviation")
    df: float = Field(1.0, ge=1, le=100, description="degrees of freedom of student jumps")
    rate: float = Field(0.1, gt=0, le=1, description="probability of a jump, of bernoulli-laplace")
    size: int = Field(64, ge=2, description="length N of the signal, samples")

    @model_validator(mode="after")
    def _of_one_law(self) -> "Levy":
        for name, kind in _OF_ONE_LAW.items():
            if self.jumps != kind and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is a parameter of {kind} jumps: leave it out, or choose jumps={kind}")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 1, self.size)

    @cached_property
    def law(self) -> JumpLaw:
        """The law of the jumps."""
        return JumpLaw(self.jumps, self.scale, self.df, self.rate)

    @property
    def own_units(self) -> bool:
        return True

    @property
    def moments(self) -> float:
        """Absolute moments of a pixel of order below this are finite."""
        return self.law.moments

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        drawn = [self.law.draw(stream, self.size) for _, stream in zip(range(count), streams, strict=True)]
        jumps = np.array(drawn, dtype=np.float64).reshape(count, self.size)
        return jumps.cumsum(axis=1)[:, None, None], {"jumps": jumps}
