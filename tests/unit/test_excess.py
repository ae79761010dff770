"""The excess over the exact optimum: a regret without the luck of the draw, and what it is worth in bits."""

import numpy as np
import pandas as pd
import pytest

import gahb_bench as gb
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.networks.recipe import read_recipe, shipped
from gahb_bench.running.plan import DEFAULT_SIGMAS
from gahb_bench.scoring.bits import excess_bits
from gahb_bench.scoring.intervals import mean_interval

SIGMAS = np.array(DEFAULT_SIGMAS)


def _grid(table: pd.DataFrame, denoiser: str, measure: str) -> np.ndarray:
    """Levels by images."""
    return table[table["denoiser"] == denoiser].pivot(index="sigma", columns="image", values=measure).to_numpy()


def _jackknife(of, *grids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A function of means over images, by level, and its standard error."""
    count = grids[0].shape[1]
    left = np.stack([of(*(np.delete(grid, i, axis=1).mean(axis=1) for grid in grids)) for i in range(count)])
    error = np.sqrt((count - 1) / count * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    return of(*(grid.mean(axis=1) for grid in grids)), error


def _regrets(table: pd.DataFrame, name: str, mmse: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Direct and paired regrets in dB by noise level, each with its standard error."""
    return {
        "direct": _jackknife(lambda excess: 10 * np.log10(1 + excess / mmse), _grid(table, name, "excess")),
        "paired": _jackknife(
            lambda mse, best: 10 * np.log10(mse / best), _grid(table, name, "mse"), _grid(table, "mmse", "mse")
        ),
    }


def _shipped() -> list[tuple[str, str]]:
    known = [(name, read_recipe(path)["family"]) for name, path in shipped().items()]
    return [(name, family) for name, family in known if posterior_mean(gb.family(family)) is not None]


def test_the_excess_is_the_distance_to_the_posterior_mean():
    family = gb.family("gmm:size=16")
    table = gb.score(family, ["identity", "mmse"], [0.1, 1.0], images=5)
    batch = family.sample(range(5))
    for sigma in (0.1, 1.0):
        y = gb.add_noise(batch, sigma)
        best = gb.denoiser("mmse", family)(y, sigma)
        rows = table[(table["sigma"] == sigma) & (table["denoiser"] == "identity")]
        assert rows["excess"].to_numpy() == pytest.approx((y - best).double().square().mean(dim=(1, 2, 3)).numpy())
    assert (table[table["denoiser"] == "mmse"]["excess"] == 0).all()


def test_no_exact_optimum_no_excess():
    table = gb.score("calpha:law=uniform,size=16", ["wiener", "identity"], [0.1], images=4)
    assert table["excess"].isna().all()
    assert gb.curves(table)["regret_kind"].tolist() == ["paired", "paired"]
    assert gb.summary(table)["excess_bits"].isna().all()


def test_a_regret_says_what_kind_it_is():
    table = gb.score("besov:size=16", ["mmse", "genie", "ideal", "identity"], [0.1, 0.3], images=8)
    kinds = gb.curves(table).groupby("denoiser")["regret_kind"].agg(set).to_dict()
    assert kinds == {"mmse": {"direct"}, "identity": {"direct"}, "genie": {"paired"}, "ideal": {"paired"}}
    alone = gb.score("besov:size=16", ["identity", "ideal"], [0.1], images=8)
    assert gb.curves(alone)["regret_kind"].tolist() == ["direct", "reference"]
    contours = gb.score("calpha-contours:size=32", ["identity"], [0.1], images=4)
    assert gb.curves(contours)["regret_kind"].tolist() == ["bracket"]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("name", "family"), _shipped())
def test_direct_and_paired_regrets_agree_and_the_direct_one_is_surer(name, family):
    law = gb.family(family)
    mmse = law.reference(SIGMAS)
    good = mmse.mse > 1e-3 * SIGMAS**2
    table = gb.score(law, [name, "mmse"], SIGMAS[good], images=64)
    spec = table["denoiser"].iloc[0]
    regrets = _regrets(table, spec, mmse.mse[good])
    (direct, direct_error), (paired, paired_error) = regrets["direct"], regrets["paired"]
    unsure = 10 / np.log(10) * np.nan_to_num(mmse.standard_error[good]) / mmse.mse[good]
    assert (np.abs(direct - paired) < 3.5 * np.hypot(np.hypot(direct_error, paired_error), unsure)).all()
    if name == "calpha-32":
        assert (direct_error <= paired_error).all()
        assert (direct_error <= paired_error / 3)[SIGMAS[good] >= 1].all()


def _worse(net: Denoiser, family: str, decibel: float):
    """The network with its distance to the optimum stretched, so that it loses that many dB at every level."""
    best = gb.denoiser("mmse", family)

    def net_worse(y, sigma):
        optimum, x_hat = best(y, sigma), net(y, sigma)
        mmse = gb.family(family).reference(sigma).mse[0]
        excess = float((x_hat - optimum).double().square().mean())
        wanted = (mmse + excess) * 10 ** (decibel / 10) - mmse
        return optimum + (wanted / excess) ** 0.5 * (x_hat - optimum)

    return net_worse


