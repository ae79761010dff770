"""Identities that an exact posterior mean satisfies, measured. They show a known optimum to be right, or wrong.

Each identity compares two routes to the same number. Deterministic ones are differences with a stated tolerance.
Statistical ones are z-scores over images, to be within `Z` = 4.5: by Bonferroni, a table of 1,000 of them in which all
is true fails in less than 1 of 100 seeds, where the central limit theorem holds (the quantile of Student's t takes
the place of the normal one, for few images). What a statistical identity can see grows with the square root of the
number of images: 256 images show an error of a few per cent in an optimum, and it takes the closed forms and tiny
cases to show less.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import stats

from gahb_bench import defaults, make
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Images, per_pixel
from gahb_bench.core.optimum import Check, Reference
from gahb_bench.core.posterior import PosteriorMean

SIGMAS = (0.01, 0.1, 0.3, 1.0)
Z = 4.5
_TWEEDIE_IMAGES = 4
_RARE = 1e-3  # differences below this part of the optimum may come from events too rare for the sample
_SMALL, _LARGE = 1e-4, 1e4  # noise levels standing for the limits, relative to the family's standard deviation
_LEAST_P = 1e-300  # smaller tail probabilities have no quantile in double precision


def exact_identities(
    law: Family, oracle: PosteriorMean, images: int, seed: int, sigmas: Sequence[float]
) -> Iterator[Check]:
    """Measure the identities of an exact posterior mean, one check after the other."""
    batch = law.sample(range(images), seed=seed, split="val")
    z, v = unit_noise(batch), directions(batch)
    rivals = blind_rivals(law)
    for sigma in sigmas:
        x = batch.images.double()
        y = scale_noise(x, z.double(), sigma)
        posterior = oracle.posterior(y, sigma)
        squared, variance = per_image(posterior.mean - x), posterior.variance.double().numpy()
        ratio = f"ratio {squared.mean() / variance.mean():.4f}"
        yield statistical(
            f"1  risk = mean posterior variance, sigma={sigma:g}",
            squared - variance,
            ("squared errors", "posterior variances"),
            ratio,
        )
        yield from against_reference(law, sigma, squared, variance)
        if oracle.smooth:
            yield tweedie(oracle, batch.select(range(min(_TWEEDIE_IMAGES, images))), sigma)
        else:
            yield along(oracle, x, y, v, posterior.mean, sigma)
        yield below(rivals, x, y, sigma, squared)
        if law.finite_variance:
            yield orthogonal(x, posterior.mean, sigma)
        else:
            yield not_applicable(f"4  error orthogonal to estimate, sigma={sigma:g}", "the images have no variance")
    if law.optimum.information(np.array([1.0])) is not None:
        yield information(law, min(sigmas), max(sigmas))
    yield from law.optimum.checks()
    yield from limits(law, oracle, batch, z)


def against_reference(law: Family, sigma: float, squared: np.ndarray, variance: np.ndarray) -> Iterator[Check]:
    """Identity 1, on the curve: squared errors and posterior variances against the reference, where that is known."""
    reference = law.reference(sigma)
    if not reference.known[0]:
        return
    error, mse = float(reference.standard_error[0]), float(reference.mse[0])
    for name, values in (("risk", squared), ("posterior variance", variance)):
        yield statistical(
            f"1  {name} = reference curve, sigma={sigma:g}",
            values - mse,
            ("squared errors" if name == "risk" else "posterior variances", "reference curve"),
            f"ratio {values.mean() / mse if mse else np.nan:.4f}",
            extra_error=error,
            floor=_RARE * mse,
        )


def blind_rivals(law: Family) -> list[Denoiser]:
    """The default denoisers that see only y."""
    made = [make.denoiser(spec, law) for spec in defaults.scored(law)]
    return [denoiser for denoiser in made if denoiser.knows in ("nothing", "training set")]


def below(rivals: list[Denoiser], x: Images, y: Images, sigma: float, least: np.ndarray, error: float = 0.0) -> Check:
    """Identity 3: no denoiser that sees only y is below what is least, of a standard error of its own."""
    scores = [(z_score(per_image(d(y, sigma) - x) - least, error), d.spec) for d in rivals]
    worst, name = min(scores, default=(0.0, "none"))
    return Check(
        f"3  nothing that sees only y is below, sigma={sigma:g}",
        min(worst, 0.0),
        Z,
        f"closest: {name}, z = {worst:.1f}",
        ("other denoisers", "the optimum"),
        statistical=True,
    )


def orthogonal(x: Images, estimate: Images, sigma: float) -> Check:
    """Identity 4: ``E<x - x_hat, x_hat> = 0``."""
    inner = ((x - estimate) * (estimate - x.mean())).mean(dim=(1, 2, 3)).numpy()
    return statistical(
        f"4  error orthogonal to estimate, sigma={sigma:g}",
        inner,
        ("<error, estimate>", "0"),
        f"mean {inner.mean():.2e}",
    )


def directions(batch: Batch) -> Images:
    """A random direction of length 1 for each image."""
    stream = rng.generator("tweedie", batch.family, batch.seed)
    v = torch.from_numpy(stream.standard_normal(tuple(batch.images.shape)))
    return v / per_pixel(v.flatten(1).norm(dim=1), v)


def tweedie(oracle: PosteriorMean, batch: Batch, sigma: float) -> Check:
    """Identity 2, second-order Tweedie: ``sigma^2 v'Jv = Var(<v, x> | y)`` with J = dD/dy, the same v on both sides.

    J v is a central difference with the step that balances rounding and curvature. It asks for an oracle that is
    `smooth`.
    """
    x = batch.images.double()
    y = scale_noise(x, unit_noise(batch).double(), sigma)
    v = directions(batch)
    step = 1e-3 * sigma
    slope = (oracle(y + step * v, sigma) - oracle(y - step * v, sigma)) / (2 * step)
    left = sigma**2 * (v * slope).sum(dim=(1, 2, 3))
    right = (v * oracle.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
    error = float(((left - right).abs() / right.clamp(min=1e-9 * sigma**2)).max())
    return Check(
        f"2  sigma^2 v'Jv = Var(<v,x>|y), sigma={sigma:g}",
        error,
        oracle.accuracy,
        "largest relative difference",
        ("derivative of the estimate", "posterior covariance"),
    )


def along(oracle: PosteriorMean, x: Images, y: Images, v: Images, mean: Images, sigma: float) -> Check:
    """Identity 2 without a derivative: ``E <v, x - x_hat>^2 = E Var(<v, x> | y)``."""
    variance = (v * oracle.covariance(y, sigma, v)).sum(dim=(1, 2, 3)).numpy()
    squared = (v * (x - mean)).sum(dim=(1, 2, 3)).square().numpy()
    return statistical(
        f"2  squared error along v = Var(<v,x>|y), sigma={sigma:g}",
        squared - variance,
        ("squared errors along a direction", "posterior covariance"),
        f"ratio {squared.mean() / variance.mean():.4f}",
    )


def information(law: Family, low: float, high: float) -> Check:
    """Identity 5, I-MMSE: ``I(low) - I(high) = 1/2 integral of pixels * mmse d(1/sigma^2)``.

    Guo, Shamai, Verdu, "Mutual information and minimum mean-square error in Gaussian channels", IEEE Trans. Inf.
    Theory 2005, doi:10.1109/TIT.2005.844072, theorem 1. Gauss-Legendre quadrature in log sigma.
    """
    if low == high:
        low, high = low / 10, high * 10
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = np.log(high / low) / 2
    sigma = np.exp(np.log(low) + half * (nodes + 1))
    rate = np.prod(law.shape) * law.reference(sigma).mse / sigma**2  # 1/2 d(1/s^2) = -(1/s^2) d log s
    integral = float(half * (weights @ rate))
    ends = law.optimum.information(np.array([low, high]))
    assert ends is not None
    difference = float(ends[0] - ends[1])
    return Check(
        f"5  I-MMSE, sigma from {low:g} to {high:g}",
        integral / difference - 1,
        1e-6,
        f"{difference:.2f} nats",
        ("integral of the reference", "mutual information"),
    )


def limits(law: Family, oracle: Denoiser, batch: Batch, z: Images) -> Iterator[Check]:
    """Identity 7: as sigma -> 0 the risk is at most sigma^2; as sigma -> infinity it is the prior variance."""
    x = batch.images.double()
    scale = law.pixel_moments(x)[1]
    small, large = _SMALL * scale, _LARGE * scale * max(1.0, x[0].numel() ** 0.5 / 64)
    risk = per_image(oracle(scale_noise(x, z.double(), small), small) - x) / small**2
    yield Check(
        "7  sigma -> 0: risk <= sigma^2",
        max(z_score(risk - per_image(z.double())), 0.0),
        Z,
        f"risk / sigma^2 = {risk.mean():.4f}",
        ("squared errors", "sigma^2"),
        statistical=True,
    )
    if law.moments <= 4:
        yield not_applicable("7  sigma -> infinity", "the variance of images has no standard error: no fourth moment")
        return
    estimate = oracle(scale_noise(x, z.double(), large), large)
    prior = estimate.mean(dim=0, keepdim=True)
    moved = float((estimate - prior).square().mean().sqrt()) / scale
    yield Check(
        "7  sigma -> infinity: the estimate is the prior mean",
        moved,
        1e-2,
        "movement / standard deviation",
        ("estimates of different images", "each other"),
    )
    reference = law.reference(large)
    if stated(reference):
        yield statistical(
            "7  sigma -> infinity: reference = prior variance",
            per_image(x - prior) - reference.mse[0],
            ("variance of images", "reference curve"),
            f"{reference.mse[0]:.5f}",
            extra_error=float(reference.standard_error[0]),
        )


def not_applicable(identity: str, reason: str) -> Check:
    """An identity that this law cannot be held to, with the reason why."""
    return Check(identity, 0.0, math.inf, f"not applicable: {reason}")


def stated(reference: Reference) -> bool:
    """Whether a reference of one level states the risk of a denoiser: the MMSE, or that of the best linear one."""
    return bool(reference.known[0]) or reference.kind == "linear"


def statistical(
    identity: str,
    differences: np.ndarray,
    routes: tuple[str, str],
    detail: str = "",
    *,
    extra_error: float = 0.0,
    floor: float = 0.0,
) -> Check:
    """A check that the mean over images of differences is 0, as a z-score."""
    value = z_score(differences, extra_error, floor)
    return Check(identity, normal_deviate(value, len(differences)), Z, detail, routes, statistical=True)


def z_score(differences: np.ndarray, extra_error: float = 0.0, floor: float = 0.0) -> float:
    """Mean over its standard error (with an independent extra error); differences below ``floor`` count as none."""
    mean = float(differences.mean())
    error = float(np.hypot(differences.std(ddof=1) / np.sqrt(len(differences)), extra_error))
    if abs(mean) <= floor:
        return 0.0
    return mean / error if error > 0 else float(np.copysign(np.inf, mean))


def normal_deviate(t: float, count: int) -> float:
    """The standard normal deviate as improbable as a deviate of Student's t, of a mean of ``count`` numbers.

    >>> round(normal_deviate(5.0, 64), 1)
    4.6
    """
    probability = float(stats.t.sf(abs(t), count - 1))
    return t if probability < _LEAST_P else float(np.copysign(stats.norm.isf(probability), t))


def per_image(difference: Images) -> np.ndarray:
    """Mean square of each image, per pixel."""
    return difference.double().square().mean(dim=(1, 2, 3)).numpy()
