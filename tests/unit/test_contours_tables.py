"""Stored brackets of ``calpha-contours``: computing them, and what a table of one's own changes."""

from pathlib import Path

import numpy as np
import pytest

from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import HOME
from gahb_bench.families.calpha_contours.compute import compute_curve, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.tables import store


def test_computing_resumes_and_is_deterministic(tmp_path: Path) -> None:
    law = CalphaContours.from_parameters({"size": 16, "background": "constant", "contrast": 0.3})
    subject = (unit_contrast(law).spec, "")
    seen: list[tuple[float, int, float]] = []

    def progress(*news: float) -> None:
        seen.append(news)

    path = tmp_path / "curves.parquet"
    compute_curve(law, [0.2], 5, path, sweeps=9, progress=progress)
    assert seen == [(0.2, 4, 0.8), (0.2, 5, 1.0)]
    first = store.read(path)[subject]
    assert set(first["quantity"]) == {"lower", "upper", "upper_run", "genie", "gap", "acceptance", "least_acceptance"}
    seen.clear()
    compute_curve(law, [0.2, 0.4], 5, path, sweeps=9, progress=progress)
    assert seen == [(0.4, 4, 0.8), (0.4, 5, 1.0)]
    both = store.read(path)[subject]
    assert both[both["sigma"] == 0.2].equals(first)
    compute_curve(law, [0.2, 0.4], 5, tmp_path / "again.parquet", sweeps=9)
    assert store.read(tmp_path / "again.parquet")[subject].equals(both)


def test_ones_own_table_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    law = CalphaContours.from_parameters({"size": 16, "background": "constant"})
    assert law.reference([0.1]).kind == "approximate"
    monkeypatch.setenv(HOME, str(tmp_path))
    for level in (0.1, 0.2, 0.4, 0.8):
        ends = {"lower": 0.9, "upper": 1.1, "genie": 1.1}
        values = {name: (end * level**1.5, 0.01 * level**1.5) for name, end in ends.items()}
        store.keep("curves", store.make_rows(unit_contrast(law).spec, level, values, images=8, seed=0, rule=1))
    reference = law.reference([0.1, 0.15, 0.9])
    assert reference.kind == "bracket"
    np.testing.assert_allclose(reference.upper[:2], 0.25 * 1.1 * np.array([0.2, 0.3]) ** 1.5)
    np.testing.assert_allclose(reference.lower[:2], 0.25 * 0.9 * np.array([0.2, 0.3]) ** 1.5)
    np.testing.assert_allclose(reference.standard_error[:2], 0.25 * 0.01 * np.array([0.2, 0.3]) ** 1.5, rtol=1e-6)
    np.testing.assert_allclose(reference.exponent[:2], 1.5)
    assert np.isnan([reference.mse[2], reference.lower[2], reference.upper[2], reference.exponent[2]]).all()


def test_names_of_one_law() -> None:
    make = CalphaContours.from_parameters
    assert unit_contrast(make({"beta": 2.0})) == unit_contrast(make({"contrast": 0.2}))
    assert unit_contrast(make({"beta": 1.0, "background": "constant"})) == unit_contrast(
        make({"background": "constant"})
    )
    assert unit_contrast(make({"beta": 1.0})) != unit_contrast(make({}))
    law = make({})
    assert law.background_spectrum.sum() == pytest.approx((law.contrast / 4) ** 2 * 64**2)
    assert unit_contrast(law).background_spectrum.sum() == pytest.approx(64**2 / 16)


def test_the_papers_law_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bracket"):
        compute_curve(CalphaContours.from_parameters({"law": "paper"}), [0.1], 4, tmp_path / "curves.parquet")
