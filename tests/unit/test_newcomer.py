"""Laws that are not in the package: the one that CONTRIBUTING.md shows, and one written in this file."""

import importlib
import json
import shutil
import sys
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from plugin_packages import contributed_law
from pydantic import Field, PrivateAttr

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core import registry
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.optimum import Optimum, Reference
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.denoisers.gaussian_blur import GaussianBlur
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.calpha.optimum import CalphaOptimum
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

    def apply_covariance(self, y, sigma, v):
        power = self.law.std**2 * 64
        gain = power / (power + sigma**2) * sigma**2
        return (gain[:, None, None, None, None] * v.mean(dim=(2, 3, 4), keepdim=True)).expand(v.shape)


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


class Louder(Calpha):
    """A law that has the name of its base, and another amplitude."""

    def draw(self, streams, count):
        images, latents = super().draw(streams, count)
        return 0.5 + 2 * (images - 0.5), latents


def test_a_law_that_shares_the_name_of_its_base_is_the_object_that_is_given():
    law, base = Louder(size=16, std=0.1), gb.family("calpha:size=16,std=0.1")
    assert law.spec == base.spec
    law.__dict__["optimum"] = CalphaOptimum(gb.family("calpha:size=16,std=0.2"))  # what is right for it
    table = gb.score(law, ["identity"], SIGMAS, images=4)
    found, other = (gb.curves(table, [each])["reference_mse"] for each in (law, base))
    assert found.tolist() == law.reference(SIGMAS).mse.tolist() != other.tolist()
    assert gb.exponent(table, law, "identity", 0.03, 0.3).reference != pytest.approx(
        gb.exponent(table, base, "identity", 0.03, 0.3).reference, abs=1e-3
    )


class Nameless(Flat):
    """A law whose spec the catalogue cannot make."""

    @property
    def spec(self):
        return "no such law"


def test_a_law_that_the_catalogue_cannot_make():
    law = Nameless()
    table = gb.score(law, DENOISERS, SIGMAS, images=4)
    assert (gb.curves(table, [law]).groupby("denoiser")["regret_db"].max()[["mmse"]] == 0).all()
    assert gb.exponent(table, law, "mmse", 0.03, 0.3).reference == pytest.approx(2, abs=0.1)
    gb.testing.assert_near_optimal("mmse", law, [0.1], images=4)
    with pytest.raises(AssertionError, match="on no such law: "):
        gb.testing.assert_near_optimal("identity", law, [0.1], images=4)


def _define(name, base, body="pass", module="nowhere"):
    """A class as a notebook would define it: its source is in no file."""
    place = {"__name__": module, "Base": base, "ClassVar": ClassVar, "OracleOf": OracleOf, "Flat": Flat}
    exec(f"class {name}(Base):\n    {body}\n", place)
    return place[name]


@pytest.mark.parametrize(("base", "name"), [(Family, "calpha"), (Denoiser, "wavelet"), (Denoiser, "mmse")])
def test_a_class_of_ones_own_cannot_have_a_name_of_the_catalogue(base, name):
    with pytest.raises(UsageError, match=rf"of your own cannot be called '{name}': gahb_bench\..* rename it"):
        _define("Mine", base, f"name: ClassVar = {name!r}")
    assert type(gb.family("calpha")) is Calpha


def test_an_oracle_of_one_law_is_found_by_its_name_for_that_law_alone():
    class Special(PosteriorMean, OracleOf[Flat]):
        name: ClassVar = "special"

        moments = FlatMmse.moments
        apply_covariance = FlatMmse.apply_covariance

    assert gb.denoiser("mmse", "flat").of is Flat
    for family in ("calpha", None):
        with pytest.raises(UsageError, match="unknown denoiser 'special'"):
            gb.denoiser("special", family)
    with pytest.raises(UsageError, match="oracle of 'flat'"):
        gb.denoiser(Special(), "calpha")


def test_an_oracle_of_one_law_cannot_have_the_name_of_a_denoiser():
    with pytest.raises(UsageError, match="cannot be called 'tv'"):

        class Tv(PosteriorMean, OracleOf[Flat]):
            name: ClassVar = "tv"


