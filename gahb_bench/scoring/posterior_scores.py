"""Scores of posterior samples, where the exact posterior is known: image by image, and over all images."""

import math

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.conditional import ExactPosterior
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.images import FloatArray, Images

PROJECTIONS = 10
RANKS = [f"rank_{number}" for number in range(PROJECTIONS)]
COLUMNS = ["image", "optimum", "excess", "variance", "energy", *RANKS]
INTERVALS = (0.5, 0.9)  # credible intervals, nominally
_SAME = 1e-5  # projections that differ by less of their size are equal, up to the rounding of images to float32
_EXPECTED = 5  # ranks in a class of the chi-square test, at least

STATISTICS = {
    "regret_db": "of the mean to the exact posterior mean, 10 log10(1 + excess / mmse)",
    "variance_ratio": "mean variance of the samples over that of the posterior; 1 if right",
    "calibration_p": "least p-value of the ranks of the truth being uniform in ten projections, times ten",
    **{f"coverage_{level:g}": f"share of truths in a credible interval of about {level:g}" for level in INTERVALS},
    "energy": "distance to exact posterior samples, mean over images, unbiased: 0 if right",
}


def score_images(
    truth: Images, exact: ExactPosterior, reference: Tensor, mean: Images, samples: Tensor | None, first: int = 0
) -> pd.DataFrame:
    """Scores of posterior samples, a row an image whose exact posterior is known (finite).

        optimum    posterior variance, mean over pixels
        excess     |mean - exact mean|^2 per pixel
        variance   of the samples, unbiased, mean over pixels
        energy     2 E|X - Y| - E|X - X'| - E|Y - Y'| over sqrt(pixels), X samples, Y exact ones, without bias
        rank_j     how many samples are below the truth in random projection j; ties are broken at random

    Parameters
    ----------
    truth : Tensor, shape (n, c, h, w)
    exact : the exact posterior
    reference : Tensor, shape (m, n, c, h, w)
        Exact samples, m >= 2.
    mean, samples : what a method says; ``samples`` ``(k, n, c, h, w)``, k >= 2, or None: then the last three are NaN.
    first : int
        Number of the first image, on which the breaking of ties depends.

    Raises
    ------
    UsageError
        If there are fewer than two samples.
    DenoiserError
        If something that the method says is not finite.

    References
    ----------
    S. Talts, M. Betancourt, D. Simpson, A. Vehtari, A. Gelman, 2018, arXiv:1804.06788 (ranks); G. J. Szekely,
    M. L. Rizzo, J. Stat. Plan. Inference 2013, doi:10.1016/j.jspi.2013.03.018 (energy distance).
    """
    if min(len(reference), 2 if samples is None else len(samples)) < 2:
        raise UsageError("one sample has no variance: give at least 2.")
    known = (exact.mean.isfinite().flatten(1).all(1) & reference.isfinite().flatten(2).all(2).all(0)).nonzero()[:, 0]
    x, best, estimate = (each[known].double().flatten(1) for each in (truth, exact.mean, mean))
    drawn = None if samples is None else samples[:, known].double().flatten(2)
    if not bool(estimate.isfinite().all()) or (drawn is not None and not bool(drawn.isfinite().all())):
        raise DenoiserError("samples are not finite.")
    rows = pd.DataFrame({"image": first + known.numpy(), "optimum": exact.variance[known].double().numpy()})
    rows["excess"] = (estimate - best).square().mean(dim=1).numpy()
    if drawn is None:
        return rows.reindex(columns=COLUMNS)
    rows["variance"] = drawn.var(dim=0).mean(dim=1).numpy()
    rows["energy"] = _energy(drawn, reference[:, known].double().flatten(2)).numpy()
    rows[RANKS] = _ranks(x, drawn, rows["image"].tolist())
    return rows[COLUMNS]


def energy_score(truth: Images, samples: Tensor) -> Tensor:
    """The energy score of samples of each image, float64 ``(n,)``: least, in the mean, of the exact posterior's.

        (mean_j |X_j - x| - mean_{j<l} |X_j - X_l| / 2) / sqrt(pixels)

    It takes the truth x alone, ``(n, c, h, w)``, and samples X ``(k, n, c, h, w)``; a single one has its distance.

    References
    ----------
    T. Gneiting, A. E. Raftery, J. Am. Stat. Assoc. 2007, doi:10.1198/016214506000001437.

    Examples
    --------
    >>> energy_score(torch.zeros(1, 1, 1, 4), torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1).expand(2, 1, 1, 1, 4))
    tensor([0.], dtype=torch.float64)
    """
    x, drawn = truth.double().flatten(1), samples.double().flatten(2).transpose(0, 1)
    off, k = (drawn - x[:, None]).norm(dim=2).mean(dim=1), drawn.shape[1]
    within = torch.cdist(drawn, drawn).sum((1, 2)) / (k * max(k - 1, 1))
    return (off - within / 2) / x.shape[1] ** 0.5


