"""The law of ``markov-contours`` and its exact oracle."""

import math

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.families.markov_contours import optimum as markov_contours
from gahb_bench.families.markov_contours.check import enumeration_checks, every_path, tiny_chain
from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.tables.interpolate import stored_curve


def law(**parameters: object) -> MarkovContours:
    return MarkovContours.from_parameters(parameters)


def oracle(family: MarkovContours) -> PosteriorMean:
    found = gb.denoiser("mmse", family=family)
    assert isinstance(found, PosteriorMean)
    return found


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_forward_backward_is_a_sum_over_all_paths(alpha: float) -> None:
    checks = enumeration_checks(law(alpha=alpha))
    assert len(checks) == 3
    for check in checks:
        assert check.passed, check


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_paths_are_drawn_from_the_enumerated_law(alpha: float) -> None:
    chain = tiny_chain(law(alpha=alpha))
    paths, prior = every_path(chain)
    assert float(prior.sum()) == pytest.approx(1.0)
    draws = 4000
    stream = np.random.default_rng(0)
    drawn = np.array([chain.draw(stream) for _ in range(draws)])
    assert drawn.min() >= 0
    assert drawn.max() < chain.positions
    for j in range(chain.columns):
        for other in (j, (j + 2) % chain.columns):  # one position, and two together
            cells = chain.positions * paths[:, j] + paths[:, other]
            expected = torch.zeros(chain.positions**2, dtype=torch.float64).index_add_(0, cells, prior).numpy()
            found = np.bincount(chain.positions * drawn[:, j] + drawn[:, other], minlength=chain.positions**2) / draws
            assert np.abs(found - expected).max() < 5 * math.sqrt(0.25 / draws)
            # a likely cell must be there: catches a law that is merely flat
            assert found[expected.argmax()] > 0.5 * expected.max()


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_latents_make_the_image(alpha: float) -> None:
    family = law(alpha=alpha, size=32, contrast=0.8)
    batch = family.sample(range(6))
    contour = batch.latents["contour"]
    rows = torch.arange(32, dtype=torch.float64)[:, None]
    mask = torch.special.ndtr((rows - contour[:, None, :]) / 0.5)[:, None]
    torch.testing.assert_close(batch.images.double(), 0.5 + 0.8 * (mask - 0.5), atol=1e-6, rtol=0)
    assert float(contour.min()) >= 4
    assert float(contour.max()) <= 27
    alone = family.sample([4])
    assert torch.equal(alone.images[0], batch.images[4])
    steps = contour.diff(dim=1) * family.chain.per_pixel
    torch.testing.assert_close(steps, steps.round(), atol=1e-9, rtol=0)
    bends = contour.diff(dim=1).diff(dim=1)
    assert float(bends.std()) == pytest.approx(math.sqrt(2) if alpha == 0.5 else 0.05, rel=0.15)


@pytest.mark.parametrize("sigma", [0.02, 0.2, 2.0])
@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_variance_along_is_second_order_tweedie(alpha: float, sigma: float) -> None:
    """sigma^2 v'Jv = Var(<v, x> | y), J by central differences, the same v on both sides."""
    family = law(alpha=alpha, size=16)
    mmse = oracle(family)
    y = gb.add_noise(family.sample(range(3)), sigma).double()
    v = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-3 * sigma
    jv = (mmse(y + step * v, sigma) - mmse(y - step * v, sigma)) / (2 * step)
    along = (v * mmse.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(sigma**2 * (v * jv).sum((1, 2, 3)), along, rtol=1e-4, atol=0)


def test_variance_is_the_sum_over_directions() -> None:
    family = law(size=8)
    mmse = oracle(family)
    y = gb.add_noise(family.sample([0]), 0.2)
    every = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    levels = torch.full((64,), 0.2, dtype=torch.float64)
    total = (every * mmse.covariance(y.double().expand(64, -1, -1, -1), levels, every)).sum()
    assert float(total) / 64 == pytest.approx(float(mmse.posterior(y.double(), 0.2).variance[0]), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3, 1.0, 3.0])
def test_errors_have_the_posterior_variance(sigma: float) -> None:
    """E|x - x_hat|^2 = E[posterior variance], and <x - x_hat, x_hat - 1/2> = 0, for alpha = 3/2."""
    family = law(alpha=1.5, size=32)
    batch = family.sample(range(60))
    mmse = oracle(family)
    posterior = mmse.posterior(gb.add_noise(batch, sigma).double(), sigma)
    error = batch.images.double() - posterior.mean
    for difference in (
        error.square().mean((1, 2, 3)) - posterior.variance,
        (error * (posterior.mean - 0.5)).mean((1, 2, 3)),
    ):
        z = float(difference.mean() / difference.std() * math.sqrt(60))
        assert abs(z) < 3, z


