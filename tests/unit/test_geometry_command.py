"""The command ``geometry``: measured once, kept, drawn from its files alone."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.reporting.geometry.content import families, interval
from gahb_bench.reporting.geometry.report import write_report
from gahb_bench.running.geometry import carry_out as geometry
from gahb_bench.running.geometry import cell as geometry_cell
from gahb_bench.running.geometry import folder as geometry_folder
from gahb_bench.running.plan import make_plan

CONTRACT = (
    "trace,sum_squares,asymmetry,negative,affinity,overlap,adaptivity_10,adaptivity_50,basis_risk,sure,mse,dimension"
)
SPEC = "calpha:size=8"


def _command(folder, *more):
    words = ["--family", SPEC, "--denoisers", "mmse,wavelet", "--sigmas", "0.1,0.3", "--images", "2"]
    return CliRunner().invoke(app, ["geometry", *words, "--out", str(folder), *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("geometry") / "out"
    done = _command(place)
    assert done.exit_code == 0, done.output
    return place


def test_tables(folder):
    rows = pd.read_csv(folder / "geometry.csv")
    assert set(CONTRACT.split(",")) <= set(rows.columns)
    assert list(rows.columns[:5]) == ["family", "denoiser", "knows", "sigma", "image"]
    assert len(rows) == 8
    exact = rows[rows["denoiser"] == "mmse"]
    law = gb.family(SPEC)
    for sigma in (0.1, 0.3):
        gain = law.spectrum / (law.spectrum + sigma**2)
        assert exact[exact["sigma"] == sigma]["trace"].to_numpy() == pytest.approx(gain.sum())
    assert exact["overlap"].to_numpy() == pytest.approx(1)
    assert exact["excess"].to_numpy() == pytest.approx(0)
    assert (exact["asymmetry"] < 1e-9).all()
    other = rows[rows["denoiser"] == "wavelet"]
    assert (other["excess"] > 0).all()
    assert (other["error_symmetric"] > 0).all()
    spectra = pd.read_parquet(folder / "spectra.parquet")
    assert len(spectra) == 8 * 64
    kept = spectra[spectra["eigenvalue"] > 0.5].groupby(["denoiser", "sigma", "image"]).size()
    for _, row in rows.iterrows():
        assert kept[row["denoiser"], row["sigma"], row["image"]] == row["dimension"]
    bases = pd.read_parquet(folder / "bases.parquet")
    assert set(bases["basis"]) == {"mmse", "wavelet", "fourier", "dct"}
    assert set(bases[bases["denoiser"] == ""]["basis"]) == {"fourier", "dct", "wavelet"}
    last = bases[bases["vectors"] == 64]
    assert last["captured"].to_numpy() == pytest.approx(1)


def test_page_and_figures(folder):
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 + 2 * 2
    for word in ("overlap", "Adaptivity", "Sensitivity", "σ = 0.1", "wavelet", "http-equiv"):
        assert word in page
    assert "http://" not in page
    assert "https://" not in page
    for name in ("spectra", "overlap", "adaptivity", "eigenvectors-0.1", "fields-0.3"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    before = page
    write_report(folder)
    assert (folder / "report.html").read_text() == before


def test_finished_cells_are_used_again_and_damaged_ones_made_anew(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    parts = sorted((copy / "parts").iterdir())
    assert len(parts) == 8
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:-40])
    parts[2].write_bytes(parts[3].read_bytes())  # a part in the place of another
    done = _command(copy)
    assert done.exit_code == 0
    assert "5 finished cells" in done.output
    pd.testing.assert_frame_equal(pd.read_csv(copy / "geometry.csv"), pd.read_csv(folder / "geometry.csv"))
    more = _command(copy, "--seed", "1")
    assert "finished cells" not in more.output
    shown = _command(copy, "--top", "4")
    assert "finished cells" not in shown.output  # other pictures


def test_a_run_s_page_links_to_it(tmp_path):
    place = tmp_path / "run"
    words = ["run", "--family", SPEC, "--denoisers", "mmse,identity", "--sigmas", "0.1", "--images", "4"]
    assert CliRunner().invoke(app, [*words, "--out", str(place)]).exit_code == 0
    assert "geometry/report.html" not in (place / "report.html").read_text()
    assert _command(place / "geometry").exit_code == 0
    assert 'href="geometry/report.html"' in (place / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--top", "0"], "top=0"),
        (["--top", "65"], "at most 64"),
        (["--images", "0"], "images"),
        (["--family", "calpha:size=1024"], "at most 65,536"),
        (["--sigmas", "-1"], "sigma"),
    ],
)
def test_wrong_usage(tmp_path, words, reason):
    base = ["--family", SPEC, "--denoisers", "mmse", "--sigmas", "0.1", "--images", "1"]
    for option in words[::2]:
        at = base.index(option) if option in base else None
        if at is not None:
            del base[at : at + 2]
    with pytest.raises(UsageError, match=reason):
        CliRunner().invoke(app, ["geometry", *base, *words, "--out", str(tmp_path / "x")], catch_exceptions=False)
    assert not (tmp_path / "x").exists()


def test_several_families_each_with_its_own_defaults(tmp_path):
    words = ["geometry", "--family", f"{SPEC},besov:size=8", "--sigmas", "0.3", "--images", "1"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "x")])
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(tmp_path / "x" / "geometry.csv")
    assert set(rows["family"]) == {SPEC, "besov:size=8"}
    assert {"mmse", "local-mmse"} <= set(rows["denoiser"])
    assert (tmp_path / "x" / "spectra-1.png").exists()


def test_posterior_mean_of_contours_is_left_out_of_the_defaults():
    from gahb_bench import defaults

    law = gb.family("calpha-contours:size=32")
    chosen = defaults.differentiated(law)
    assert "genie" in chosen
    assert "posterior-mean" not in chosen
    assert "network:weights=contours-32" in chosen


def _half(y, sigma):
    """A callable that leaves torch: its derivative is found by differences, and the table says so."""
    return torch.from_numpy(0.5 + 0.5 * (y.detach().numpy() - 0.5))


def _fails(y, sigma):
    raise RuntimeError("out of order")


def _exits(y, sigma):
    sys.exit(3)


OWN = torch.Generator()  # the global one is put back after each call


def _random(y, sigma):
    return y + 0.05 * torch.randn(y.shape, generator=OWN)


def _cropped(y, sigma):
    return y[:, :, :-1]


def test_brought_denoisers(tmp_path):
    plan = make_plan([SPEC], ["mmse", _half, _fails, _exits, _random, _cropped, "tv"], [0.1], 1)
    made = geometry.measure_all(plan, tmp_path / "out")
    rows = made.rows.set_index("denoiser")
    assert rows.loc["_half", "derivative"] == "difference"
    assert rows.loc["_half", "trace"] == pytest.approx(32, rel=1e-3)
    assert rows.loc["_half", "dimension"] in range(65)
    assert np.isnan(rows.loc["_half", "overlap"])  # all of its eigenvalues are 1/2: it has no leading ones
    reasons = {failure.denoiser: failure.reason for failure in made.failures}
    assert list(reasons) == ["_fails", "_exits", "_random", "_cropped", "tv"]
    for name, reason in zip(reasons, ("out of order", "SystemExit", "each call", "shape", "no deriv"), strict=True):
        assert reason in reasons[name]
    write_report(tmp_path / "out")
    assert "out of order" in (tmp_path / "out" / "report.html").read_text()
    again = geometry_folder.read(tmp_path / "out")
    assert len(again.failures) == 5
    assert "<code>_half</code> is differentiated by differences" in (tmp_path / "out" / "report.html").read_text()


def test_large_images_have_their_leading_eigenvectors(tmp_path, monkeypatch):
    monkeypatch.setattr(geometry_cell, "FULL", 100)
    plan = make_plan(["calpha:size=16"], ["mmse", "wavelet:shifts=all,rule=bayes"], [0.3], 1)
    made = geometry.measure_all(plan, tmp_path / "out", top=4)
    rows = made.rows.set_index("denoiser")
    assert rows["trace"].isna().all()
    assert rows.loc["mmse", "overlap"] == pytest.approx(1, abs=1e-5)
    assert 0 < rows.loc["wavelet:rule=bayes,shifts=all", "overlap"] < 1
    assert (made.spectra.groupby("denoiser").size() == 50).all()
    write_report(tmp_path / "out")
    failed = geometry.measure_all(make_plan(["calpha:size=16"], ["nlm", "wavelet"], [0.3], 1), tmp_path / "other")
    assert [failure.denoiser for failure in failed.failures] == ["nlm"]
    assert "whole Jacobian" in failed.failures[0].reason


def test_a_law_without_a_known_optimum(tmp_path):
    plan = make_plan(["calpha-contours:size=16"], ["genie", "wavelet"], [0.3], 1)
    made = geometry.measure_all(plan, tmp_path / "out")
    assert made.rows["overlap"].isna().all()
    assert made.rows["straightened_harmonic"].between(0, 1).all()
    assert made.rows.set_index("denoiser").loc["genie", "asymmetry"] < 1e-4
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not known, so nothing here is compared" in page
    assert "straightened" in page


def test_read_refuses_what_is_no_geometry(tmp_path):
    with pytest.raises(StoreError, match="no geometry"):
        geometry_folder.read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({}))
    with pytest.raises(StoreError, match="no geometry"):
        geometry_folder.read(tmp_path)


def test_intervals_need_eight_images():
    assert np.isnan(interval(np.arange(7.0))[1])
    mean, low, high = interval(np.append(np.arange(8.0), np.nan))
    assert low < mean == 3.5 < high


def test_families_put_the_truth_first(tmp_path):
    made = geometry.measure_all(make_plan([SPEC], ["wavelet", "mmse"], [0.1], 1), tmp_path / "out")
    assert families(made)[0].denoisers == ["mmse", "wavelet"]
    assert families(made)[0].optimum == "mmse"


@pytest.mark.parametrize("what", ["run", "report.html", "geometry.csv", "run.json", "notes.txt"])
def test_folders_of_anything_else_are_refused_and_stay(tmp_path, what):
    place = tmp_path / "place"
    if what == "run":
        words = ["run", "--family", SPEC, "--denoisers", "mmse", "--sigmas", "0.1", "--images", "2"]
        assert CliRunner().invoke(app, [*words, "--out", str(place)]).exit_code == 0
    else:
        place.mkdir()
        (place / what).write_text('{"mine": 1}')
    before = {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    plan = make_plan([SPEC], ["mmse"], [0.1], 1)
    with pytest.raises(StoreError, match="no folder of geometry"):
        geometry.measure_all(plan, place)
    assert {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_the_working_folder_is_refused():
    with pytest.raises(UsageError, match=r"working folder|empty value"):
        CliRunner().invoke(app, ["geometry", "--family", SPEC, "--out", ""], catch_exceptions=False)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    plan = make_plan([SPEC], ["mmse"], [0.1], 1)
    for name in ("report.html", "spectra.parquet"):
        (tmp_path / name).mkdir(parents=True)
        with pytest.raises(StoreError, match=name):
            geometry.measure_all(plan, tmp_path)
        (tmp_path / name).rmdir()


def test_a_folder_that_was_begun_and_killed_goes_on(tmp_path):
    plan = make_plan([SPEC], ["mmse"], [0.1], 1)
    geometry_folder.FOLDER.begin(tmp_path, {"rule": 1, "plan": plan.record.model_dump(mode="json")})
    with pytest.raises(StoreError, match="no geometry"):
        geometry_folder.read(tmp_path)
    assert len(geometry.measure_all(plan, tmp_path).rows) == 1


def test_levels_that_agree_to_four_digits_have_figures_of_their_own_and_older_ones_go(tmp_path):
    place = tmp_path / "out"
    geometry.measure_all(make_plan([SPEC], ["mmse"], [0.1, 0.100001], 1), place)
    write_report(place)
    names = {path.name for path in place.glob("eigenvectors-*.png")}
    assert names == {"eigenvectors-0.1.png", "eigenvectors-0.100001.png"}
    (place / "fields-mine.png").write_bytes(b"mine")
    geometry.measure_all(make_plan([SPEC], ["mmse"], [0.3], 1), place)
    write_report(place)
    assert {path.name for path in place.glob("eigenvectors-*.png")} == {"eigenvectors-0.3.png"}
    assert {path.name for path in place.glob("fields-*.png")} == {"fields-0.3.png", "fields-mine.png"}


@pytest.mark.parametrize("scale", [0.0, 0.4, 0.9, 1.0])
def test_a_multiple_of_the_noisy_image_has_no_eigenvectors_of_its_own(tmp_path, scale):
    """Every basis is one of its eigenvectors: overlap is blank, captured energy that of any basis on average."""

    def multiple(y, sigma):
        return scale * y

    made = geometry.measure_all(make_plan([SPEC], ["mmse", multiple], [0.1], 1), tmp_path / "out")
    row = made.rows.set_index("denoiser").loc["multiple"]
    assert np.isnan(row["overlap"])
    assert row["adaptivity_10"] == pytest.approx(10 / 64, rel=1e-6)
    assert row["dimension"] == (64 if scale > 0.5 else 0)  # known of a whole Jacobian
    true = made.rows.set_index("denoiser").loc["mmse"]
    assert row["wasted"] == pytest.approx(row["dimension"] - true["true_dimension"] if scale > 0.5 else 0)
    assert true["wasted"] >= 0


def test_of_large_images_with_more_dimensions_than_were_found_none_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(geometry_cell, "FULL", 100)
    made = geometry.measure_all(make_plan(["calpha:size=16"], ["mmse"], [0.003], 1), tmp_path / "out")
    row = made.rows.iloc[0]
    assert np.isnan(row["true_dimension"])
    assert np.isnan(row["dimension"])
    assert np.isnan(row["wasted"])
    assert row["compared"] in (1, 5, 9, 13, 21, 25, 29, 37, 45, 49)  # whole shells
    assert row["overlap"] == pytest.approx(1, abs=1e-6)
