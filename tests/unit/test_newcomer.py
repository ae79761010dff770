"""Laws that are not in the package: the one that CONTRIBUTING.md shows, and one written in this file."""

import importlib
import json
import sys
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from plugin_packages import contributed_law
from pydantic import Field

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core.family import Family
from gahb_bench.core.optimum import Optimum, Reference
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.running import engine, folder
from gahb_bench.running.plan import make_plan
from gahb_bench.verification.verify import verify

SIGMAS = [0.03, 0.1, 0.3]
DENOISERS = ["mmse", "identity", "wiener-data"]


class FlatOptimum(Optimum["Flat"]):
    """The mean of the pixels, shrunk."""

    def __init__(self, family):
        super().__init__(family)
        self.oracles = (FlatMmse,)

    def reference(self, sigmas):
        power = self.family.std**2 * 64
        gain = power / (power + sigmas**2)
        return Reference.exact(sigmas, gain * sigmas**2 / 64, 2 * gain, note="One Gaussian coefficient.")


class Flat(Family):
    """Images of one grey value: x = 1/2 + a, a ~ N(0, std^2)."""

    name: ClassVar = "flat"
    best: ClassVar = FlatOptimum

    std: float = Field(0.2, gt=0)

    @property
    def shape(self):
        return (1, 8, 8)

    def draw(self, streams, count):
        levels = np.array([0.5 + self.std * stream.standard_normal() for stream in streams])
        return np.broadcast_to(levels.reshape(count, 1, 1, 1), (count, *self.shape)), {}


class FlatMmse(PosteriorMean, OracleOf[Flat]):
    """The mean of the pixels, shrunk towards 1/2."""

    name: ClassVar = "mmse"

    def moments(self, y, sigma):
        power = self.law.std**2 * 64
        gain = power / (power + sigma**2)
        mean = 0.5 + gain[:, None, None, None] * (y - 0.5).mean(dim=(1, 2, 3), keepdim=True)
        return Posterior(mean.expand(y.shape), gain * sigma**2 / 64)

    def variance_along(self, y, sigma, v):
        power = self.law.std**2 * 64
        return power / (power + sigma**2) * sigma**2 * v.sum(dim=(1, 2, 3)) ** 2 / 64


@pytest.fixture
def stripes(tmp_path, monkeypatch):
    """The law of CONTRIBUTING.md, as a module of the user's."""
    (tmp_path / "my_stripes.py").write_text(contributed_law())
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_stripes").Stripes(size=16)
    sys.modules.pop("my_stripes")


@pytest.fixture(params=["stripes", "flat"])
def law(request):
    return Flat() if request.param == "flat" else request.getfixturevalue(request.param)


def test_it_is_scored_and_its_oracle_attains_the_reference(law):
    table = gb.score(law, DENOISERS, SIGMAS, images=64)
    curves = gb.curves(table, [law]).set_index(["denoiser", "sigma"])
    assert (curves.loc["mmse", "regret_db"] == 0).all()
    assert (curves.loc["identity", "regret_db"] > 3).all()
    mse = curves.loc["mmse", "mse"]
    assert mse.to_numpy() == pytest.approx(law.reference(SIGMAS).mse, rel=0.5)
    assert gb.exponent(table, law, "mmse", low=0.03, high=0.3).reference == pytest.approx(2, abs=0.1)


def test_it_is_known_by_its_name_as_soon_as_its_class_is_there(law):
    assert gb.family(law.spec) == law
    assert gb.denoiser("mmse", law.spec).family == law


def test_its_identities_hold(law):
    checks = list(verify(law, images=64))
    assert [check for check in checks if not check.passed] == []
    assert any(check.identity.startswith("2  ") for check in checks)


def test_the_contributed_law_states_information_and_an_independent_route(stripes):
    names = [check.identity[0] for check in verify(stripes, images=64)]
    assert {"5", "6"} <= set(names)


def test_a_wrong_optimum_is_found(stripes, monkeypatch):
    oracle = type(gb.denoiser("mmse", stripes))
    exact = oracle.moments

    def wrong(self, y, sigma):
        found = exact(self, y, sigma)
        return Posterior(0.5 + 1.1 * (found.mean - 0.5), found.variance)

    monkeypatch.setattr(oracle, "moments", wrong)
    assert any(not check.passed for check in verify(stripes, images=64))


@pytest.fixture
def runs(law, tmp_path):
    """Two runs of the law with the same plan."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        engine.run(make_plan([law], DENOISERS, SIGMAS, images=8), place)
    return places


def test_it_goes_through_a_run_and_a_comparison(law, runs, capsys):
    data = folder.read(runs[0])
    assert data.manifest.status == "complete"
    assert data.references[law.spec].kind == "exact"
    assert data.references[law.spec].at(np.array(SIGMAS)).mse == pytest.approx(law.reference(SIGMAS).mse)
    app(["compare", *map(str, runs), "--format", "json"], standalone_mode=False)
    bands = json.loads(capsys.readouterr().out)["bands"]
    assert {(band["family"], band["denoiser"]) for band in bands} == {(law.spec, name) for name in DENOISERS}
    assert {band["verdict"] for band in bands} == {"same"}


def test_its_report_is_made(law, runs):
    from gahb_bench.reporting.report import write_report

    write_report(runs[0])
    for name in ("report.html", "report.md"):
        assert law.spec in (runs[0] / name).read_text()


def test_it_may_stand_inside_another_law(stripes):
    shuffled = gb.family("shuffled:of=(stripes:size=16)")
    table = gb.score(shuffled, ["mmse"], [0.1], images=8)
    assert isinstance(table, pd.DataFrame)
    assert shuffled.reference([0.1]).mse == pytest.approx(stripes.reference([0.1]).mse)
    assert torch.equal(shuffled.inverse(shuffled.forward(stripes.sample([0]).images)), stripes.sample([0]).images)
