"""reports/sampling.md: its text follows from its tables, and what of these is in closed form from the law."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gahb_bench import make
from gahb_bench.core.sampler import Start
from gahb_bench.samplers.starts import gaussian
from gahb_bench.sampling.exact import responses

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module")
def report():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(REPORTS), *sys.path])
        yield importlib.import_module("sampling")
        for name in ("sampling", "sampling_page", "sampling_tables", "sampling_words"):
            sys.modules.pop(name, None)


def test_the_page_is_made_of_the_tables(report):
    written = (REPORTS / "sampling.md").read_text(encoding="utf-8")
    assert report.page(report.read()) == written, "run: python reports/sampling.py"
    assert (REPORTS / "sampling" / "errors.png").exists()


def test_other_tables_make_another_page(report):
    tables = report.read()
    tables["exact"] = tables["exact"].assign(w2=2 * tables["exact"]["w2"])
    assert report.page(tables) != (REPORTS / "sampling.md").read_text(encoding="utf-8")


def test_exact_errors_are_those_of_the_law(report):
    pd.testing.assert_frame_equal(report.exact_errors(), report.read()["exact"], rtol=1e-4)


def test_exact_errors_of_wrong_denoisers_are_those_of_the_law(report, monkeypatch):
    monkeypatch.setattr(report, "WRONG_BUDGETS", (20,))
    kept = report.read()["wrong"]
    kept = kept[kept["evaluations"] == 20].reset_index(drop=True)
    pd.testing.assert_frame_equal(report.wrong_errors().reset_index(drop=True), kept, rtol=1e-4)


def test_a_wrong_denoiser_makes_samples_of_the_variance_that_is_said(report):
    """Two modes, euler-maruyama: samples against the closed form, and against that of the exact denoiser."""
    power, levels = torch.tensor([4.0, 0.01], dtype=torch.float64), np.array([10.0, 3.0, 1.0, 0.3, 0.1, 0.0])
    sampler, denoise = make.sampler("euler-maruyama"), report.mistold(power, 1.0, 4.0, 1.3)
    count = 4000
    start = gaussian((1, 1, 2), range(count), 10.0, mean=0.0)
    found = sampler(denoise, Start(start.images.double(), 0, tuple(range(count))), levels).images[:, 0, 0].var(dim=0)
    wrong, exact = (
        response**2 * 100 + added
        for response, added in (responses(sampler, power, levels, each) for each in (denoise, None))
    )
    deviation = (2 / count) ** 0.5
    assert ((found / wrong - 1).abs() < 4 * deviation).all()
    assert abs(float(found[0] / exact[0]) - 1) > 4 * deviation


def test_the_damping_that_is_gradient_estimation(report):
    """For small steps damping = kappa / (gamma - 1): the tables have it so at 80 evaluations, within 20 %."""
    flow = report.read()["flow"]
    here = flow[(flow["evaluations"] == 80) & (flow["family"] == report.LAW)].set_index("sampler")["median"]
    for damping, gamma in (("0.5", ""), ("1", ":gamma=1.5")):
        turned = here[f"levenberg-marquardt-langevin:damping={damping}"]
        assert turned == pytest.approx(here[f"gradient-estimation{gamma}"], rel=0.2)


def test_what_is_said_of_the_detector_holds(report):
    """Of the network's samples far from all modes: chance in the lower half, not in the last quarter, best by noise."""
    modes = report.read()["modes"]
    here = modes[(modes["family"] == report.APART) & (modes["denoiser"] == "network") & (modes["flag"] == "far")]
    here = here[here["evaluations"] == 160].pivot_table(index="sampler", columns="window", values="area")
    assert len(here) == 3
    assert (here["half"] < 0.5).all()
    assert (here["quarter"] > 0.7).all()
    assert here["quarter"].idxmax() == "euler-maruyama"
