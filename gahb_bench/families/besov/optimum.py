"""What is best for sparse wavelet images: shrinkage of each wavelet coefficient, exactly."""

import numpy as np
import torch

from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Check, Optimum, Reference
from gahb_bench.families.besov.law import Besov
from gahb_bench.families.besov.oracles import Genie, Mmse, shrink
from gahb_bench.families.besov.risk import information, least_risk, threshold_risk


class BesovOptimum(Optimum[Besov]):
    """What is best for sparse wavelet images: shrinkage of each wavelet coefficient, exactly."""

    oracles = (Mmse, Genie)

    def reference(self, sigmas: FloatArray) -> Reference:
        """The MMSE by quadrature (relative error below 1e-12), and its local exponent at finite N.

            mmse(s) = N^-2 sum over coefficients of E[V],   d log mmse / d log s = (2/s^2) sum E[V^2] / sum E[V]

        with V the posterior variance of a coefficient. ``curves`` holds what stands beside it: see `prices`.
        """
        family = self.family
        count, pi, t = _blocks(family)
        first, second = least_risk(pi, t, sigmas[:, None])
        mse = (count * first).sum(axis=1) / count.sum()
        exponent = 2 / sigmas**2 * (count * second).sum(axis=1) / (count * first).sum(axis=1)
        return Reference(
            kind="exact",
            sigma=sigmas,
            mse=mse,
            lower=mse,
            upper=mse,
            standard_error=np.zeros_like(mse),
            exponent=exponent,
            asymptotic_exponent=2 - (2 - family.gamma) / (family.alpha + 1),
            note=(
                "Quadrature: the coefficients are independent, so shrinking each by its own posterior mean is the "
                "optimum." + (" The asymptotic exponent holds up to logarithms." if family.gamma > 0 else "")
            ),
            curves=prices(family, sigmas),
        )

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        return ["mmse", "genie"]

    def gaussian(self) -> Gaussian:
        """Its modes are the wavelets, of variances pi t^2; beyond two moments, it is not Gaussian."""
        law = self.family
        pi, t = law.coefficient_law
        return Gaussian(
            torch.from_numpy(pi * t**2)[None],
            lambda y: law.transform.forward(y.double() - law.mean),
            lambda a: law.mean + law.transform.inverse(a.double()),
        )

    def information(self, sigmas: FloatArray) -> FloatArray:
        """I(x; y) in nats: the sum over coefficients, each by quadrature."""
        family = self.family
        count, pi, t = _blocks(family)
        return (count * information(pi, t, sigmas[:, None])).sum(axis=1)

    def checks(self) -> list[Check]:
        """The quadrature against the risk as it is defined, on a grid of noisy coefficients (identity 6).

            E(d - E[d|w])^2 = pi t^2 - E[ E[d|w]^2 ]

        The right side is a trapezoidal rule in w of the oracle's own shrinkage, as it is applied to images. It cancels
        where the risk is far below pi t^2, so it is compared at noise levels near t, level by level.
        """
        family = self.family
        checks = []
        for level, (_, pi, t) in enumerate(family.scales, start=family.coarse):
            for ratio in (0.3, 1.0):
                s = ratio * t
                w = np.linspace(-14, 14, 40_001) * np.hypot(t, s)
                mean, _ = shrink(*(torch.as_tensor(value, dtype=torch.float64) for value in (w, pi, t, s)))
                law = pi * _normal(w, np.hypot(t, s)) + (1 - pi) * _normal(w, s)
                defined = pi * t**2 - (law * mean.numpy() ** 2).sum() * (w[1] - w[0])
                error = float(least_risk(pi, t, s)[0]) / defined - 1
                name = f"6  scalar risk = its definition, level {level}, sigma={ratio:g} t"
                checks.append(
                    Check(name, error, 1e-8, routes=("quadrature", "sum over a grid of the oracle's own shrinkage"))
                )
        return checks


def prices(family: Besov, sigmas: FloatArray) -> dict[str, FloatArray]:
    """Exact risks, per pixel, of threshold rules in the family's own wavelet basis, scaling coefficients kept.

        hard, soft   the universal threshold s sqrt(2 log N^2) at every level
        bayes        soft with the threshold s^2 / sqrt(pi_j t_j^2) of BayesShrink, its variance known
        best hard, best soft   the best fixed threshold of each level (what SURE estimates, if soft)
        genie        knows which coefficients are active: N^-2 sum pi k s^2, k = t^2 / (t^2 + s^2)

    The rules that estimate a threshold from y are at these prices up to what the estimation costs or gains.

    References
    ----------
    D. Donoho, I. Johnstone, Biometrika 1994, doi:10.1093/biomet/81.3.425 (universal threshold); S. G. Chang, B. Yu,
    M. Vetterli, IEEE TIP 2000, doi:10.1109/83.862633 (BayesShrink).
    """
    count, pi, t = _blocks(family)
    s = sigmas[:, None]
    universal = s * np.sqrt(2 * np.log(family.size**2))
    details = slice(1, None)
    grid = np.concatenate([[0.0], np.geomspace(0.05, 12.0, 400), [60.0]])[:, None, None] * s  # 60 s: nothing passes
    bayes = np.divide(s**2, np.sqrt(pi) * t)
    risks = {
        "hard": threshold_risk("hard", universal, pi, t, s),
        "soft": threshold_risk("soft", universal, pi, t, s),
        "bayes": threshold_risk("soft", bayes, pi, t, s),
        "best hard": threshold_risk("hard", grid, pi, t, s).min(axis=0),
        "best soft": threshold_risk("soft", grid, pi, t, s).min(axis=0),
    }
    curves = {
        name: (count[0] * sigmas**2 + (count * risk)[:, details].sum(axis=1)) / count.sum()
        for name, risk in risks.items()
    }
    curves["genie"] = (count * pi * t**2 * s**2 / (t**2 + s**2)).sum(axis=1) / count.sum()
    return curves


def _blocks(family: Besov) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(number, pi, t) of each kind of coefficient: the scaling coefficients first, then the levels."""
    coarse = [[4.0**family.coarse, 1.0, family.scales[0, 2]]]
    count, pi, t = np.concatenate([coarse, family.scales]).T
    return count, pi, t


def _normal(w: FloatArray, deviation: float) -> FloatArray:
    return np.exp(-((w / deviation) ** 2) / 2) / (np.sqrt(2 * np.pi) * deviation)