def summarise(rows: pd.DataFrame, samples: int) -> pd.DataFrame:
    """The statistics of all images, `STATISTICS`, with standard errors where they have one, and what is due.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of `score_images`.
    samples : int
        k, of which the ranks are; what a point estimate has no value of is left out.

    Returns
    -------
    pandas.DataFrame
        ``statistic, value, standard_error, due``: due is the value of independent exact samples, in the mean (of
        the regret: ``10 log10(1 + 1/k)``, as k of them have a mean that is not the exact one); NaN if there is none.
    """
    count, optimum = len(rows), rows["optimum"].to_numpy()
    share, error = _ratio(rows["excess"].to_numpy(), optimum)
    point = bool(rows["variance"].isna().all())
    due = 0.0 if point else 10 * math.log10(1 + 1 / samples)
    made = [("regret_db", 10 * math.log10(1 + share), 10 / math.log(10) * error / (1 + share), due)]
    if not point:
        made.append(("variance_ratio", *_ratio(rows["variance"].to_numpy(), optimum), 1.0))
        ranks = rows[RANKS].to_numpy().astype(int)
        p = min((uniform_p(ranks[:, j], samples) for j in range(PROJECTIONS)), default=1.0)
        made.append(("calibration_p", min(p * PROJECTIONS, 1.0), math.nan, math.nan))
        for level in INTERVALS:
            out, nominal = interval(level, samples)
            inside = ((ranks >= out) & (ranks <= samples - out)).mean(axis=1)
            made.append((f"coverage_{level:g}", inside.mean(), inside.std(ddof=1) / count**0.5, nominal))
        energy = rows["energy"].to_numpy()
        made.append(("energy", energy.mean(), energy.std(ddof=1) / count**0.5, 0.0))
    return pd.DataFrame(made, columns=["statistic", "value", "standard_error", "due"])


def interval(level: float, samples: int) -> tuple[int, float]:
    """How many ranks are outside at each end of a credible interval of about this level, and its exact level.

    >>> interval(0.9, 19), interval(0.5, 19)
    ((1, 0.9), (5, 0.5))
    """
    out = min(round((1 - level) / 2 * (samples + 1)), samples // 2)
    return out, (samples + 1 - 2 * out) / (samples + 1)


def classes(count: int, samples: int) -> FloatArray:
    """Ends of the classes of ranks 0 to ``samples``, so that at least five of ``count`` are expected in each, or two.

    >>> classes(20, 7).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    number = min(samples + 1, max(2, count // _EXPECTED))
    return np.round(np.linspace(0, samples + 1, number + 1))


def uniform_p(ranks: np.ndarray, samples: int) -> float:
    """P-value of a chi-square test of ranks, each 0 to ``samples``, being uniform."""
    ends = classes(len(ranks), samples)
    seen = np.histogram(ranks, ends - 0.5)[0]
    due = np.diff(ends) / (samples + 1) * len(ranks)
    return float(stats.chisquare(seen, due).pvalue)


def _ratio(values: FloatArray, optimum: FloatArray) -> tuple[float, float]:
    """Mean of values over that of the optimum, and its standard error over images."""
    ratio = values.mean() / optimum.mean()
    error = (values - ratio * optimum).std(ddof=1) / optimum.mean() / len(values) ** 0.5
    return float(ratio), float(error)


def _energy(a: Tensor, b: Tensor) -> Tensor:
    """Energy distance of samples ``(k, n, d)`` and ``(m, n, d)`` of each image, ``(n,)``."""
    a, b = a.transpose(0, 1), b.transpose(0, 1)
    within = [torch.cdist(each, each).sum((1, 2)) / (each.shape[1] * (each.shape[1] - 1)) for each in (a, b)]
    return (2 * torch.cdist(a, b).mean((1, 2)) - within[0] - within[1]) / a.shape[2] ** 0.5


def _ranks(x: Tensor, samples: Tensor, images: list[int]) -> np.ndarray:
    """Ranks of the truth among samples ``(k, n, d)`` in random projections, ``(n, projections)``."""
    directions = rng.generator("calibration", x.shape[1]).standard_normal((x.shape[1], PROJECTIONS))
    v = torch.from_numpy(directions / x.shape[1] ** 0.5).to(x)
    truth, others = x @ v, samples @ v
    same = _SAME * others.abs().amax(dim=0).clamp(min=1)
    less = (others < truth - same).sum(dim=0).numpy()
    equal = ((others - truth).abs() <= same).sum(dim=0).numpy()
    streams = rng.generators("calibration ties", indices=images)
    u = np.array([stream.random(PROJECTIONS) for stream in streams]).reshape(-1, PROJECTIONS)
    return less + np.floor(u * (equal + 1)).astype(int)
