"""References that are mean posterior variances: the stored table, and how a row is made."""

import json
import math

import numpy as np
import pytest
import torch

from gahb_bench import make
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.files import data_file
from gahb_bench.core.optimum import VarianceParts
from gahb_bench.families.calpha.optimum import CalphaOptimum
from gahb_bench.tables import sampled
from gahb_bench.verification.identities import z_score

TABLE = json.loads(data_file("reference", "sampled.json").read_text(encoding="utf-8"))


def test_a_row_is_a_mean_with_its_error_and_slope(monkeypatch):
    """Known answer: the sampled part is c sigma^2 for the first half of the pixels and 0 for the others."""

    def half(y, sigma):
        values = sigma[:, None] ** 2 * torch.ones(len(y), 10, dtype=torch.float64)
        values[:, 5:] = 0
        return values * (1 + torch.arange(len(y)).double()[:, None])

    monkeypatch.setattr(CalphaOptimum, "samples", VarianceParts(sampled=half, known=lambda sigma: 3.0 * sigma))
    mse, error, exponent, effective = sampled.measure(make.family("calpha:size=8"), 0.2, 4)
    each = 0.5 * 0.04 * np.arange(1, 5)
    assert mse == pytest.approx(0.6 + each.mean())
    assert error == pytest.approx(each.std(ddof=1) / 2)
    slope = [0.6 * math.exp(h) + each.mean() * math.exp(2 * h) for h in (-0.05, 0.05)]
    assert exponent == pytest.approx(math.log(slope[1] / slope[0]) / 0.1)
    assert effective == pytest.approx(5 * 10**2 / 30)


def test_rows_are_found_by_family_and_noise_level():
    row = TABLE["gmm"][0]
    found = sampled.stored("gmm", row["sigma"])
    assert found is not None
    assert found[0] == row["mse"]
    assert sampled.stored("gmm", 1.01 * row["sigma"]) is None
    assert sampled.stored("gmm:key=1", row["sigma"]) is None
    at = make.family("gmm").reference([row["sigma"]])
    assert at.mse[0] == row["mse"]


def test_the_table_is_complete_and_orderly():
    trees = {"hierarchy", "hierarchy:rules=grammar", "hierarchy:depth=5", "hierarchy:depth=5,rules=grammar"}
    assert set(TABLE) == {"gmm", "gmm:size=32", *trees}
    for spec, rows in TABLE.items():
        assert make.family(spec).spec == spec
        mse = [row["mse"] for row in rows]
        assert np.all(np.diff(mse) > 0), spec


@pytest.mark.slow
@pytest.mark.parametrize("spec", sorted(TABLE))
def test_stored_rows_agree_with_fresh_images(spec):
    """The stored mean, against squared errors of other images."""
    family = make.family(spec)
    optimum = make.denoiser("mmse", family)
    row = next(row for row in TABLE[spec] if row["sigma"] > 0.3)
    batch = family.sample(range(96), split="val")
    x = batch.images.double()
    y = scale_noise(x, unit_noise(batch).double(), row["sigma"])
    squared = (optimum(y, row["sigma"]) - x).square().mean(dim=(1, 2, 3)).numpy()
    assert abs(z_score(squared - row["mse"], extra_error=row["standard_error"])) < 3.5
    assert row["standard_error"] < 0.02 * row["mse"]
