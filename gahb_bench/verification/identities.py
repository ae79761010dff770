"""Identities that an exact posterior mean satisfies, measured. They show a known optimum to be right, or wrong.

Statistical identities are z-scores over images, to be within 3.5 (with the tens of correlated scores of one table and
at least 64 images, a true identity fails one table in about a hundred); deterministic ones are relative errors with a
stated tolerance. What a statistical identity can see grows with the square root of the number of images: 256 images
show an error of a few per cent in an optimum, and it takes the closed forms and tiny cases to show less.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from gahb_bench import make
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Images, per_pixel
from gahb_bench.core.optimum import Check
from gahb_bench.core.posterior import PosteriorMean

SIGMAS = (0.01, 0.1, 0.3, 1.0)
_Z = 3.5
_TWEEDIE_IMAGES = 4
_RARE = 1e-3  # differences below this part of the optimum may come from events too rare for the sample
_SMALL, _LARGE = 1e-4, 1e4  # noise levels standing for the limits, relative to the family's standard deviation


def verify(family: str | Family, images: int = 256, seed: int = 0, sigmas: Sequence[float] = SIGMAS) -> Iterator[Check]:
    """Measure the identities for a family's ``mmse`` oracle, one check after the other.

    Parameters
    ----------
    family : str or Family
    images : int
        Images for the statistical identities, from split ``val``.
    seed : int
    sigmas : sequence of float
        Noise levels at which they are measured.

    Raises
    ------
    UsageError
        If no exact posterior mean is known for the family.
    """
    law = make.family(family)
    oracle = make.denoiser("mmse", law)
    if not isinstance(oracle, PosteriorMean):
        raise UsageError(f"{law.spec} has no exact posterior mean to verify.")
    batch = law.sample(range(images), seed=seed, split="val")
    z = unit_noise(batch)
    rivals = _rivals(law)
    for sigma in sigmas:
        yield from _risk(law, oracle, batch, z, sigma, rivals)
        yield tweedie(oracle, batch.select(range(min(_TWEEDIE_IMAGES, images))), sigma)
    if law.optimum.information(np.array([1.0])) is not None:
        yield information(law, min(sigmas), max(sigmas))
    yield from law.optimum.checks()
    yield from limits(law, oracle, batch, z)


def _rivals(law: Family) -> list[Denoiser]:
    """The default denoisers that see only y."""
    made = [make.denoiser(spec, law) for spec in make.default_denoisers(law)]
    return [denoiser for denoiser in made if denoiser.knows in ("nothing", "training set")]


def _risk(
    law: Family, oracle: PosteriorMean, batch: Batch, z: Images, sigma: float, rivals: list[Denoiser]
) -> Iterator[Check]:
    """Identities 1, 3 and 4 at one noise level, on the same images."""
    x = batch.images.double()
    y = scale_noise(x, z.double(), sigma)
    posterior = oracle.posterior(y, sigma)
    squared = _per_pixel(posterior.mean - x)
    variance = posterior.variance.double().numpy()
    reference = law.reference(sigma)
    at = f"sigma={sigma:g}"
    ratio = f"ratio {squared.mean() / variance.mean():.4f}"
    yield Check(f"1  risk = mean posterior variance, {at}", z_score(squared - variance), _Z, ratio)
    if reference.kind == "exact":
        error = float(reference.standard_error[0])
        for name, values in (("risk", squared), ("posterior variance", variance)):
            score = z_score(values - reference.mse[0], error, floor=_RARE * float(reference.mse[0]))
            yield Check(
                f"1  {name} = reference curve, {at}", score, _Z, f"ratio {values.mean() / reference.mse[0]:.4f}"
            )
    worst, name = min(((z_score(_per_pixel(d(y, sigma) - x) - squared), d.spec) for d in rivals), default=(0.0, "none"))
    yield Check(f"3  nothing that sees only y is below, {at}", min(worst, 0.0), _Z, f"closest: {name}, z = {worst:.1f}")
    inner = ((x - posterior.mean) * (posterior.mean - x.mean())).mean(dim=(1, 2, 3)).numpy()
    yield Check(f"4  error orthogonal to estimate, {at}", z_score(inner), _Z, f"mean {inner.mean():.2e}")


def tweedie(oracle: PosteriorMean, batch: Batch, sigma: float) -> Check:
    """Identity 2, second-order Tweedie: ``sigma^2 v'Jv = Var(<v, x> | y)`` with J = dD/dy, the same v on both sides.

    J v is a central difference with the step that balances rounding and curvature.
    """
    x = batch.images.double()
    y = scale_noise(x, unit_noise(batch).double(), sigma)
    stream = rng.generator("tweedie", batch.family, batch.seed)
    v = torch.from_numpy(stream.standard_normal(tuple(y.shape)))
    v = v / per_pixel(v.flatten(1).norm(dim=1), v)
    step = 1e-3 * sigma
    slope = (oracle(y + step * v, sigma) - oracle(y - step * v, sigma)) / (2 * step)
    left = sigma**2 * (v * slope).sum(dim=(1, 2, 3))
    right = oracle.variance_along(y, torch.full((len(y),), sigma, dtype=torch.float64), v)
    error = float(((left - right).abs() / right.clamp(min=1e-9 * sigma**2)).max())
    name = f"2  sigma^2 v'Jv = Var(<v,x>|y), sigma={sigma:g}"
    return Check(name, error, oracle.accuracy, "largest relative difference")


def information(law: Family, low: float, high: float) -> Check:
    """Identity 5, I-MMSE: ``I(low) - I(high) = 1/2 integral of pixels * mmse d(1/sigma^2)``.

    Guo, Shamai, Verdu, "Mutual information and minimum mean-square error in Gaussian channels", IEEE Trans. Inf.
    Theory 2005, doi:10.1109/TIT.2005.844072, theorem 1. Gauss-Legendre quadrature in log sigma.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = np.log(high / low) / 2
    sigma = np.exp(np.log(low) + half * (nodes + 1))
    rate = np.prod(law.shape) * law.reference(sigma).mse / sigma**2  # 1/2 d(1/s^2) = -(1/s^2) d log s
    integral = float(half * (weights @ rate))
    ends = law.optimum.information(np.array([low, high]))
    assert ends is not None
    difference = float(ends[0] - ends[1])
    return Check(
        f"5  I-MMSE, sigma from {low:g} to {high:g}", integral / difference - 1, 1e-6, f"{difference:.2f} nats"
    )


