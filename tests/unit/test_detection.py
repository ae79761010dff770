"""The receiver operating characteristic: against counts of pairs, and its standard error against simulation."""

import math

import numpy as np
import pytest

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.scoring.detection import detection


def _drawn(count, seed, ties=True):
    stream = rng.generator("test of detection", seed)
    flags = stream.random(count) < 0.3
    scores = stream.standard_normal(count) + flags
    return np.round(scores, 0 if ties else 12), flags


def test_area_and_error_are_counts_of_pairs():
    scores, flags = _drawn(60, 0)
    high, low = scores[flags], scores[~flags]
    wins = np.array([[float(a > b) + float(a == b) / 2 for b in low] for a in high])
    found = detection(scores, flags)
    assert (found.flagged, found.others) == wins.shape
    assert found.area == pytest.approx(wins.mean(), abs=1e-12)
    variance = wins.mean(axis=1).var(ddof=1) / len(high) + wins.mean(axis=0).var(ddof=1) / len(low)
    assert found.error == pytest.approx(variance**0.5, rel=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_that_under_the_curve(ties):
    scores, flags = _drawn(200, 1, ties)
    found = detection(scores, flags)
    assert np.trapezoid(found.true, found.false) == pytest.approx(found.area, abs=1e-12)
    assert (found.false[0], found.true[0], found.false[-1], found.true[-1]) == (0, 0, 1, 1)
    place = 5
    threshold = np.unique(scores)[::-1][place - 1]
    assert found.true[place] == pytest.approx((scores[flags] >= threshold).mean())
    assert found.false[place] == pytest.approx((scores[~flags] >= threshold).mean())


def test_the_error_is_the_deviation_of_the_area():
    made = [detection(*_drawn(120, seed, ties=False)) for seed in range(400)]
    areas, errors = (np.array([getattr(each, name) for each in made]) for name in ("area", "error"))
    assert areas.mean() == pytest.approx(0.7602, abs=4 * areas.std() / 20)  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    assert np.sqrt((errors**2).mean()) == pytest.approx(areas.std(), rel=0.15)


def test_ends():
    perfect = detection(np.array([2.0, 1.0, 0.0]), np.array([True, True, False]))
    assert perfect.area == 1
    assert math.isnan(perfect.error)
    assert detection(np.zeros(4), np.array([True, False, True, False])).area == 0.5


@pytest.mark.parametrize(
    ("scores", "flags", "reason"),
    [
        (np.zeros(3), np.zeros(4, dtype=bool), "one flag a sample"),
        (np.array([np.nan, 0.0]), np.array([True, False]), "leave out samples"),
        (np.zeros(3), np.ones(3, dtype=bool), "3 of 3 samples are flagged"),
    ],
)
def test_wrong_usage(scores, flags, reason):
    with pytest.raises(UsageError, match=reason):
        detection(scores, flags)
