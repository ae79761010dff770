"""Verification sees what is wrong: each identity can fail, and an optimum that is off by 3 % is found."""

from pathlib import Path

import numpy as np
import pytest

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import HOME
from gahb_bench.core.optimum import Check
from gahb_bench.core.posterior import Posterior
from gahb_bench.verification import bounds, identities
from gahb_bench.verification.verify import all_laws, verify, verify_laws

BROKEN = ("calpha:size=16", "besov:size=32", "gmm:size=16", "hierarchy:depth=4", "disks:size=16")
LEVELS = (0.01, 0.3)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv(HOME, str(tmp_path_factory.getbasetemp() / "home"))


def violated(checks):
    """The identities that do not hold."""
    return [check.identity for check in checks if not check.passed]


@pytest.mark.parametrize("spec", BROKEN)
def test_an_optimum_that_is_three_percent_wrong_is_found(spec, monkeypatch):
    """The estimate's deviation from grey, then its variance, times 1.03: each alone is found."""
    law = gb.family(spec)
    assert violated(verify(law, images=64, sigmas=LEVELS)) == []
    oracle = type(gb.denoiser("mmse", law))
    exact = oracle.moments
    for mean, variance in ((1.03, 1.0), (0.97, 1.0), (1.0, 1.03), (1.0, 0.97)):

        def wrong(self, y, sigma, mean=mean, variance=variance):
            found = exact(self, y, sigma)
            return Posterior(0.5 + mean * (found.mean - 0.5), variance * found.variance)

        monkeypatch.setattr(oracle, "moments", wrong)
        assert any(not check.passed for check in verify(law, images=64, sigmas=LEVELS)), (mean, variance)


@pytest.mark.parametrize("spec", BROKEN)
@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_a_covariance_that_is_three_percent_wrong_is_found(spec, scale, monkeypatch):
    oracle = type(gb.denoiser("mmse", spec))
    exact = oracle.apply_covariance
    monkeypatch.setattr(oracle, "apply_covariance", lambda self, y, sigma, v: scale * exact(self, y, sigma, v))
    assert any(not check.passed for check in verify(spec, images=64, sigmas=(0.3,)))


def test_a_linear_optimum_that_is_wrong_is_found(monkeypatch):
    from gahb_bench.families.calpha.oracles import Wiener

    law = gb.family("calpha:law=uniform,size=16")
    checks = list(verify(law, images=64, sigmas=LEVELS))
    assert violated(checks) == []
    assert {check.identity[0] for check in checks} == {"1", "4", "6", "7"}
    exact = Wiener.estimate
    monkeypatch.setattr(Wiener, "estimate", lambda self, y, sigma: 0.5 + 1.03 * (exact(self, y, sigma) - 0.5))
    assert {"4", "6"} <= {identity[0] for identity in violated(verify(law, images=64, sigmas=LEVELS))}


def test_a_bracket_that_is_too_high_or_upside_down_is_found(monkeypatch):
    from dataclasses import replace

    from gahb_bench.families.calpha_contours import check

    law = gb.family("calpha-contours:size=32")
    checks = list(verify(law, images=64, sigmas=(0.1,)))
    assert violated(checks) == []
    assert {check.identity[0] for check in checks} == {"3", "6", "8"}
    known = type(law).reference

    def low(self, sigmas):
        reference = known(self, sigmas)
        return replace(reference, lower=0.5 * reference.lower)

    def high(self, sigmas):
        reference = known(self, sigmas)
        return replace(reference, lower=100 * reference.lower)

    monkeypatch.setattr(type(law), "reference", low)
    assert any(identity.startswith("8  genie") for identity in violated(verify(law, images=64, sigmas=(0.1,))))
    monkeypatch.setattr(type(law), "reference", high)
    assert any(identity.startswith("3") for identity in violated(verify(law, images=64, sigmas=(0.1,))))
    stored = check.stored_curve

    def swapped(*args, **kwargs):
        table = stored(*args, **kwargs)
        return table.assign(gap=-table["gap"] - 10 * table["gap_se"])

    monkeypatch.setattr(check, "stored_curve", swapped)
    assert violated(check.bracket_checks(law)) == ["8  planted chains <= chains from the data, all stored levels"]


def test_every_check_says_its_two_routes():
    found = list(verify_laws([gb.family("calpha:size=16"), gb.family("calpha:law=uniform,size=16")], images=64))
    assert {each.optimum for each in found} == {"exact", "linear"}
    assert all(all(each.check.routes) for each in found)
    assert {each.check.statistical for each in found} == {True, False}


def test_z_scores_of_few_images_are_those_of_student():
    z = np.random.default_rng(0).standard_normal((20_000, 6))
    scores = [abs(identities.normal_deviate(identities.z_score(row), 6)) for row in z]
    assert np.mean(np.array(scores) > 1.959964) == pytest.approx(0.05, abs=0.005)


def test_nan_is_a_violation():
    assert not Check("x", float("nan"), 1.0).passed


def test_what_has_no_optimum_cannot_be_verified():
    with pytest.raises(UsageError, match="no optimum to verify"):
        verify("calpha-contours:law=paper")


def test_all_laws_are_those_of_the_catalogue_and_their_variants():
    from gahb_bench.core import registry

    laws = [law.spec for law in all_laws()]
    assert len(set(laws)) == len(laws)
    assert {entry.name for entry in registry.entries("families")} <= set(laws)
    assert {"disks:size=16", "calpha:law=uniform", "shuffled:of=disks", "besov:gamma=0"} <= set(laws)


def test_the_committed_table_is_of_these_laws():
    truth = Path(__file__).parents[2] / "reports" / "truth.md"
    rows = [line.split("`")[1] for line in truth.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [law.spec for law in all_laws()]


def test_genies_are_told_the_images():
    law = gb.family("calpha-contours:size=32")
    names = [check.identity for check in bounds.bracket_identities(law, 64, 0, (0.3,))]
    assert any(name.startswith("8  genie") for name in names)
