"""Stored reference tables: writing, resuming, reading between levels."""

from pathlib import Path

import numpy as np
import pytest

from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.tables import TABLE, compute_table, unit_contrast
from gahb_bench.tables.reference_tables import OWN_TABLES, add_row, between_levels, find_rows, read_rows


def test_rows_are_kept_sorted_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for level, value in ((1.0, 0.25), (1 / 3, 1e-7), (2.0, 0.5)):
        add_row(path, {"family": "a:b=1,c=2", "level": level, "mse": value})
    rows = read_rows(path)
    assert [row["level"] for row in rows] == pytest.approx([1 / 3, 1.0, 2.0], rel=1e-11)
    assert [row["mse"] for row in rows] == [1e-7, 0.25, 0.5]
    assert {row["family"] for row in rows} == {"a:b=1,c=2"}
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_between_levels_on_a_known_curve() -> None:
    levels = np.geomspace(0.01, 10, 13)
    curve = lambda s: s**2 / (1 + s**1.5)  # noqa: E731
    at = np.array([0.01, 0.013, 0.5, 10.0, 0.0099, 11.0])
    values, errors, slopes = between_levels(levels, curve(levels), 0.01 * curve(levels), at)
    np.testing.assert_allclose(values[:4], curve(at[:4]), rtol=2e-3)
    slope = 2 - 1.5 * at**1.5 / (1 + at**1.5)
    np.testing.assert_allclose(slopes[:4], slope[:4], atol=0.03)
    assert np.isnan(values[4:]).all()
    assert np.isnan(errors[4:]).all()
    assert (errors[:4] >= 0.00999 * values[:4]).all()
    assert (np.abs(values - curve(at))[:4] <= errors[:4]).all()


def test_computing_resumes_and_is_deterministic(tmp_path: Path) -> None:
    law = CalphaContours.from_parameters({"size": 16, "background": "constant", "contrast": 0.3})
    lines: list[str] = []
    compute_table(law, [0.2], 5, tmp_path / TABLE, sweeps=9, echo=lines.append)
    assert any("5 of 5 images" in line and "minutes left" in line for line in lines)
    first = read_rows(tmp_path / TABLE)
    lines.clear()
    compute_table(law, [0.2, 0.4], 5, tmp_path / TABLE, sweeps=9, echo=lines.append)
    assert "1 of 2 levels stored, 1 to do" in lines[0]
    both = read_rows(tmp_path / TABLE)
    assert both[0] == first[0]
    compute_table(law, [0.2, 0.4], 5, tmp_path / "again.csv", sweeps=9, echo=lines.append)
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in both]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(tmp_path / "again.csv")] == timeless


def test_ones_own_table_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    law = CalphaContours.from_parameters({"size": 16, "background": "constant"})
    assert law.reference([0.1]).kind == "approximate"
    for level in (0.1, 0.2, 0.4, 0.8):
        row = {"family": unit_contrast(law).spec, "level": level, "images": 8.0}
        for key in ("lower", "upper", "genie"):
            row |= {key: (0.9 if key == "lower" else 1.1) * level**1.5, f"{key}_se": 0.01 * level**1.5}
        add_row(tmp_path / TABLE, row)
    monkeypatch.setenv(OWN_TABLES, str(tmp_path))
    reference = law.reference([0.1, 0.15, 0.9])
    assert reference.kind == "bracket"
    np.testing.assert_allclose(reference.upper[:2], 0.25 * 1.1 * np.array([0.2, 0.3]) ** 1.5)
    np.testing.assert_allclose(reference.lower[:2], 0.25 * 0.9 * np.array([0.2, 0.3]) ** 1.5)
    np.testing.assert_allclose(reference.standard_error[:2], 0.25 * 0.01 * np.array([0.2, 0.3]) ** 1.5, rtol=1e-6)
    np.testing.assert_allclose(reference.exponent[:2], 1.5)
    assert np.isnan([reference.mse[2], reference.lower[2], reference.upper[2], reference.exponent[2]]).all()
    assert find_rows(TABLE, "no such law") == []


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
        compute_table(CalphaContours.from_parameters({"law": "paper"}), [0.1], 4, tmp_path / TABLE)