def test_few_images_tell_networks_apart_that_differ_by_a_twentieth_of_a_decibel():
    family, sigmas = "calpha:size=32", [0.01, 0.1, 1.0]
    net = gb.denoiser("calpha-32")
    ours = gb.score(family, [net], sigmas, images=16)
    theirs = gb.score(family, [_worse(net, family, 0.05)], sigmas, images=16)
    mapping = {ours["denoiser"].iloc[0]: "net_worse"}
    table = gb.compare(ours, theirs, margin=0.01, mapping=mapping)
    assert set(table["measure"]) == {"excess"}
    assert table["verdict"].iloc[0] == "worse"
    assert table["difference_db"].iloc[0] == pytest.approx(0.05, abs=0.01)
    blind = gb.compare(ours.drop(columns="excess"), theirs.drop(columns="excess"), margin=0.01, mapping=mapping)
    assert set(blind["measure"]) == {"mse"}


def test_what_has_seen_the_clean_image_is_not_hidden_by_its_excess():
    """Half the error of the optimum cannot be: its excess would call it 1 dB above."""
    family = gb.family("calpha:size=16")
    clean = family.sample(range(64)).images
    best = gb.denoiser("mmse", family)

    def cheat(y, sigma):
        return clean + 0.7 * (best(y, sigma) - clean)

    curves = gb.curves(gb.score(family, [cheat, "mmse"], [0.1, 1.0], images=64))
    rows = curves[curves["denoiser"] == "cheat"]
    assert rows["regret_kind"].tolist() == ["paired", "paired"]
    assert (rows["regret_db_high"] < 0).all()


class TestBits:
    """The Wiener filter of alpha = 1.5 on the law with alpha = 2: both laws are Gaussian, so everything is known."""

    law, other = gb.family("calpha:size=32"), gb.family("calpha:alpha=1.5,size=32")
    low, high = 0.00316, 31.6

    def excess(self, sigma: float) -> float:
        right, wrong = (
            self.law.spectrum / (self.law.spectrum + sigma**2),
            self.other.spectrum / (self.other.spectrum + sigma**2),
        )
        return float(((wrong - right) ** 2 * (self.law.spectrum + sigma**2)).mean())

    def divergence(self, sigma: float) -> float:
        ratio = (self.law.spectrum + sigma**2) / (self.other.spectrum + sigma**2)
        return float(0.5 * (ratio - 1 - np.log(ratio)).sum())

    @pytest.mark.parametrize(("levels", "tolerance"), [(13, 1e-2), (49, 1e-3)])
    def test_against_the_closed_form(self, levels, tolerance):
        sigmas = np.geomspace(self.low, self.high, levels)
        found = excess_bits(sigmas, np.array([[self.excess(sigma)] for sigma in sigmas]))
        closed = (self.divergence(self.low) - self.divergence(self.high)) / np.log(2) / 32**2
        assert found.value == pytest.approx(closed, rel=tolerance)
        assert abs(found.value - closed) < max(found.interpolation, 1e-5 * closed)

    def test_as_a_denoiser(self):
        """Scored like any other: the interval of its summary holds the closed form."""
        wiener = gb.denoiser("mmse", self.other)

        def mismatched(y, sigma):
            return wiener(y, sigma)

        table = gb.score(self.law, [mismatched], np.geomspace(self.low, self.high, 25), images=64)
        row = gb.summary(table).iloc[0]
        closed = (self.divergence(self.low) - self.divergence(self.high)) / np.log(2) / 32**2
        assert row["excess_bits_low"] < closed < row["excess_bits_high"]
        assert row["excess_bits"] == pytest.approx(closed, rel=0.02)

    def test_few_levels_or_a_gap_say_nothing(self):
        levels = np.geomspace(0.01, 1, 6)
        assert np.isnan(excess_bits(levels[:3], np.ones((3, 4))).value)
        assert np.isnan(excess_bits(levels, np.full((6, 4), np.nan)).value)
        assert excess_bits(levels, np.zeros((6, 4))).value == 0


@pytest.mark.slow
@pytest.mark.parametrize("images", [16, 64])
def test_intervals_of_direct_regrets_cover(images):
    """A light-tailed law: 95 % intervals of the mean excess of a wavelet denoiser, over 400 runs of other seeds."""
    family = gb.family("calpha:size=8")
    tables = [gb.score(family, ["wavelet"], [0.1], images=images, seed=seed) for seed in range(400)]
    truth = np.mean([table["excess"].mean() for table in tables])
    values = np.stack([table["excess"].to_numpy() for table in tables])
    low, high = mean_interval(values)
    covered = float(((low <= truth) & (truth <= high)).mean())
    assert 0.925 < covered < 0.98, covered
