"""Images written by a tree: the law, and belief propagation against enumeration and against its identities."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit

import gahb_bench as gb
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.families.hierarchy import optimum as oracle
from gahb_bench.families.hierarchy.check import enumerate_posterior
from gahb_bench.families.hierarchy.law import Hierarchy, alias_tables
from gahb_bench.verification.identities import z_score

RULES = ["independent", "grammar"]


def make(rules, **parameters):
    return Hierarchy.from_parameters({"rules": rules, **parameters})


def small(rules):
    return make(rules, depth=4, symbols=5, productions=7)


def optimum(family):
    return oracle.Mmse.from_parameters({}).bind(family)


def noisy(family, sigma, images):
    batch = family.sample(range(images), split="val")
    x = batch.images.double()
    return batch, x, scale_noise(x, unit_noise(batch).double(), sigma)


@pytest.mark.parametrize("rules", RULES)
def test_images_do_not_depend_on_the_cut(rules):
    family = small(rules)
    whole = family.sample(range(6))
    parts = [family.sample([i]) for i in range(6)]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    for name, value in whole.latents.items():
        assert torch.equal(value, torch.cat([part.latents[name] for part in parts]))
    assert torch.equal(whole.images[:, 0], torch.from_numpy(family.intensities).float()[whole.latents["level4"]])


def test_alias_tables_hold_the_law():
    family = make("independent", depth=2, symbols=7)
    keep, alias = alias_tables(family.transitions)
    mass = keep / 7
    for b in range(7):
        np.add.at(mass, (*np.indices(alias.shape[:3]), alias[..., b]), (1 - keep[..., b]) / 7)
    np.testing.assert_allclose(mass, family.transitions, rtol=0, atol=1e-15)
    np.testing.assert_allclose(family.transitions.sum(axis=-1), 1, rtol=1e-12)


def test_children_follow_the_transitions():
    family = make("independent", depth=3, symbols=3, concentration=1.0)
    latents = family.sample(range(2000), split="val").latents
    assert np.bincount(latents["level0"].ravel().numpy()) == pytest.approx(2000 / 3, abs=4 * np.sqrt(2000 * 2 / 9))
    for level in range(3):
        parents, children = latents[f"level{level}"], latents[f"level{level + 1}"]
        for p in range(4):
            child = children[:, p // 2 :: 2, p % 2 :: 2]
            for a in range(3):
                found = child[parents == a]
                share = np.bincount(found.numpy(), minlength=3) / len(found)
                law = family.transitions[level, p, a]
                assert (np.abs(share - law) < 4.5 * np.sqrt(law * (1 - law) / len(found))).all()


def test_tuples_are_distinct_and_equally_likely():
    family = make("grammar", depth=3, symbols=3, productions=4)
    codes = family.tuples.reshape(3, 12, 4) @ 3 ** np.arange(4)
    assert all(len(set(level)) == 12 for level in codes.tolist())
    latents = family.sample(range(2000), split="val").latents
    parents, children = latents["level2"], latents["level3"]
    patches = children.reshape(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 4, 4, 4)
    for a in range(3):
        written = patches[parents == a]
        shares = [(written == torch.from_numpy(tuple_)).all(dim=-1).double().mean() for tuple_ in family.tuples[2, a]]
        assert sum(shares) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(shares, 0.25, atol=4.5 * np.sqrt(0.1875 / len(written)))


def test_grammar_images_are_valid_and_random_ones_are_not():
    family = make("grammar")
    images = family.sample(range(8)).images.numpy()
    assert (family.validity(images) == 1).all()
    random = rng.generator("test-hierarchy").random(images.shape)
    assert family.validity(random).max() < 0.05
    spoiled = images.copy()
    spoiled[:, 0, 0, 0] = 1 - spoiled[:, 0, 0, 0]
    assert (family.validity(spoiled)[:, -1] >= 1 - 1 / 1024).all()  # at most one patch of pixels is wrong
    assert (family.validity(spoiled) < 1).any(axis=1).all()
    with pytest.raises(UsageError, match="every image"):
        make("independent").validity(images)


@pytest.mark.slow
@pytest.mark.parametrize(("rules", "sigma"), [("independent", 0.2), ("grammar", 0.4)])
def test_sum_product_is_enumeration(rules, sigma):
    """Depth 2, q = 3: all 43 million images."""
    family = make(rules, depth=2, symbols=3, productions=4, concentration=0.7)
    _, _, y = noisy(family, sigma, 1)
    v = unit_noise(family.sample([7], split="val")).double()
    exact = enumerate_posterior(family, y, sigma, v)
    assert float(exact.variance[0]) > 1e-3  # the case is not trivial
    assert float(exact.root.max()) < 1 - 1e-6
    posterior = optimum(family).posterior(y, sigma)
    levels = torch.full((1,), sigma, dtype=torch.float64)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(posterior.mean, exact.mean, **close)
    torch.testing.assert_close(posterior.variance, exact.variance, **close)
    torch.testing.assert_close(optimum(family).variance_along(y, levels, v), exact.variance_along, **close)
    along = (v * optimum(family).covariance(y, sigma, v)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(along, exact.variance_along, **close)
    torch.testing.assert_close(optimum(family).latent_posterior(y, sigma)["level0"][:, 0, 0], exact.root, **close)


@pytest.mark.parametrize("rules", RULES)
def test_independent_route(rules):
    checks = make(rules).optimum.checks()
    assert len(checks) == 20
    assert all(check.passed for check in checks), checks


@pytest.mark.parametrize("rules", RULES)
def test_identities(rules):
    family = small(rules)
    mmse = optimum(family)
    v = torch.from_numpy(rng.generator("test-hierarchy-v").standard_normal((200, 1, 16, 16)))
    for sigma in (0.1, 0.25, 1.0):
        _, x, y = noisy(family, sigma, 200)
        posterior = mmse.posterior(y, sigma)
        squared = (posterior.mean - x).square().mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(squared - posterior.variance.numpy())) < 3.5
        inner = ((x - posterior.mean) * (posterior.mean - x.mean())).mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(inner)) < 3.5
        step = 1e-4 * sigma
        slope = (mmse(y + step * v, sigma) - mmse(y - step * v, sigma)) / (2 * step)
        right = (v * mmse.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
        left = sigma**2 * (v * slope).sum(dim=(1, 2, 3))
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-9 * sigma**2)
        for rival in ("wavelet", "wavelet:rule=bayes"):
            other = (gb.denoiser(rival)(y, sigma) - x).square().mean(dim=(1, 2, 3)).numpy()
            assert z_score(other - squared) > 3


@pytest.mark.parametrize("rules", RULES)
def test_posteriors_of_all_levels_are_calibrated(rules):
    """The most probable symbol is right as often as its probability says, at every level."""
    table = oracle.level_accuracy(small(rules), [0.1, 0.3, 1.0], images=300)
    assert list(table["level"].unique()) == [0, 1, 2, 3, 4]
    nodes = 300 * 4.0 ** table["level"]
    spread = np.sqrt(table["accuracy"] * (1 - table["accuracy"]) / nodes * 4 ** table["level"])  # one image: one draw
    assert (np.abs(table["empirical"] - table["accuracy"]) <= 3.5 * spread + 1e-9).all()
    assert (table["accuracy"] >= table["chance"] - 1e-9).all()
    root = table[table["level"] == 0]["accuracy"].to_numpy()
    assert root[0] > root[1] > root[2] >= 0.2


def test_grammar_keeps_its_class_then_loses_it_all_at_once():
    """The random hierarchy model has a sharp threshold in noise: below it the class is certain, above it is lost."""
    table = oracle.level_accuracy(make("grammar", depth=5), [0.1, 0.3], images=12)
    below, above = table[table["level"] == 0]["accuracy"].to_numpy()
    assert below > 0.999
    assert above < 0.1


@pytest.mark.parametrize("rules", RULES)
def test_reference_agrees_with_the_squared_error(rules):
    family = small(rules)
    sigmas = np.array([0.15, 0.4, 1.5])
    reference = family.reference(sigmas)
    assert reference.kind == "exact"
    for sigma, mse, error in zip(sigmas, reference.mse, reference.standard_error, strict=True):
        _, x, y = noisy(family, float(sigma), 300)
        squared = (optimum(family)(y, float(sigma)) - x).square().mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(squared - mse, extra_error=float(error))) < 3.5
    slope = np.log(family.reference(sigmas * 1.02).mse / family.reference(sigmas / 1.02).mse) / (2 * np.log(1.02))
    np.testing.assert_allclose(reference.exponent, slope, rtol=0.02, atol=0.01)
    assert (reference.mse < oracle.pixelwise_risk(family, sigmas)).all()


@pytest.mark.parametrize("rules", RULES)
def test_rare_errors_are_declared(rules):
    family = make(rules, depth=3)
    reference = family.reference([0.004, 0.1])
    assert np.isnan(reference.exponent[0])
    assert "too rare" in reference.note
    assert reference.kind == "bracket"
    assert reference.known.tolist() == [False, True]
    assert reference.attained_by == ("mmse",)
    bound = oracle.pixelwise_risk(family, np.array([0.004]))[0]
    assert reference.upper[0] == pytest.approx(bound, rel=1e-9, abs=0)
    assert 0 < reference.lower[0] == reference.mse[0] / 20 < reference.upper[0]
    assert np.isfinite(reference.exponent[1])
    assert family.reference([0.1]).kind == "exact"
    joined = family.reference([0.1]).join_levels(family.reference([0.004]))
    assert joined.kind == "bracket"
    assert joined.known.tolist() == [False, True]


def test_regrets_are_direct_where_the_optimum_is_known_and_only_there():
    family = make("grammar", depth=4, symbols=6, productions=3)
    sigmas = [0.02, 0.2]
    assert family.reference(sigmas).known.tolist() == [False, True]
    curves = gb.curves(gb.score(family, ["wavelet", "identity", "ideal"], sigmas, images=8))
    kinds = curves.pivot(index="denoiser", columns="sigma", values="regret_kind")
    assert (kinds[0.02] != "direct").all()
    assert kinds.loc[["wavelet", "identity"], 0.2].tolist() == ["direct", "direct"]


def test_rare_errors_are_declared_in_stored_rows():
    for spec in ("hierarchy", "hierarchy:rules=grammar", "hierarchy:depth=5,rules=grammar"):
        reference = gb.family(spec).reference([10**-2.5, 10**-2.25, 0.1])
        assert np.isnan(reference.exponent[:2]).all()
        assert (reference.upper[:2] > 1e3 * reference.mse[:2]).all()
        assert reference.known.tolist() == [False, False, True]
        assert reference.standard_error[2] < 0.01 * reference.mse[2]


def test_pixelwise_risk_is_the_optimum_where_pixels_are_independent():
    """Two equally likely intensities in every pixel: the posterior mean is a logistic function of the pixel."""
    family = make("grammar", depth=1, symbols=2, productions=8)
    sigmas = np.array([0.05, 0.2, 0.7, 3.0])

    def risk(sigma):
        def integrand(z):
            odds = (0.5 + sigma * z) / sigma**2
            return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * expit(odds) * expit(-odds)

        return quad(integrand, -12, 12, points=[-0.5 / sigma], epsabs=0, epsrel=1e-11, limit=200)[0]

    exact = [risk(sigma) for sigma in sigmas]
    np.testing.assert_allclose(oracle.pixelwise_risk(family, sigmas)[1:], exact[1:], rtol=1e-8)
    assert oracle.pixelwise_risk(family, sigmas)[0] < 1e-20


def test_pixelwise_risk_at_tiny_noise_needs_no_memory():
    """Its grid in z would have 5e6 points at sigma = 1e-6, times 64 intensities twice: 200 GB."""
    family = make("independent", depth=3, symbols=64)
    risks = oracle.pixelwise_risk(family, np.array([1e-6, 1e-5, 2.15e-4, 1e-3]))
    assert risks[:2].tolist() == [0.0, 0.0]
    assert 0 < risks[2] < 1e-300
    assert 0 < risks[3] < 1e-18


def test_pixelwise_risk_is_the_sum_of_pairs_where_intensities_are_far_apart():
    """Two equally likely intensities at distance 1: risk ~ sqrt(pi/2) s exp(-1/8s^2) / 2 (Laplace's method)."""
    family = make("grammar", depth=1, symbols=2, productions=8)
    for sigma in (0.02, 0.03):
        found = oracle.pixelwise_risk(family, np.array([sigma]))[0]
        expected = np.sqrt(np.pi / 2) * sigma * np.exp(-1 / (8 * sigma**2)) / 2
        assert found == pytest.approx(expected, rel=0.01, abs=0)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("sigma", [1e-3, 1e-2, 100.0])
def test_extreme_noise_levels(rules, sigma):
    family = make(rules, depth=5)
    batch, x, y = noisy(family, sigma, 4)
    posterior = optimum(family).posterior(y, sigma)
    assert posterior.mean.isfinite().all()
    assert (posterior.variance >= 0).all()
    along = (torch.ones_like(y) * optimum(family).covariance(y, sigma, torch.ones_like(y))).sum(dim=(1, 2, 3))
    assert along.isfinite().all()
    for law in optimum(family).latent_posterior(y, sigma).values():
        torch.testing.assert_close(law.sum(dim=-1), torch.ones(law.shape[:-1], dtype=torch.float64), rtol=0, atol=1e-9)
    if sigma == 1e-3:
        assert (posterior.mean - x).abs().max() < 1e-100
        assert optimum(family).latent_posterior(y, sigma)["level5"].argmax(dim=-1).equal(batch.latents["level5"])
    if sigma == 100.0:
        assert posterior.variance.mean() == pytest.approx(float(x.var()), rel=0.1)
        assert (posterior.mean - posterior.mean.mean(dim=0)).abs().max() < 0.01


def test_tiles_do_not_change_the_result(monkeypatch):
    family = small("grammar")
    _, _, y = noisy(family, 0.2, 5)
    whole = optimum(family)(y, 0.2)
    monkeypatch.setattr("gahb_bench.families.hierarchy.oracles._TILE", 1)
    torch.testing.assert_close(optimum(family)(y, 0.2), whole, rtol=0, atol=1e-13)


def test_what_is_not_allowed():
    for text, problem in (
        ("rules=grammar,symbols=2,productions=9", r"at most 2\^3 = 8"),
        ("depth=8", "less than or equal to 7"),
        ("rules=random", "grammar"),
    ):
        with pytest.raises(UsageError, match=problem):
            gb.family(f"hierarchy:{text}")