def limits(law: Family, oracle: PosteriorMean, batch: Batch, z: Images) -> Iterator[Check]:
    """Identity 7: as sigma -> 0 the risk is at most sigma^2; as sigma -> infinity it is the prior variance."""
    x = batch.images.double()
    scale = float(x.std())
    small, large = _SMALL * scale, _LARGE * scale * max(1.0, x[0].numel() ** 0.5 / 64)
    risk = _per_pixel(oracle(scale_noise(x, z.double(), small), small) - x) / small**2
    yield Check(
        "7  sigma -> 0: risk <= sigma^2",
        max(z_score(risk - _per_pixel(z.double())), 0.0),
        _Z,
        f"risk / sigma^2 = {risk.mean():.4f}",
    )
    estimate = oracle(scale_noise(x, z.double(), large), large)
    prior = estimate.mean(dim=0, keepdim=True)
    moved = float((estimate - prior).square().mean().sqrt()) / scale
    yield Check("7  sigma -> infinity: the estimate is the prior mean", moved, 1e-2, "movement / standard deviation")
    reference = law.reference(large)
    if reference.kind == "exact":
        score = z_score(_per_pixel(x - prior) - reference.mse[0], float(reference.standard_error[0]))
        yield Check("7  sigma -> infinity: reference = prior variance", score, _Z, f"{reference.mse[0]:.5f}")


def z_score(differences: np.ndarray, extra_error: float = 0.0, floor: float = 0.0) -> float:
    """Mean over its standard error (with an independent extra error); differences below ``floor`` count as none."""
    mean = float(differences.mean())
    error = float(np.hypot(differences.std(ddof=1) / np.sqrt(len(differences)), extra_error))
    if abs(mean) <= floor:
        return 0.0
    return mean / error if error > 0 else float(np.copysign(np.inf, mean))


def _per_pixel(difference: Images) -> np.ndarray:
    return difference.double().square().mean(dim=(1, 2, 3)).numpy()