def test_a_class_that_is_not_listed_is_not_found_by_its_name():
    _define("Hidden", Denoiser, "name: ClassVar = 'hidden'; listed: ClassVar = False")
    with pytest.raises(UsageError, match="unknown denoiser 'hidden'"):
        gb.denoiser("hidden")


def test_what_is_of_this_package_has_no_digest_of_its_code():
    for entry in registry.entries("families"):
        assert gb.family(entry.name).digest == ""
    for name in ("mmse", "wavelet", "ideal", "wiener-data"):
        assert gb.denoiser(name, "calpha").facts.digest == ""


HALVED = """
from typing import ClassVar
from gahb_bench.core.denoiser import Denoiser

class Mine(Denoiser):
    name: ClassVar = "mine"
    weight: ClassVar = 2.0

    def estimate(self, y, sigma):
        return y / 2
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a module of the user's, and imports it as a new process would."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text, name="my_module"):
        (tmp_path / f"{name}.py").write_text(text)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in ("my_module", "my_other"):
        sys.modules.pop(name, None)


def test_the_code_of_a_law_and_of_its_optimum_is_in_its_digest(written):
    text = contributed_law()
    first = written(text).Stripes(size=16).digest
    assert len(first) == 16
    assert written(text).Stripes(size=16).digest == first != written(text).Stripes(size=32).digest
    for old in ("2 * np.pi *", "np.sqrt(self.power) *", "2 * gain *"):
        assert old in text
        assert written(text.replace(old, f"3 * {old}", 1)).Stripes(size=16).digest != first
    shuffled = gb.family("shuffled:of=(stripes:size=16)")
    assert shuffled.digest == shuffled.inner.digest != ""


def test_a_subclass_that_shares_a_name_has_a_digest():
    assert gb.family("calpha").digest == ""
    assert len(Louder().digest) == 16


def test_the_code_and_the_state_of_a_denoiser_are_in_its_digest(written, monkeypatch):
    first = written(HALVED).Mine().facts.digest
    assert len(first) == 16
    assert written(HALVED).Mine().facts.digest == first
    assert written(HALVED.replace("y / 2", "y / 3")).Mine().facts.digest != first
    mine = written(HALVED).Mine
    monkeypatch.setattr(mine, "weight", 3.0)
    assert mine().facts.digest != first
    written("helper = 1", "my_other")
    importing = "import my_other\n" + HALVED
    beside = written(importing).Mine().facts.digest
    written("helper = 2", "my_other")
    assert written(importing).Mine().facts.digest != beside, "a module that it imports"


def test_private_state_is_in_the_digest_and_the_law_is_not():
    class Weighted(Denoiser):
        name: ClassVar = "weighted-of-a-test"
        _weights: torch.Tensor = PrivateAttr()

        def model_post_init(self, context):
            self._weights = torch.ones(3)

        def estimate(self, y, sigma):
            return y * self._weights[0]

    one, other = Weighted(), Weighted()
    assert one.facts == other.facts == one.bind(Flat()).facts
    other._weights = torch.zeros(3)
    assert one.facts.digest != other.facts.digest


def test_what_has_no_source_is_never_taken_for_another():
    made = _define("Nowhere", Denoiser, "name: ClassVar = 'nowhere'\n    def estimate(self, y, sigma): return y")
    one, other = made(), made()
    assert one.facts.digest == one.facts.digest != other.facts.digest
    law = _define("NowhereLaw", Flat)
    assert law().digest != law().digest
    kept = law()
    assert kept.digest == kept.digest


def test_a_tuned_denoiser_of_the_users_has_its_table_and_its_code_in_its_digest():
    class Wider(GaussianBlur):
        pass

    table, ours = Wider().bind(gb.family("calpha")), gb.denoiser("gaussian-blur", "calpha")
    by_hand = Wider(width=2.0)
    assert "" != ours.facts.digest != table.facts.digest != by_hand.facts.digest != ""
    assert table.facts.fitted == ours.facts.fitted == 1
