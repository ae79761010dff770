"""The planted bracket: against an exact posterior, and as stored."""

import math
from functools import lru_cache

import numpy as np
import pytest

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.families.calpha_contours.bracket import planted_bracket
from gahb_bench.families.calpha_contours.check import CyclicWalkContours, cyclic_walk_variances
from gahb_bench.families.calpha_contours.compute import RULE, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.model import contour_law
from gahb_bench.families.calpha_contours.reference import fitted_exponents
from gahb_bench.tables.interpolate import between_levels, stored_curve

TABLES = [
    (alpha, background, size)
    for size in (32, 64, 80)
    for alpha in (1.0, 2.0, 3.0)
    for background in ("constant", "gaussian")
]
FEWEST = {(32, "constant"): 48, (80, "gaussian"): 32, (80, "constant"): 16}  # images a level; else 64
ALPHAS = (1.0, 2.0, 3.0)
BACKGROUNDS = ("constant", "gaussian")


def law(**parameters: object) -> CalphaContours:
    return CalphaContours.from_parameters(parameters)


@lru_cache(maxsize=8)
def table(alpha: float, background: str, size: int = 64) -> dict[str, np.ndarray]:
    rows = stored_curve(unit_contrast(law(alpha=alpha, background=background, size=size)).spec, rule=RULE)
    assert rows is not None
    assert len(rows) >= 15, f"no whole table is stored for alpha={alpha}, {background}, {size}"
    return {"level": rows.index.to_numpy(), **{str(key): rows[key].to_numpy() for key in rows}}


