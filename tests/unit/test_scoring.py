import numpy as np
import pandas as pd
import pytest
import torch

import gahb_bench as gb
from gahb_bench.errors import UsageError
from gahb_bench.scoring import curve, score
from gahb_bench.scoring.intervals import mean_interval, ratio_interval

FAMILY = "calpha:size=16"


def halve(y, sigma):
    return y / 2


def fails_above(y, sigma):
    if sigma > 0.5:
        raise RuntimeError("boom")
    return y


def wrong_shape(y, sigma):
    return y[..., 1:]


def one_nan(y, sigma):
    y = y.clone()
    y[1] = float("nan")
    return y


def test_scores_are_per_image_mean_squared_errors():
    table = gb.score(FAMILY, ["identity", halve], [0.1, 0.2], images=3)
    assert list(table.columns) == score.COLUMNS
    assert len(table) == 2 * 2 * 3
    batch = gb.family(FAMILY).sample(range(3))
    y = gb.add_noise(batch, 0.2)
    expected = (y / 2 - batch.images).double().square().mean(dim=(1, 2, 3)).numpy()
    mine = table[(table.denoiser == "halve") & (table.sigma == 0.2)]
    assert mine["mse"].to_numpy() == pytest.approx(expected, rel=1e-6)
    assert set(mine["knows"]) == {"nothing"}
    assert (mine["seconds"] >= 0).all()


def test_the_batch_size_of_scoring_does_not_matter(monkeypatch):
    whole = gb.score(FAMILY, ["mmse", "ideal"], [0.1], images=7)
    monkeypatch.setattr(score, "_PIXELS_AT_ONCE", 600)
    cut = gb.score(FAMILY, ["mmse", "ideal"], [0.1], images=7)
    assert cut["mse"].to_numpy() == pytest.approx(whole["mse"].to_numpy(), rel=1e-6)


@pytest.mark.parametrize(
    ("denoiser", "reason"),
    [
        (wrong_shape, "returned (4, 1, 16, 15), but an estimate has the shape of its input, (4, 1, 16, 16)"),
        (lambda y, sigma: None, "returned NoneType, not a tensor"),
        (fails_above, "RuntimeError: boom"),
    ],
)
def test_failures_are_recorded_and_the_rest_goes_on(denoiser, reason):
    table = gb.score(FAMILY, [denoiser, "identity"], [0.1, 1.0], images=4)
    failed = table[table["status"] == "failed"]
    assert failed["reason"].str.contains(reason, regex=False).all()
    assert failed["mse"].isna().all()
    assert "identity" not in set(failed["denoiser"])
    assert 1.0 in set(failed["sigma"])
    rows = gb.curves(table)
    assert rows[rows["denoiser"] == "identity"]["status"].eq("ok").all()


def test_one_bad_image_spoils_the_mean():
    table = gb.score(FAMILY, [one_nan], [0.1], images=4)
    assert list(table["status"]) == ["ok", "failed", "ok", "ok"]
    assert table["reason"].iloc[1] == "one_nan returned NaN or infinity."
    row = gb.curves(table).iloc[0]
    assert (row["status"], row["images"]) == ("failed", 3)
    assert np.isnan(row["mse"])


def test_regret_is_paired_with_the_oracle_on_the_same_images():
    table = gb.score(FAMILY, ["mmse", "identity"], [0.1, 1.0], images=20)
    rows = gb.curves(table)
    assert list(rows.columns) == curve.COLUMNS
    means = table.groupby(["denoiser", "sigma"])["mse"].mean()
    mine = rows[rows["denoiser"] == "identity"]
    expected = 10 * np.log10(means["identity"].to_numpy() / means["mmse"].to_numpy())
    assert mine["regret_db"].to_numpy() == pytest.approx(expected)
    assert (rows[rows["denoiser"] == "mmse"][["regret_db", "regret_db_low", "regret_db_high"]] == 0).all(axis=None)
    assert (mine["regret_db_low"] < mine["regret_db"]).all()
    assert (mine["regret_db"] < mine["regret_db_high"]).all()
    assert mine["exponent"].to_numpy() == pytest.approx(2, abs=1e-4)
    alone = gb.curves(gb.score(FAMILY, ["identity"], [0.1, 1.0], images=20))
    assert alone["regret_db"].to_numpy() == pytest.approx(10 * np.log10(alone["mse"] / alone["reference_mse"]))


