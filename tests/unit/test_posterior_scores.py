"""Scores of posterior samples: the exact sampler gets what is due, wrong ones are found out."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.scoring.posterior_scores import (
    COLUMNS,
    STATISTICS,
    _energy,
    classes,
    interval,
    score_images,
    summarise,
    uniform_p,
)

K = 19


@pytest.fixture(scope="module")
def setting():
    problem = gb.problem("mask:keep=0.3", "calpha:size=8")
    batch = problem.family.sample(range(150), split="val")
    posterior = problem.exact(problem.measure(batch, 0.1))
    return batch.images, posterior, posterior.sample(K, 1), posterior.sample(K, 2)


def statistics(setting, samples, mean=None):
    truth, exact, reference, _ = setting
    rows = score_images(truth, exact, reference, samples.mean(0) if mean is None else mean, samples)
    assert list(rows.columns) == COLUMNS
    return summarise(rows, K).set_index("statistic")


def test_the_exact_sampler_gets_what_is_due(setting):
    found = statistics(setting, setting[3])
    assert list(found.index) == list(STATISTICS)
    assert found.loc["regret_db", "due"] == pytest.approx(10 * math.log10(1 + 1 / K))
    assert found.loc["calibration_p", "value"] > 1e-3
    off = ((found["value"] - found["due"]) / found["standard_error"]).drop("calibration_p")
    assert off.abs().max() < 4.5
    assert (found["standard_error"].drop("calibration_p") > 0).all()


def test_samples_that_are_too_narrow_are_found(setting):
    exact, drawn = setting[1], setting[3]
    found = statistics(setting, exact.mean + 0.6 * (drawn - exact.mean))
    assert found.loc["variance_ratio", "value"] == pytest.approx(0.36, abs=0.02)
    assert found.loc["calibration_p", "value"] < 1e-3
    assert found.loc["coverage_0.9", "value"] < 0.8
    assert found.loc["energy", "value"] > 6 * found.loc["energy", "standard_error"]


def test_samples_that_are_shifted_are_found(setting):
    exact, drawn = setting[1], setting[3]
    shift = 0.7 * exact.variance.sqrt()[:, None, None, None]
    found = statistics(setting, drawn + shift, exact.mean + shift)
    assert found.loc["regret_db", "value"] == pytest.approx(10 * math.log10(1.49), abs=0.01)
    assert found.loc["variance_ratio", "value"] == pytest.approx(1, abs=0.05)
    assert found.loc["energy", "value"] > 6 * found.loc["energy", "standard_error"]


def test_a_point_has_a_regret_alone(setting):
    truth, exact, reference, _ = setting
    rows = score_images(truth, exact, reference, exact.mean, None)
    found = summarise(rows, K)
    assert found["statistic"].tolist() == ["regret_db"]
    assert found["value"].iloc[0] == found["due"].iloc[0] == 0


def test_the_energy_distance_by_its_definition():
    stream = np.random.default_rng(0)
    a, b = torch.from_numpy(stream.random((4, 2, 3))), torch.from_numpy(stream.random((5, 2, 3)))
    for i in range(2):
        between = np.mean([np.linalg.norm(p - q) for p in a[:, i].numpy() for q in b[:, i].numpy()])
        own = [
            np.mean([np.linalg.norm(z[p] - z[q]) for p in range(len(z)) for q in range(len(z)) if p != q])
            for z in (a[:, i].numpy(), b[:, i].numpy())
        ]
        assert float(_energy(a, b)[i]) == pytest.approx((2 * between - sum(own)) / 3**0.5)


def test_p_values_of_uniform_ranks_are_uniform():
    stream = np.random.default_rng(0)
    p = np.array([uniform_p(stream.integers(0, K + 1, 60), K) for _ in range(400)])
    assert abs((p < 0.1).mean() - 0.1) < 0.06
    assert abs((p < 0.5).mean() - 0.5) < 0.1
    assert uniform_p(np.zeros(60, dtype=int), K) < 1e-6
    ends = classes(60, K)
    assert (np.diff(ends) > 0).all()
    assert (ends[0], ends[-1]) == (0, K + 1)
    assert interval(0.9, 4) == (0, 1.0)


def test_images_without_an_exact_posterior_are_left_out(setting):
    truth, exact, reference, drawn = setting
    mean = exact.mean.clone()
    mean[3] = torch.nan
    holed = dataclasses.replace(exact, mean=mean)
    rows = score_images(truth[:5], _first(holed), reference[:, :5], drawn[:, :5].mean(0), drawn[:, :5], first=10)
    assert rows["image"].tolist() == [10, 11, 12, 14]


def _first(posterior):
    parts = {name: getattr(posterior, name)[:5] for name in ("mean", "variance", "pixel_variance", "log_evidence")}
    return dataclasses.replace(posterior, **parts)


def test_bad_input_is_explained(setting):
    truth, exact, reference, drawn = setting
    with pytest.raises(UsageError, match="at least 2"):
        score_images(truth, exact, reference, exact.mean, drawn[:1])
    with pytest.raises(DenoiserError, match="not finite"):
        score_images(truth, exact, reference, exact.mean, drawn * torch.nan)
