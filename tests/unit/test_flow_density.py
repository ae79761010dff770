"""The density that a denoiser's probability flow gives, against densities and divergences in closed form."""

from typing import Any

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.geometry import flow_log_density
from gahb_bench.scoring.bits import excess_bits

LAW: Any = gb.family("calpha:size=8")
TRUTH: Any = gb.denoiser("mmse", family=LAW)
OTHER: Any = gb.family("calpha:alpha=1,size=8")
WRONG: Any = gb.denoiser("mmse", family=OTHER)
LOW, HIGH = 0.05, 10.0


def noisy(count, sigma=LOW):
    return gb.add_noise(LAW.sample(range(count)), sigma).double()


def test_of_the_posterior_mean_it_is_the_density_of_the_law():
    y = noisy(4)
    found, exact = flow_log_density(TRUTH, y, LOW, top=HIGH, end=TRUTH.log_density), TRUTH.log_density(y, LOW)
    assert float((found.value - exact).abs().max()) < 0.01
    assert float(found.step_error.max()) < 0.1
    assert (found.standard_error == 0).all()


def test_the_order_of_convergence_is_four():
    y = noisy(2)
    errors = []
    for steps in (16, 32, 64):
        found = flow_log_density(TRUTH, y, LOW, top=HIGH, end=TRUTH.log_density, steps=steps)
        errors.append(float((found.value - TRUTH.log_density(y, LOW)).abs().max()))
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 4, atol=0.35)


def test_from_the_noise_that_samplers_start_from_it_is_nearly_that():
    """What is off is the law of the start: less, the higher it is."""
    y = noisy(3)
    off = [
        float((flow_log_density(TRUTH, y, LOW, top=top, steps=48).value - TRUTH.log_density(y, LOW)).abs().max())
        for top in (3.0, 100.0)
    ]
    assert off[1] < 0.01 < off[0]


def test_probes_are_right_within_their_stated_error():
    y = noisy(6)
    exact = TRUTH.log_density(y, LOW)
    few = flow_log_density(TRUTH, y, LOW, top=HIGH, end=TRUTH.log_density, probes=8, steps=16)
    many = flow_log_density(TRUTH, y, LOW, top=HIGH, end=TRUTH.log_density, probes=128, steps=16)
    for found in (few, many):
        assert (((found.value - exact).abs() - 0.02) < 4 * found.standard_error).all()
    assert float((many.standard_error / few.standard_error).mean()) == pytest.approx(0.25, rel=0.4)
    again = flow_log_density(TRUTH, y[2:3], LOW, top=HIGH, end=TRUTH.log_density, probes=8, steps=16, seed=1)
    assert float((again.value - few.value[2:3]).abs()) > 1e-6, "the seed decides the probes"


def test_the_measured_divergence_of_a_wrong_filter_is_its_excess_in_nats():
    """KL(p|q) at the least level, less that at the greatest, is the integral of the excess: Verdu's equality.

    The wrong filter is the posterior mean of another law q. Its density comes from its flow, that of the truth from its
    closed form, the excess from the same images; beside them the divergence in closed form.
    """
    count, levels = 32, np.geomspace(LOW, HIGH, 25)
    batch = LAW.sample(range(count))
    y = gb.add_noise(batch, LOW).double()
    flow = flow_log_density(WRONG, y, LOW, top=HIGH, end=WRONG.log_density)
    gap = (TRUTH.log_density(y, LOW) - flow.value).numpy()
    excess = []
    for level in levels:
        at = gb.add_noise(batch, float(level)).double()
        excess.append((WRONG(at, level) - TRUTH(at, level)).square().mean(dim=(1, 2, 3)).numpy())
    bits = excess_bits(levels, np.array(excess))
    nats, width = (64 * np.log(2) * value for value in (bits.value, (bits.high - bits.low) / 2))

    def divergence(sigma):
        ratio = (LAW.spectrum + sigma**2) / (OTHER.spectrum + sigma**2)
        return float((ratio - 1 - np.log(ratio)).sum() / 2)

    error = gap.std(ddof=1) / np.sqrt(count)
    assert gap.mean() > 10 * error, "the wrong filter is told from the right one"
    assert abs(gap.mean() - divergence(LOW)) < 4 * error + float(flow.step_error.max())
    assert nats == pytest.approx(divergence(LOW) - divergence(HIGH), rel=0.1)
    assert gap.mean() - 3 * error < nats + width + divergence(HIGH), "a bound, as for any denoiser"
    assert gap.mean() == pytest.approx(nats + divergence(HIGH), abs=4 * error + width), "and close, as for this one"


def test_float32_images_and_automatic_differentiation():
    y = noisy(2).float()
    found = flow_log_density(gb.denoiser("wiener", family=LAW), y, LOW, top=HIGH, end=TRUTH.log_density)
    assert found.value.dtype == torch.float64
    torch.testing.assert_close(found.value, TRUTH.log_density(y, LOW), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0.01}, "is not below top"),
        ({"steps": 3}, "even number"),
        ({"probes": 1}, "at least 2"),
        ({"top": -1.0}, "sigma=-1 is not allowed"),
    ],
)
def test_what_is_not_allowed(options, message):
    with pytest.raises(UsageError, match=message):
        flow_log_density(TRUTH, noisy(1), LOW, **options)


class Jumpy(Denoiser):
    """It states that it has no derivative."""

    name = "jumpy"

    @property
    def derivative(self):
        return "none"

    def estimate(self, y, sigma):
        return y.round()


def test_a_denoiser_without_a_derivative_is_refused():
    with pytest.raises(UsageError, match="no derivative"):
        flow_log_density(Jumpy(), noisy(1), LOW)