# measured by another program on 32 images: sigma, MMSE at contrast 1, alpha = 1/2
MEASURED = [(0.05, 3.89e-5), (0.1, 1.54e-4), (0.3, 1.17e-3), (1.0, 5.37e-3), (3.0, 1.49e-2), (8.0, 3.58e-2)]


def test_stored_values_agree_with_another_program() -> None:
    rows = stored_curve("markov-contours:contrast=1", rule=markov_contours.RULE)
    assert rows is not None
    for sigma, measured in MEASURED:
        stored, error, images = rows.loc[sigma, ["mse", "mse_se", "images"]]
        theirs = error * math.sqrt(images / 32)
        assert abs(stored - measured) < 3 * math.hypot(error, theirs) + 0.005 * measured, sigma


@pytest.mark.parametrize(("alpha", "sigma"), [(0.5, 0.05), (0.5, 0.3), (1.5, 0.2)])
def test_reference_agrees_with_fresh_images(alpha: float, sigma: float) -> None:
    """On a level or between two, the table agrees with posterior variances of other images."""
    family = law(alpha=alpha)
    count = 24 if alpha == 0.5 else 8
    reference = family.reference([sigma])
    assert reference.kind == "exact"
    variance = oracle(family).posterior(gb.add_noise(family.sample(range(count)), sigma).double(), sigma).variance
    spread = math.hypot(float(variance.std()) / math.sqrt(count), float(reference.standard_error[0]))
    assert abs(float(variance.mean()) - float(reference.mse[0])) < 4 * spread
    assert spread < 0.1 * float(reference.mse[0])


def test_reference_where_no_table_is_stored() -> None:
    family = law(size=16, contrast=0.25)
    reference = family.reference([0.05, 0.1, 0.2])
    assert reference.kind == "exact"
    assert bool((reference.standard_error > 0).all())
    assert bool((np.diff(reference.mse) > 0).all())
    doubled = law(size=16, contrast=0.5).reference([0.1, 0.2, 0.4])
    np.testing.assert_allclose(doubled.mse, 4 * reference.mse, rtol=1e-12)


def test_a_level_outside_the_table_leaves_the_others_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    family = law()
    alone = family.reference([0.1])
    assert np.isfinite(alone.exponent).all()  # that of the stored curve, whatever else is asked
    both = family.reference([4.5, 0.1, 0.1])
    for key in ("mse", "standard_error", "exponent"):
        np.testing.assert_allclose(getattr(both, key)[1:], [getattr(alone, key)[0]] * 2, rtol=1e-12)
    assert both.mse[0] > both.mse[1]
    assert "32 to 512 images" in both.note
    assert "over 512 images" in alone.note
    monkeypatch.setattr(markov_contours, "posterior_variances", None)  # what was computed was kept
    assert family.reference([4.5]).mse[0] == both.mse[0]


def test_exponents_on_demand_in_any_order() -> None:
    family = law(size=16)
    orderly = family.reference([0.1, 0.2, 0.4]).exponent
    assert np.isfinite(orderly).all()
    np.testing.assert_allclose(family.reference([0.4, 0.1, 0.2, 0.1]).exponent, orderly[[2, 0, 1, 0]], rtol=1e-12)


def test_limits_of_the_noise() -> None:
    family = law(size=16)
    mmse = oracle(family)
    x = family.sample(range(400)).images.double()
    far = mmse.posterior(x[:20], 1e4)
    prior = float(x.var(dim=0).mean())
    assert float(far.variance.mean()) == pytest.approx(prior, rel=0.1)
    near = mmse.posterior(x[:20], 1e-3)
    torch.testing.assert_close(near.mean, x[:20], atol=1e-6, rtol=0)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match=r"alpha=1 is not allowed: it should be 0\.5"):
        gb.family("markov-contours:alpha=1")
    with pytest.raises(UsageError, match="too wide"):
        gb.family("markov-contours:edge=4,size=16")
    with pytest.raises(UsageError, match="not of 'calpha"):
        markov_contours.Mmse.from_parameters({}).bind(gb.family("calpha"))
