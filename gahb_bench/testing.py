"""For other people's test suites: is a denoiser near the best that is possible?

>>> import gahb_bench as gb
>>> gb.testing.assert_near_optimal("mmse", "calpha:size=16", [0.1], max_regret_db=0.1, images=8)
"""

import warnings
from collections.abc import Callable
from typing import Any

from gahb_bench import make
from gahb_bench.api import curves, score
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import ScaleWarning, UsageError
from gahb_bench.core.family import Family
from gahb_bench.scoring.compare import check_margin
from gahb_bench.scoring.curve import below_optimum, is_settled


def assert_near_optimal(
    denoiser: str | Denoiser | Callable[..., Any],
    family: str | Family,
    sigmas: object,
    max_regret_db: float = 0.5,
    images: int = 128,
    seed: int = 0,
) -> None:
    """Assert that a denoiser is within ``max_regret_db`` of the optimum at every noise level.

    The regret is paired with the exact oracle on the same images where there is one (see `gahb_bench.curves`).

    Parameters
    ----------
    denoiser : spec, Denoiser, or callable ``(y, sigma) -> x_hat``
    family : spec or Family, with a known optimum
    sigmas : float or sequence of floats, standard deviations in image units
    max_regret_db : float
    images, seed : how many images of the test split, which seed

    Raises
    ------
    AssertionError
        If the regret is larger somewhere, or the denoiser fails; the message lists where and by how much. Also if it is
        better than what is possible for anything that sees only y.
    UsageError
        If the optimum is not known exactly at these noise levels, or vanishes at one of them; or if the denoiser says
        itself that it knows the image or what made it; or ``max_regret_db`` is not a number >= 0.

    Examples
    --------
    >>> assert_near_optimal("mmse", "calpha:size=16", [0.1], images=8)
    """
    check_margin(max_regret_db, "max_regret_db")
    law = make.family(family)
    reference = law.reference(sigmas)
    if not is_settled(reference).all():
        raise UsageError(
            f"no exact optimum is known for {law.spec} at these noise levels: choose others, or another law."
        )
    mine = make.denoiser(denoiser, law)
    if mine.knows in ("latents", "image"):
        raise UsageError(
            f"{mine.spec} knows the {mine.knows}: it is no denoiser of y, which an optimum could be set for."
        )
    methods = [mine, *(name for name in reference.attained_by[:1] if name != mine.spec)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScaleWarning)  # the assertion says it
        table = score(law, methods, sigmas, images=images, seed=seed)
    name = str(table["denoiser"].iloc[0])
    rows = curves(table, [law])
    curve = rows[rows["denoiser"] == name]
    vanishing = curve[curve["regret_db"].isna() & (curve["status"] == "ok")]["sigma"]
    if len(vanishing):
        raise UsageError(
            f"the optimum of {law.spec} vanishes at sigma={vanishing.iloc[0]:.4g}, so that no distance "
            "in dB to it can be asserted: choose larger noise levels."
        )
    impossible = curve[below_optimum(curve)]
    if len(impossible):
        where = ", ".join(f"sigma={sigma:.4g}" for sigma in impossible["sigma"])
        raise AssertionError(
            f"{name} is below the optimum on {law.spec} at {where}, by more than chance: it has seen more than y, the "
            "clean images or what made them."
        )
    bad = curve[~(curve["regret_db"] <= max_regret_db)]
    if len(bad):
        reasons = table[(table["denoiser"] == name) & (table["status"] != "ok")]["reason"].unique()
        where = ", ".join(f"{row.regret_db:.2f} dB at sigma={row.sigma:.4g}" for row in bad.itertuples())
        detail = f" It failed: {reasons[0]}" if len(reasons) else ""
        raise AssertionError(
            f"{name} is not within {max_regret_db:g} dB of the optimum on {law.spec}: {where}.{detail}"
        )
