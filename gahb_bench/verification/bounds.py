"""What can be measured of an optimum that is not a known posterior mean: of the best linear denoiser, of a bracket."""

from collections.abc import Iterator, Sequence

import numpy as np

from gahb_bench import make
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.family import Family
from gahb_bench.core.optimum import Check
from gahb_bench.core.posterior import inform
from gahb_bench.verification.identities import (
    Z,
    below,
    blind_rivals,
    limits,
    normal_deviate,
    orthogonal,
    per_image,
    statistical,
    z_score,
)


def linear_identities(
    law: Family, oracle: Denoiser, images: int, seed: int, sigmas: Sequence[float]
) -> Iterator[Check]:
    """Identities of the best linear denoiser: its risk, that its error is orthogonal to y, its limits."""
    batch = law.sample(range(images), seed=seed, split="val")
    x, z = batch.images.double(), unit_noise(batch)
    for sigma in sigmas:
        y = scale_noise(x, z.double(), sigma)
        estimate = oracle(y, sigma)
        squared, mse = per_image(estimate - x), float(law.reference(sigma).mse[0])
        yield statistical(
            f"1  risk = reference curve, sigma={sigma:g}",
            squared - mse,
            ("squared errors", "reference curve"),
            f"ratio {squared.mean() / mse:.4f}",
        )
        yield orthogonal(x, estimate, sigma)
        inner = ((x - estimate) * (y - x.mean())).mean(dim=(1, 2, 3)).numpy()
        yield statistical(f"4  error orthogonal to y, sigma={sigma:g}", inner, ("<error, y>", "0"))
    yield from law.optimum.checks()
    yield from limits(law, oracle, batch, z)


def bracket_identities(law: Family, images: int, seed: int, sigmas: Sequence[float]) -> Iterator[Check]:
    """What a bracket must hold: nothing that sees only y is below its lower end, and what knows more is.

    Its ends come from one simulation and the denoisers' errors from another, on other images.
    """
    batch = law.sample(range(images), seed=seed, split="val")
    x, z = batch.images.double(), unit_noise(batch)
    genies = [make.denoiser(spec, law) for spec in law.optimum.defaults()]
    genies = [inform(genie, batch) for genie in genies if genie.knows == "latents"]
    rivals = blind_rivals(law)
    for sigma in sigmas:
        y = scale_noise(x, z.double(), sigma)
        reference = law.reference(sigma)
        lower, error = float(reference.lower[0]), float(reference.standard_error[0])
        if not np.isfinite(lower):
            continue
        yield below(rivals, x, y, sigma, np.full(images, lower), error)
        for genie in genies:
            squared = per_image(genie(y, sigma) - x)
            score = max(z_score(squared - lower, error), 0.0)
            yield Check(
                f"8  {genie.name} <= lower end, sigma={sigma:g}",
                normal_deviate(score, images),
                Z,
                f"ratio {squared.mean() / lower:.4f}",
                ("squared errors of what knows the latents", "lower end of the bracket"),
                statistical=True,
            )
    yield from law.optimum.checks()
