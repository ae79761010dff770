"""The public functions that score and compare: they take specs as well as the things themselves."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench import make
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import check_device
from gahb_bench.core.errors import ScaleWarning, UsageError, unknown
from gahb_bench.core.family import Family
from gahb_bench.core.images import check_scored_sigmas
from gahb_bench.core.optimum import Reference
from gahb_bench.scoring import compare as comparing
from gahb_bench.scoring import curve
from gahb_bench.scoring import exponent as exponents
from gahb_bench.scoring import score as scores
from gahb_bench.scoring import summary as summaries
from gahb_bench.scoring.curve import COLUMNS_OF_SCORES, check_table
from gahb_bench.scoring.exponent import Fit
from gahb_bench.scoring.matching import check_scores
from gahb_bench.scoring.partners import check_mapping, resolve
from gahb_bench.scoring.plausible import find_implausible, in_255ths


def score(
    family: str | Family,
    denoisers: Sequence[str | Denoiser | Callable[..., Any]] | Mapping[str, str | Denoiser | Callable[..., Any]],
    sigmas: object,
    images: int = 128,
    seed: int = 0,
    device: str = "cpu",
) -> pd.DataFrame:
    """Score denoisers on the first ``images`` images of a family's test split.

    Parameters
    ----------
    family : str or Family
    denoisers : sequence of specs, Denoisers, or callables ``(y, sigma) -> x_hat``; or such by names of one's choice
    sigmas : float or sequence of floats
        Standard deviations of the noise in image units, > 0.
    images, seed, device
        How many images, which seed, where to compute.

    Returns
    -------
    pandas.DataFrame
        One row per family, denoiser, noise level and image: ``family, denoiser, knows, sigma, image, mse, excess,
        status, reason, seconds``. ``excess`` is ``|x_hat - x*|^2`` per pixel, x* the exact posterior mean (NaN where
        none is known). A denoiser that fails has rows with status ``failed``, its reason, and a NaN MSE.

    Warns
    -----
    ScaleWarning
        If a denoiser of the user's seems to be made for other units, or the noise levels to be in 255ths.

    Raises
    ------
    UsageError
        For an unknown name or parameter, or noise levels that are not positive and finite, or given twice.

    Examples
    --------
    >>> table = score("calpha:size=16", ["mmse", "identity"], [0.1], images=4)
    >>> mse = table.groupby("denoiser")["mse"].mean()
    >>> bool(mse["identity"] > mse["mmse"])
    True
    """
    law = make.family(family)
    levels = check_scored_sigmas(sigmas).tolist()  # what is refused is refused before anything is tuned
    scores.refuse_repeated(levels)
    scores.check_images(images)
    check_device(device)
    made = make.denoisers(denoisers, law)
    table = scores.score(law, made, sigmas, images, seed, device)
    table.attrs = {"seed": seed, "split": "test"}
    brought = [denoiser for denoiser in made if denoiser.own_facts.brought]
    for message in [*in_255ths(levels, [law]), *find_implausible(table, law, brought, seed, device)]:
        warnings.warn(message, ScaleWarning, stacklevel=2)
    return table


def curves(table: pd.DataFrame, families: Iterable[Family] = ()) -> pd.DataFrame:
    """Curves from per-image scores (`gahb_bench.score`): one row per family, denoiser and noise level.

        mse        mean over images, with a 95 % interval (`gahb_bench.scoring.intervals`)
        psnr_db    -10 log10 mse
        regret_db  10 log10(mse / reference), with a 95 % interval

    Where the exact posterior mean x* is known and the denoiser sees only y (and sigma, and training images), the
    regret is *direct*: 10 log10(1 + mean excess / mmse) with excess = |x_hat - x*|^2 per pixel, because
    E|x_hat - x|^2 = mmse + E|x_hat - x*|^2. It has none of the luck of the draw, is never negative, and is 0 for x*.
    Elsewhere, where the denoiser that attains the reference (``mmse``; ``wiener`` for the linear reference) was scored
    on the same images, it is *paired*: 10 log10 of the ratio of the two mean MSEs on those images. Otherwise it is
    taken against ``reference_mse``; for a bracket it is an interval from the upper to the lower end. ``regret_kind``
    says which: direct, paired, reference or bracket. A denoiser whose errors contradict its excess has seen more than
    y: its regret is paired. Where the optimum vanishes, a distance in
    dB to it says nothing, and there is none. ``exponent`` is the local slope d log mse / d log sigma through
    neighbouring noise levels. A cell in which any image failed has status ``failed`` and no numbers: a mean over the
    images that happened to work would flatter it.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of scores.parquet, of one seed and split.
    families : iterable of Family
        Laws of the table that are not known by their name: a subclass that shares the name of its base.

    Returns
    -------
    pandas.DataFrame
        The columns of curves.csv.

    Raises
    ------
    UsageError
        If one denoiser has two scores for one image at one noise level, or a family is unknown.

    Examples
    --------
    >>> table = score("calpha:size=16", ["mmse", "identity"], [0.1], images=4)
    >>> bool(curves(table)["regret_db"].iloc[1] > 3)
    True
    """
    return curve.curves(table, _references(table, families))


def summary(table: pd.DataFrame, families: Iterable[Family] = ()) -> pd.DataFrame:
    """One row per family and denoiser, from per-image scores: its regret over all noise levels, and what it is worth.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of scores.parquet, of one seed and split.
    families : iterable of Family
        Laws of the table that are not known by their name.

    Returns
    -------
    pandas.DataFrame
        The columns of summary.csv: ``family, denoiser, knows, levels``; ``mean_regret_db`` and ``worst_regret_db`` with
        95 % intervals; ``exponent`` over sigma in [0.01, 1] with its standard error and the reference's;
        ``excess_bits``, the Kullback-Leibler divergence in bits a pixel that the denoiser's excess error is worth over
        the range of noise levels (see `gahb_bench.scoring.bits.excess_bits`), with its interval; ``images_per_second``.

    Raises
    ------
    UsageError
        As `curves`.

    Examples
    --------
    >>> table = score("calpha:size=16", ["mmse", "identity"], [0.03, 0.1, 0.3, 1.0], images=8)
    >>> found = summary(table).set_index("denoiser")["excess_bits"]
    >>> float(found["mmse"]), bool(found["identity"] > 1)
    (0.0, True)
    """
    references = _references(table, families)
    return summaries.summary(table, curve.curves(table, references), references, {})


def compare(
    baseline: pd.DataFrame,
    candidate: pd.DataFrame,
    margin: float = comparing.MARGIN_DB,
    paired: bool = True,
    mapping: Mapping[str, str] | None = None,
    families: Iterable[Family] = (),
) -> pd.DataFrame:
    """Compare the scores of a candidate with those of a baseline: a row and a verdict per denoiser and sigma band.

    See `gahb_bench.scoring.compare.compare` for the statistics, the verdicts and the columns.

    Parameters
    ----------
    baseline, candidate : pandas.DataFrame
        The columns of scores.parquet, each of one seed and split.
    margin : float
        How many dB do not matter, >= 0.
    paired : bool
        Whether image i is the same image in both (same seed, same split); on the images that both have.
    mapping : dict
        Which denoiser of the candidate stands for one of the baseline, where their names differ.
    families : iterable of Family
        Laws of the tables that are not known by their name.

    Raises
    ------
    UsageError
        If a table is not a table of scores or holds two scores of one image, the margin is not a number >= 0, or the
        mapping names a denoiser that is not there.

    Examples
    --------
    >>> table = score("calpha:size=16", ["mmse", "wavelet"], [0.1, 0.3], images=32)
    >>> set(compare(table, table)["verdict"])
    {'same'}
    >>> compare(table, table, mapping={"mmse": "wavelet"})["verdict"].tolist()[0]
    'worse'
    """
    for table in (baseline, candidate):
        check_scores(table)
    for what in ("seed", "split"):
        ours, theirs = (table.attrs.get(what) for table in (baseline, candidate))
        if paired and None not in (ours, theirs) and ours != theirs:
            raise UsageError(
                f"the tables are of {what} {ours} and {what} {theirs}, so that image i is not the same in both: give "
                "paired=False."
            )
    check_mapping({} if mapping is None else mapping)
    names = set(candidate["denoiser"])
    for new in (mapping or {}).values():
        if resolve(new, names) not in names:
            raise unknown("denoiser of the candidate", new, names)
    laws = list(_laws(families).values())
    references = {}
    for spec, rows in baseline.groupby("family", sort=False):
        with suppress(UsageError):  # a law that is not known here is compared by the errors alone
            references |= _references(rows.assign(family=spec), laws)
    return comparing.compare(baseline, candidate, margin, paired, mapping, references)


def exponent(
    table: pd.DataFrame, family: str | Family, denoiser: str | Denoiser, low: float = 0.01, high: float = 1.0
) -> Fit:
    """Fit the exponent of one denoiser on one family over ``low <= sigma <= high``.

    The images are the same at every noise level, so errors at different levels are correlated: the standard error is
    a jackknife over images of the whole fit, not a regression formula.

    Parameters
    ----------
    table : pandas.DataFrame
        Per-image scores.
    family : spec, or the law itself
    denoiser : as in the table: canonical spec, or the thing itself
    low, high : float
        Range of noise levels, both ends included (to within rounding).

    Raises
    ------
    UsageError
        If the range holds fewer than two scored noise levels, some image failed there, or no image has an error there.

    Examples
    --------
    >>> table = score("calpha:size=16", ["mmse"], [0.03, 0.1, 0.3], images=32)
    >>> fit = exponent(table, "calpha:size=16", "mmse")
    >>> abs(fit.value - fit.reference) < 0.2
    True
    """
    check_table(table, ("family", "denoiser", "sigma", "image", "mse"))
    law = make.family(family)
    rows = table[(table["family"] == law.spec) & (table["denoiser"] == str(denoiser))]
    levels = np.sort(rows["sigma"].unique())
    if not len(levels):
        raise UsageError(f"no exponent: the table holds no scores of {str(denoiser)!r} on {law.spec!r}.")
    return exponents.fit(rows, law.reference(levels), low, high)


def _references(table: pd.DataFrame, families: Iterable[Family]) -> dict[str, Reference]:
    """What is known of each family of a table, at its noise levels."""
    check_table(table, COLUMNS_OF_SCORES)
    given = _laws(families)
    return {
        str(spec): (given.get(str(spec)) or make.family(str(spec))).reference(np.sort(rows["sigma"].unique()))
        for spec, rows in table.groupby("family", sort=False)
    }


def _laws(families: Any) -> dict[str, Family]:
    """Laws by their specs."""
    laws = [] if isinstance(families, str) or not isinstance(families, Iterable) else list(families)
    if (families and not laws) or not all(isinstance(law, Family) for law in laws):
        raise UsageError(
            f"families={families!r} is not allowed: it is a list of laws, [gb.family(SPEC), ...], and only those are "
            "needed that are not known by their names."
        )
    return {law.spec: law for law in laws}
