import json
from pathlib import Path

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.verification.verify import verify

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "calpha.json").read_text())
SIGMAS = 10.0 ** np.arange(-2.5, 0.51, 0.25)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: f"{r['size']}-{r['alpha']}-{r['sigma']}")
def test_reference_equals_dense_linear_algebra(row):
    family = gb.family(f"calpha:size={row['size']},alpha={row['alpha']},std={row['std']}")
    assert family.reference(row["sigma"]).mse[0] == pytest.approx(row["mmse"], rel=1e-8)


@pytest.mark.parametrize(
    ("alpha", "size", "low", "high"),
    [(1, 64, 0.28, 6.3), (1, 128, 0.14, 12.6), (2, 64, 0.0045, 3.2), (2, 128, 0.0011, 6.3)],
)
def test_local_exponent_is_the_asymptotic_one_over_the_known_range(alpha, size, low, high):
    """Ranges of sigma / std within 0.05 of 2 alpha / (alpha + 1); the mean mode shifts them by one mode in N^2."""
    family = gb.family(f"calpha:alpha={alpha},size={size}")
    inside = np.geomspace(low * 1.1, high / 1.3, 20) * family.std
    reference = family.reference(inside)
    assert reference.asymptotic_exponent == pytest.approx(2 * alpha / (alpha + 1))
    assert np.abs(reference.exponent - reference.asymptotic_exponent).max() < 0.06
    outside = family.reference([low * family.std / 2]).exponent
    assert abs(outside[0] - reference.asymptotic_exponent) > 0.05


def test_exponent_is_the_slope_of_the_curve():
    sigma = np.geomspace(0.003, 3, 400)
    reference = gb.family("calpha:size=32").reference(sigma)
    slope = np.gradient(np.log(reference.mse), np.log(sigma))
    assert np.abs(slope - reference.exponent)[2:-2].max() < 1e-4


@pytest.mark.parametrize("law", ["gaussian", "uniform"])
@pytest.mark.parametrize("size", [16, 17])
def test_sample_spectrum_is_the_stated_one(law, size):
    family = gb.family(f"calpha:size={size},law={law}")
    count = 4000
    x = family.sample(range(count)).images[:, 0].double().numpy() - family.mean
    periodogram = np.abs(np.fft.fft2(x, norm="ortho")) ** 2
    ratio = periodogram.mean(axis=0) / family.spectrum
    error = periodogram.std(axis=0) / np.sqrt(count) / family.spectrum
    assert np.abs((ratio - 1) / error).max() < 5
    assert abs(ratio.mean() - 1) < 4 * np.sqrt((error**2).sum()) / ratio.size * 2**0.5


def test_uniform_law_is_uniform_noise_filtered():
    """Undoing the filter gives numbers of the uniform law: bounded by sqrt(3), kurtosis 9/5."""
    family = gb.family("calpha:size=16,law=uniform,alpha=1")
    x = family.sample(range(500)).images[:, 0].double().numpy() - family.mean
    white = np.fft.ifft2(np.fft.fft2(x) / np.sqrt(family.spectrum)).real
    assert np.abs(white).max() < 3**0.5 + 1e-2
    assert (white**4).mean() / (white**2).mean() ** 2 == pytest.approx(1.8, abs=0.02)


def test_uniform_law_claims_no_mmse():
    assert gb.family("calpha:law=uniform").reference(0.1).kind == "linear"
    with pytest.raises(UsageError, match="wiener"):
        gb.denoiser("mmse", "calpha:law=uniform")
    family = gb.family("calpha:law=uniform,size=16")
    wiener = gb.denoiser("wiener", family)
    batch = family.sample(range(400))
    squared = (wiener(gb.add_noise(batch, 0.1), 0.1) - batch.images).square().mean(dim=(1, 2, 3)).double().numpy()
    assert squared.mean() == pytest.approx(family.reference(0.1).mse[0], abs=3.5 * squared.std() / 20)
    assert not isinstance(wiener, PosteriorMean), "the best linear denoiser has no posterior"


def test_wiener_is_the_mmse_of_the_gaussian_law():
    family = gb.family("calpha:size=16")
    y = gb.add_noise(family.sample(range(3)), 0.3)
    assert torch.equal(gb.denoiser("wiener", family)(y, 0.3), gb.denoiser("mmse", family)(y, 0.3))


def test_identities_hold():
    checks = list(verify("calpha:size=32", images=128))
    assert {check.identity[0] for check in checks} == {"1", "2", "3", "4", "5", "6", "7"}
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_identities_catch_an_optimum_that_is_three_percent_wrong(monkeypatch, scale):
    """The gain multiplied by 0.97 or 1.03: the identities must not hold."""
    from gahb_bench.families.calpha.optimum import Mmse

    exact = Mmse.moments
    monkeypatch.setattr(
        Mmse,
        "moments",
        lambda self, y, s: type(p := exact(self, y, s))(0.5 + scale * (p.mean - 0.5), scale * p.variance),
    )
    failed = {check.identity[0] for check in verify("calpha:size=32", images=128) if not check.passed}
    assert {"4", "6"} <= failed


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("alpha", [1, 2, 3])
def test_empirical_risk_is_the_closed_form_at_every_noise_level(alpha, size):
    """Within 3 standard errors, each at most 1 %."""
    family = gb.family(f"calpha:alpha={alpha},size={size}")
    oracle = gb.denoiser("mmse", family)
    reference = family.reference(SIGMAS)
    # At the largest noise level the risk of a few modes decides: as many images as the spread of the risk asks for.
    gains = family.spectrum[None] / (family.spectrum[None] + SIGMAS[:, None, None] ** 2)
    spread = np.sqrt(2 * (gains**2).sum(axis=(1, 2))) / gains.sum(axis=(1, 2))
    for index, sigma in enumerate(SIGMAS):
        count = int(np.ceil((spread[index] / 0.0085) ** 2)) + 50
        squared = []
        for start in range(0, count, 250):
            batch = family.sample(range(start, min(start + 250, count)), split="val")
            y = batch.images + float(sigma) * unit_noise(batch)
            squared.append((oracle(y, float(sigma)) - batch.images).double().square().mean(dim=(1, 2, 3)))
        values = torch.cat(squared).numpy() / reference.mse[index]
        error = values.std(ddof=1) / np.sqrt(count)
        assert error < 0.01
        assert abs(values.mean() - 1) < 3 * error


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1, 2, 3])
def test_fitted_exponent_agrees_with_the_finite_size_one(alpha):
    family = gb.family(f"calpha:alpha={alpha}")
    sigmas = SIGMAS[(SIGMAS > 0.0099) & (SIGMAS < 1.01)]
    table = gb.score(family, ["mmse", "wavelet:rule=bayes,shifts=all"], sigmas, images=256)
    fit = gb.exponent(table, family.spec, "mmse")
    assert (fit.low, fit.high) == pytest.approx((0.01, 1.0))
    assert fit.standard_error < 0.02
    assert abs(fit.value - fit.reference) < 3 * fit.standard_error
    assert fit.asymptotic == pytest.approx(2 * alpha / (alpha + 1))


def test_the_information_of_another_law_than_the_gaussian_is_not_known():
    assert gb.family("calpha:size=16").optimum.information(np.array([0.1])) > 0
    assert gb.family("calpha:law=uniform,size=16").optimum.information(np.array([0.1])) is None