def z(values: np.ndarray) -> float:
    return float(values.mean() / values.std(ddof=1) * math.sqrt(len(values)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sigma", [pytest.param(0.3, marks=pytest.mark.long), 1.0, pytest.param(2.0, marks=pytest.mark.long)]
)
def test_bracket_contains_an_exact_mmse(sigma: float) -> None:
    """Contours that are closed random walks: the bracket against products of transfer matrices, image by image."""
    family = CyclicWalkContours.from_parameters({"size": 16, "contrast": 1.0, "background": "constant"})
    exact = cyclic_walk_variances(family, sigma, range(40))
    bracket = planted_bracket(family, sigma, range(40))
    assert z(bracket.lower - exact) < 3
    assert z(bracket.upper - exact) > -3
    assert z(bracket.upper_run - exact) > -3
    for ends in (bracket.lower, bracket.upper):  # and it is tight: not a bracket that is merely wide
        assert float(ends.mean()) == pytest.approx(float(exact.mean()), rel=0.2)
    assert float(bracket.acceptance.mean()) > 0.8


def test_a_chain_that_does_not_mix_keeps_a_true_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains with steps of a thousandth hardly move: lower falls far below the MMSE, upper stays about it or above."""
    family = CyclicWalkContours.from_parameters({"size": 16, "contrast": 1.0, "background": "constant"})
    exact = cyclic_walk_variances(family, 1.0, range(12)).mean()
    monkeypatch.setattr("gahb_bench.families.calpha_contours.mcmc._STEP", 1e-3)
    monkeypatch.setattr("gahb_bench.families.calpha_contours.mcmc._PATH", 5e-3)
    stuck = planted_bracket(family, 1.0, range(12), sweeps=9)
    assert float(stuck.lower.mean()) < 0.2 * exact
    assert float(stuck.upper.mean()) > exact - 3 * stuck.upper.std(ddof=1) / np.sqrt(12)


def test_bracket_is_reproducible_and_does_not_depend_on_the_cut() -> None:
    family = law(size=16)
    together = planted_bracket(family, 0.1, range(5), sweeps=9)
    apart = planted_bracket(family, 0.1, [4], sweeps=9)
    assert together.lower[4] == pytest.approx(apart.lower[0], rel=0.05)
    assert np.array_equal(together.lower, planted_bracket(family, 0.1, range(5), sweeps=9).lower)
    assert (together.gap == together.upper - together.lower).all()


@pytest.mark.parametrize(("alpha", "background", "size"), TABLES)
def test_stored_bracket_is_consistent(alpha: float, background: str, size: int) -> None:
    stored = table(alpha, background, size)
    level = stored["level"]
    assert ((level >= 0.0299) & (level <= 4.001)).sum() >= 10
    assert level[0] < 0.0064
    assert level[-1] > 6.3
    assert stored["images"].min() >= FEWEST.get((size, background), 64)
    assert stored["acceptance"].min() > 0.65
    error = np.hypot(stored["lower_se"], stored["upper_se"])
    assert (stored["lower"] <= stored["upper"] + 3 * error).all()
    assert (stored["gap"] > -3 * stored["gap_se"]).all()  # the same images: sharper by an order of magnitude
    assert (stored["upper"] <= stored["upper_run"]).all()
    assert (stored["lower_se"] < (0.07 if size == 80 else 0.06) * stored["lower"]).all()
    assert (np.abs(stored["gap"]) < 0.05 * stored["upper"] + 3 * stored["gap_se"]).all()
    assert (np.diff(stored["upper"]) > 0).all()
    if background == "gaussian":
        genie_error = np.hypot(stored["genie_se"], stored["lower_se"])
        assert (stored["genie"] <= stored["lower"] + 3 * genie_error).all()
        assert (stored["genie"] > 0.2 * stored["lower"]).all()


@pytest.mark.parametrize(("alpha", "background", "size"), TABLES)
def test_stored_bracket_is_found_at_the_default_levels(alpha: float, background: str, size: int) -> None:
    reference = law(alpha=alpha, background=background, size=size).reference(np.array(DEFAULT_SIGMAS))
    assert reference.kind == "bracket"
    assert len(reference.sigma) == 13
    assert np.isfinite(reference.mse).all()
    stored = table(alpha, background, size)
    places = [int(np.abs(stored["level"] / (2 * sigma) - 1).argmin()) for sigma in reference.sigma]
    np.testing.assert_allclose(stored["level"][places], 2 * reference.sigma, rtol=1e-9)  # on levels, none between
    ends = np.sort([stored["lower"][places], stored["upper"][places]], axis=0) / 4
    np.testing.assert_allclose([reference.lower, reference.upper], ends, rtol=1e-6)


@pytest.mark.parametrize(("alpha", "background", "size"), TABLES)
def test_interpolation_across_a_left_out_level(alpha: float, background: str, size: int) -> None:
    """Each inner level from the others, twice as far apart: within 3 combined errors, all but 1 in 20, and 5 %."""
    stored = table(alpha, background, size)
    levels = stored["level"]
    z, relative = [], []
    for key in ("lower", "genie") if background == "gaussian" else ("lower",):
        for i in range(1, len(levels) - 1):
            rest = np.arange(len(levels)) != i
            value, error, _ = between_levels(levels[rest], stored[key][rest], stored[f"{key}_se"][rest], levels[[i]])
            z.append((value[0] - stored[key][i]) / math.hypot(error[0], stored[f"{key}_se"][i]))
            relative.append(value[0] / stored[key][i] - 1)
    assert np.mean(np.abs(z) > 3) <= 0.05
    assert np.median(np.abs(relative)) < 0.02
    assert np.abs(relative).max() < 0.1


# measured by another program at contrast 1, alpha = 2: sigma, lower, upper, relative standard error
MEASURED = {
    "constant": [
        (0.05, 1.88e-5, 1.95e-5, 0.04),
        (0.1, 5.72e-5, 5.72e-5, 0.04),
        (0.2, 1.71e-4, 1.74e-4, 0.04),
        (0.5, 7.5e-4, 7.4e-4, 0.04),
        (1.0, 2.43e-3, 2.28e-3, 0.05),
        (2.0, 7.5e-3, 7.9e-3, 0.05),
    ],
    "gaussian": [(0.1, 2.45e-4, 2.50e-4, 0.04), (1.2, 8.7e-3, 9.2e-3, 0.05)],
}


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_stored_bracket_agrees_with_another_program(background: str) -> None:
    stored = table(2.0, background)
    for sigma, lower, upper, relative in MEASURED[background]:
        row = int(np.argmin(np.abs(stored["level"] - sigma)))
        assert stored["level"][row] == pytest.approx(sigma)
        for key, measured in (("lower", lower), ("upper", upper)):
            assert abs(stored[key][row] - measured) < 3 * math.hypot(stored[f"{key}_se"][row], relative * measured)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_law_of_small_noise(alpha: float) -> None:
    """Constant backgrounds: the self-consistent law is within 3 % of the MMSE for sigma/contrast <= 0.2."""
    stored = table(alpha, "constant")
    small = stored["level"] <= 0.2001
    found = contour_law(unit_contrast(law(alpha=alpha, background="constant")), stored["level"][small])
    middle = np.sqrt(stored["lower"] * stored["upper"])[small]
    assert small.sum() >= 6
    assert np.abs(found / middle - 1).max() < 0.03


@pytest.mark.parametrize("alpha", ALPHAS)
def test_exponent_is_the_contours_not_the_backgrounds(alpha: float) -> None:
    """Constant backgrounds: the finite-size law's exponent, near 4 alpha/(2 alpha + 1), not 2 alpha/(alpha + 1)."""
    family = law(alpha=alpha, background="constant")
    sigmas = np.geomspace(0.005, 0.05, 9)
    reference, found = family.reference(sigmas), fitted_exponents(family, sigmas)
    fitted = found["bracket"]
    assert fitted == pytest.approx(np.polyfit(np.log(sigmas), np.log(reference.mse), 1)[0])
    assert found["contour, 4 alpha/(2 alpha+1)"] == pytest.approx(4 * alpha / (2 * alpha + 1))
    assert reference.asymptotic_exponent == found["contour, 4 alpha/(2 alpha+1)"]
    assert fitted == pytest.approx(found["law at this size"], abs=0.03)
    assert float(reference.exponent.mean()) == pytest.approx(fitted, abs=0.05)
    if alpha == 1:  # at 64 pixels every mode of so rough a contour is seen: an asymptotic rate alone would mislead
        assert fitted > 1.9
    else:
        assert abs(fitted - 4 * alpha / (2 * alpha + 1)) < 0.06 < abs(fitted - 2 * alpha / (alpha + 1))


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_reference_serves_every_contrast(background: str) -> None:
    sigmas = 2 * 10 ** np.linspace(-2.5, 0.5, 13)
    unit = law(background=background, contrast=1.0).reference(sigmas)
    half = law(background=background).reference(sigmas / 2)
    assert unit.kind == half.kind == "bracket"
    for key in ("lower", "upper", "mse", "standard_error"):
        np.testing.assert_allclose(getattr(half, key), getattr(unit, key) / 4, rtol=1e-9)
    for name, curve in unit.curves.items():
        np.testing.assert_allclose(half.curves[name], curve / 4, rtol=1e-9)
    assert set(unit.curves) == ({"law", "genie"} if background == "gaussian" else {"law"})
    assert (half.lower <= half.mse).all()
    assert (half.mse <= half.upper).all()
    assert np.isfinite(half.mse).all()
    assert np.isnan(law(background=background).reference([0.001, 5.0]).mse).all()
    assert "not 2 alpha/(alpha+1)" in unit.note or background == "gaussian"
    fixed = sigmas.copy()
    fixed.flags.writeable = False  # as pandas hands them out; a warning would be an error here
    np.testing.assert_array_equal(law(background=background, contrast=1.0).reference(fixed).mse, unit.mse)


def test_rates_of_theory_stand_beside_each_other() -> None:
    both, one = law(alpha=3.0, beta=1.0).reference([0.1, 0.2]), law(background="constant").reference([0.1, 0.2])
    assert list(both.rates.values()) == pytest.approx([12 / 7, 1.0])
    assert both.asymptotic_exponent == 1.0
    assert list(one.rates.values()) == pytest.approx([8 / 5, 4 / 3])
    assert one.asymptotic_exponent == pytest.approx(8 / 5)
    assert [name.startswith("not here") for name in one.rates] == [False, True]


def test_wavelets_and_curvelets_stay_far_above_the_bracket() -> None:
    """Constant backgrounds: 10 to 25 times the MMSE with the shortest wavelet, up to 40 with a long one."""
    family = law(background="constant")
    batch = family.sample(range(24))

    def ratio(denoiser: str, sigma: float) -> np.ndarray:
        x_hat = gb.denoiser(denoiser, family=family)(gb.add_noise(batch, sigma), sigma)
        error = (x_hat - batch.images).square().mean((1, 2, 3)).double().numpy()
        return error / family.reference([sigma]).mse

    for sigma in (0.025, 0.1, 0.25):
        short, long = ratio("wavelet:shifts=all,wavelet=haar", sigma), ratio("wavelet:shifts=all", sigma)
        curvelet = ratio("curvelet", sigma)
        assert 10 < short.mean() < 25
        assert 20 < long.mean() < 50
        assert 10 < curvelet.mean() < 50
        assert z(long - curvelet) > 3  # curvelets are better than wavelets of their length, by the same rule


def test_reference_where_nothing_is_stored_says_how_to_compute_it() -> None:
    family = law(alpha=1.5, size=32)
    reference = family.reference([0.02, 0.2])
    assert reference.kind == "approximate"
    assert 'python -m gahb_bench reference --family "calpha-contours:alpha=1.5,size=32"' in reference.note
    assert (reference.curves["genie"] < reference.mse).all()
    assert np.isnan(reference.upper).all()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("background", "sigma", "images"),
    [case for case in (("constant", 0.28, 32), ("gaussian", 0.5, 16)) if case[0] in BACKGROUNDS],
)
def test_table_between_its_levels_agrees_with_fresh_images(background: str, sigma: float, images: int) -> None:
    family = law(contrast=1.0, background=background)
    fresh = planted_bracket(family, sigma, range(images), seed=1, sweeps=24)
    reference = family.reference([sigma])
    for key in ("lower", "upper"):
        values = getattr(fresh, key)
        spread = math.hypot(float(values.std()) / math.sqrt(images), float(reference.standard_error[0]))
        assert abs(float(values.mean()) - float(getattr(reference, key)[0])) < 3.5 * spread, key
        assert spread < 0.06 * float(values.mean())