def test_a_bracket_makes_the_regret_an_interval(monkeypatch):
    from gahb_bench.families.calpha import Calpha
    from gahb_bench.types import Reference

    def bracket(self, sigmas):
        one = np.ones(len(np.atleast_1d(sigmas)))
        return Reference("bracket", np.atleast_1d(sigmas), 1e-3 * one, 5e-4 * one, 2e-3 * one, 0 * one, one)

    monkeypatch.setattr(Calpha, "reference", bracket)
    row = gb.curves(gb.score(FAMILY, ["identity"], [0.1], images=50)).iloc[0]
    assert row["regret_db_low"] == pytest.approx(10 * np.log10(row["mse_low"] / 2e-3))
    assert row["regret_db_high"] == pytest.approx(10 * np.log10(row["mse_high"] / 5e-4))


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Skewed data: 400 samples of 40 exponential variates; 95 % +- 3 binomial standard errors, less BCa's bias."""
    draws = np.random.default_rng(0).exponential(size=(400, 40))
    low, high = mean_interval(draws)
    cover = ((low < 1) & (high > 1)).mean()
    assert 0.90 < cover < 0.98


def test_paired_intervals_are_narrow():
    generator = np.random.default_rng(0)
    luck = generator.exponential(size=(1, 100))
    low, high = ratio_interval(luck * 1.1 * generator.normal(1, 0.01, size=(1, 100)), luck)
    assert low[0] < 1.1 < high[0]
    assert high[0] - low[0] < 0.02


def test_intervals_of_too_few_or_equal_values():
    low, high = mean_interval(np.ones((2, 2)))
    assert np.isnan([low, high]).all()
    low, high = mean_interval(np.ones((2, 9)))
    assert (low == 1).all()
    assert (high == 1).all()


def test_exponent_of_a_known_power_law():
    """mse_i = u_i s^1.4: the slope is 1.4 exactly and pairing removes all error."""
    luck = np.random.default_rng(0).exponential(size=30)
    rows = [
        {"family": "calpha", "denoiser": "d", "sigma": s, "image": i, "mse": u * s**1.4, "knows": "nothing"}
        for s in (0.01, 0.1, 1.0)
        for i, u in enumerate(luck)
    ]
    fit = gb.exponent(pd.DataFrame(rows), "calpha", "d")
    assert fit.value == pytest.approx(1.4)
    assert fit.standard_error < 1e-9
    assert fit.asymptotic == pytest.approx(4 / 3)
    with pytest.raises(UsageError, match="two noise levels"):
        gb.exponent(pd.DataFrame(rows), "calpha", "d", low=0.5)


def test_jackknife_error_is_the_scatter_over_repetitions():
    values = [gb.exponent(_random_powers(seed), "calpha", "d") for seed in range(60)]
    scatter = np.std([fit.value for fit in values], ddof=1)
    stated = np.mean([fit.standard_error for fit in values])
    assert stated == pytest.approx(scatter, rel=0.25)


def _random_powers(seed):
    draws = np.random.default_rng(seed).exponential(size=(4, 50))
    rows = [
        {"family": "calpha", "denoiser": "d", "sigma": 10.0**-k, "image": i, "mse": 10.0**-k * draws[k, i]}
        for k in range(3)
        for i in range(50)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("images", [0, -1, True, 2.5])
def test_bad_numbers_of_images(images):
    if isinstance(images, float):
        images = np.float64(images)
    with pytest.raises(Exception, match="images"):
        gb.score(FAMILY, ["identity"], [0.1], images=images)


def test_two_denoisers_of_one_name_are_refused():
    with pytest.raises(UsageError, match="given twice"):
        gb.score(FAMILY, ["identity", "identity"], [0.1], images=2)


class Shrink(torch.nn.Module):
    """A module with weights and dropout, which must not drop while it is scored."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))
        self.drop = torch.nn.Dropout(0.9)

    def forward(self, y, sigma):
        return 0.5 + self.drop(self.gain * (y - 0.5))


def test_a_users_module():
    net = Shrink()
    assert net.training
    table = gb.score(FAMILY, [net], [0.3], images=4)
    assert net.training, "the module's mode is given back"
    assert set(table["knows"]) == {"training set"}
    batch = gb.family(FAMILY).sample(range(4))
    expected = (0.5 + 0.5 * (gb.add_noise(batch, 0.3) - 0.5) - batch.images).square().mean(dim=(1, 2, 3))
    assert table["mse"].to_numpy() == pytest.approx(expected.detach().numpy(), rel=1e-5)
    first = gb.denoiser(net).digest
    with torch.no_grad():
        net.gain.mul_(2)
    assert gb.denoiser(net).digest != first


def test_assert_near_optimal():
    gb.testing.assert_near_optimal("mmse", FAMILY, [0.1, 1.0], max_regret_db=0.01, images=16)
    with pytest.raises(AssertionError, match=r"halve is not within 0\.5 dB .* dB at sigma=0\.1"):
        gb.testing.assert_near_optimal(halve, FAMILY, [0.1], images=16)
    with pytest.raises(AssertionError, match="It failed"):
        gb.testing.assert_near_optimal(wrong_shape, FAMILY, [0.1], images=16)
    with pytest.raises(UsageError, match=r"no exact optimum|not known"):
        gb.testing.assert_near_optimal(halve, "calpha:law=uniform", [0.1], images=4)
