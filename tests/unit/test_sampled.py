"""References that are mean posterior variances: the stored table, and how a row is made."""

import math

import numpy as np
import pytest
import torch

from gahb_bench import make
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.optimum import VarianceParts
from gahb_bench.families.calpha.optimum import CalphaOptimum
from gahb_bench.tables import sampled, store
from gahb_bench.verification.identities import z_score

TABLE = {family: store.by_level(rows) for (family, _), rows in store.read(store.shipped("levels")).items()}


def test_a_row_is_a_mean_with_its_error_and_slope(monkeypatch):
    """Known answer: the sampled part is c sigma^2 for the first half of the pixels and 0 for the others."""

    def half(y, sigma):
        values = sigma[:, None] ** 2 * torch.ones(len(y), 10, dtype=torch.float64)
        values[:, 5:] = 0
        return values * (1 + torch.arange(len(y)).double()[:, None])

    monkeypatch.setattr(CalphaOptimum, "samples", VarianceParts(sampled=half, known=lambda sigma: 3.0 * sigma))
    row = store.by_level(sampled.measure(make.family("calpha:size=8"), 0.2, 4)).loc[0.2]
    mse, error, exponent, effective = row[["mse", "mse_se", "exponent", "effective"]]
    each = 0.5 * 0.04 * np.arange(1, 5)
    assert mse == pytest.approx(0.6 + each.mean())
    assert error == pytest.approx(each.std(ddof=1) / 2)
    slope = [0.6 * math.exp(h) + each.mean() * math.exp(2 * h) for h in (-0.05, 0.05)]
    assert exponent == pytest.approx(math.log(slope[1] / slope[0]) / 0.1)
    assert effective == pytest.approx(5 * 10**2 / 30)


def test_rows_are_found_by_family_and_noise_level(monkeypatch):
    measured = []

    def measure(family, sigma, images):
        measured.append((family.spec, sigma, images))
        return store.make_rows(family.spec, sigma, {"mse": (7.0, 0.1), "effective": 9.0}, images=images, seed=0, rule=1)

    monkeypatch.setattr(sampled, "measure", measure)
    stored = float(TABLE["gmm"].index[0])
    sigmas = np.array([1.01 * stored, stored])
    found = sampled.mean_posterior_variance(make.family("gmm"), sigmas, [3, 4])
    assert found.mse.tolist() == [7.0, TABLE["gmm"].loc[stored, "mse"]]
    assert measured == [("gmm", 1.01 * stored, 3)]
    sampled.mean_posterior_variance(make.family("gmm:key=1"), sigmas[1:], [5])
    assert measured[1:] == [("gmm:key=1", stored, 5)]


def test_the_table_is_complete_and_orderly():
    trees = {"hierarchy", "hierarchy:rules=grammar", "hierarchy:depth=5", "hierarchy:depth=5,rules=grammar"}
    walks = {"levy", "levy:jumps=student", "levy:df=3,jumps=student", "levy:jumps=bernoulli-laplace"}
    assert set(TABLE) == {"gmm", "gmm:size=32", *walks, *trees}
    for spec, rows in TABLE.items():
        assert make.family(spec).spec == spec
        assert np.all(np.diff(rows["mse"]) > 0), spec
        assert make.family(spec).name != "levy" or len(rows) == 17  # what a run shows by default, in either unit


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(TABLE))
def test_stored_rows_agree_with_fresh_images(spec):
    """The stored mean, against squared errors of other images."""
    family = make.family(spec)
    optimum = make.denoiser("mmse", family)
    sigma = float(TABLE[spec].index[TABLE[spec].index > 0.3][0])
    row = TABLE[spec].loc[sigma]
    batch = family.sample(range(96), split="val")
    x = batch.images.double()
    y = scale_noise(x, unit_noise(batch).double(), sigma)
    squared = (optimum(y, sigma) - x).square().mean(dim=(1, 2, 3)).numpy()
    assert abs(z_score(squared - row["mse"], extra_error=float(row["mse_se"]))) < 3.5
    assert row["mse_se"] < 0.02 * row["mse"]
