"""The laws of the jumps of a Levy process: drawn, as a density, and as probabilities on a lattice."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Kind = Literal["gauss", "laplace", "student", "bernoulli-laplace"]

_RARE = 1e-9  # probability that a sum of jumps leaves its `reach`
_GAUSSIAN_TAIL = 7.0  # standard deviations


@dataclass(frozen=True)
class JumpLaw:
    """A symmetric law of jumps u: a density f, with an atom at exactly 0 where only some of them happen.

        gauss              f = N(0, scale^2)
        laplace            f = exp(-|u|/scale) / (2 scale)
        student            u = scale t,  t of `df` degrees of freedom
        bernoulli-laplace  u = 0 with probability 1 - rate, else laplace

    ``scale`` is in units of the signal.
    """

    kind: Kind
    scale: float
    df: float
    rate: float

    @property
    def variance(self) -> float:
        """E u^2; infinite for student with df <= 2."""
        if self.kind == "student":
            return self.scale**2 * self.df / (self.df - 2) if self.df > 2 else math.inf
        factors = {"gauss": 1.0, "laplace": 2.0, "bernoulli-laplace": 2 * self.rate}
        return self.scale**2 * factors[self.kind]

    @property
    def moments(self) -> float:
        """Absolute moments of order below this are finite."""
        return self.df if self.kind == "student" else math.inf

    @property
    def atom(self) -> float:
        """P(u = 0)."""
        return 1 - self.rate if self.kind == "bernoulli-laplace" else 0.0

    def draw(self, stream: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Independent jumps, ``(count,)``."""
        if self.kind == "gauss":
            return self.scale * stream.standard_normal(count)
        if self.kind == "student":
            return self.scale * stream.standard_t(self.df, count)
        happens = stream.random(count) >= self.atom if self.atom else 1.0
        return happens * stream.laplace(0.0, self.scale, count)

    def reach(self, count: int) -> float:
        """What a sum of ``count`` jumps exceeds with a probability of about 1e-9; of student, 1e-9 a jump."""
        if self.kind == "gauss":
            return _GAUSSIAN_TAIL * self.scale * math.sqrt(count)
        if self.kind == "student":
            return self.scale * count * float(stats.t.isf(_RARE, self.df))
        # Chernoff: P(sum > a) <= exp(-t a) E[exp(t u)]^count,  E exp(t u) = atom + (1 - atom) / (1 - t^2 scale^2)
        t = np.linspace(0.001, 0.999, 999)
        log = count * np.log(self.atom + (1 - self.atom) / (1 - t**2))
        return self.scale * float(((log - math.log(_RARE)) / t).min())

    def log_weights(self, steps: Tensor, h: Tensor) -> Tensor:
        """Log probabilities of the jumps m h on the lattice h Z, of the shape of ``steps`` (m) and ``h`` together.

            P(m) = h f(m h) for m != 0,    P(0) = 1 - sum of these

        A sum over the lattice then integrates what is smooth, and what has the kink of f at a jump of 0, with an error
        of h^4. With an atom, the same for the part with a density, and the atom is at m = 0: jumps of exactly 0 exist.
        It asks for h <= scale / 2.
        """
        t = h / self.scale * steps.abs()
        if self.kind == "gauss":
            log = -0.5 * t.square() - 0.5 * math.log(2 * math.pi)
        elif self.kind == "student":
            constant = math.lgamma((self.df + 1) / 2) - math.lgamma(self.df / 2) - 0.5 * math.log(self.df * math.pi)
            log = constant - (self.df + 1) / 2 * torch.log1p(t.square() / self.df)
        else:
            log = math.log((1 - self.atom) / 2) - t
        log = log + (h / self.scale).log()
        if self.kind in ("gauss", "student"):  # analytic: their sum over the lattice is 1 to rounding
            return log
        tau = h / self.scale
        none = (self.atom + (1 - self.atom) * (1 - tau / torch.expm1(tau))).log()
        return torch.where(steps == 0, none, log)
