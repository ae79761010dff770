"""How well a score tells flagged samples from the others: the receiver operating characteristic."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray


@dataclass(frozen=True, eq=False)
class Detection:
    """A score as a detector of flagged samples.

    area : under the curve: the probability that a flagged sample has the higher score, ties counting half
    error : its standard error; NaN for fewer than two samples of either kind, too small where the area is 0 or 1
    flagged, others : how many samples there are of each kind
    false, true : the curve: shares of the others, and of the flagged, whose score is at least a threshold; from 0 to 1
    """

    area: float
    error: float
    flagged: int
    others: int
    false: FloatArray
    true: FloatArray


def detection(scores: FloatArray, flags: NDArray[np.bool_]) -> Detection:
    """The curve of a detector and the area under it, by ranks.

        area = mean over flagged i and others j of  [s_i > s_j] + [s_i = s_j] / 2
        error^2 = var_i(v_i) / flagged + var_j(v_j) / others,    v_i, v_j the means of these over j, over i

    Parameters
    ----------
    scores : array, shape (n,)
    flags : bool array, shape (n,)
        What is to be detected.

    Raises
    ------
    UsageError
        If the shapes differ, a score is NaN, or all samples are of one kind.

    References
    ----------
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves: a nonparametric approach", Biometrics 1988, doi:10.2307/2531595, equations 2 to 4.

    Examples
    --------
    >>> detection(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False])).area
    0.75
    """
    if scores.shape != flags.shape or scores.ndim != 1 or bool(np.isnan(scores).any()):
        raise UsageError(
            f"scores {scores.shape} and flags {flags.shape} are not allowed: give one number and one flag a sample, "
            "and leave out samples without a score."
        )
    high, low = scores[flags], scores[~flags]
    if not (len(high) and len(low)):
        raise UsageError(f"{len(high)} of {len(flags)} samples are flagged: give samples of both kinds.")
    rank = stats.rankdata(scores)
    above = (rank[flags] - stats.rankdata(high)) / len(low)
    below = 1 - (rank[~flags] - stats.rankdata(low)) / len(high)
    enough = min(len(high), len(low)) > 1
    error = math.sqrt(above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low)) if enough else math.nan
    thresholds = np.append(np.inf, np.unique(scores)[::-1])
    false, true = (1 - np.searchsorted(np.sort(kind), thresholds) / len(kind) for kind in (low, high))
    return Detection(float(above.mean()), error, len(high), len(low), false, true)
