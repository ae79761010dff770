"""The store of numbers that took hours, and its one interpolation."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gahb_bench.core.errors import StoreError, StoreWarning, UsageError
from gahb_bench.core.files import HOME, home, lock
from gahb_bench.tables import store
from gahb_bench.tables.interpolate import between_levels, covers, stored_curve
from gahb_bench.tables.sampled import at_levels

LEVELS = np.geomspace(0.01, 10, 13)


def curve(sigma):
    return sigma**2 / (1 + sigma**1.5)


def slope(sigma):
    return 2 - 1.5 * sigma**1.5 / (1 + sigma**1.5)


def rows(sigma: float, value: float, family: str = "a:b=1,c=2", **more) -> pd.DataFrame:
    about = {"images": 8, "seed": 0, "rule": 1} | more
    return store.make_rows(family, sigma, {"mse": (value, 0.01 * value)}, **about)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME, str(tmp_path))
    return tmp_path


@pytest.fixture(params=["a file", "below a file", "no home directory"])
def no_home(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes that cannot be written, whoever the user is."""
    store._warn.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(HOME, str(tmp_path / "file" / ("below" if request.param == "below a file" else "")))
    if request.param == "no home directory":
        monkeypatch.delenv(HOME)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def fails():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", fails)


def test_rows_are_kept_sorted_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.parquet"
    for level, value in ((1.0, 0.25), (1 / 3, 1e-7), (2.0, 0.5)):
        store.add(path, rows(level, value))
    store.add(path, rows(2.0, 0.75))  # in the place of the earlier one
    store.add(path, rows(2.0, 3.0, family="other"))
    found = store.read(path)
    assert set(found) == {("a:b=1,c=2", ""), ("other", "")}
    table = store.by_level(found["a:b=1,c=2", ""])
    assert table.index.tolist() == [1 / 3, 1.0, 2.0]
    assert table["mse"].tolist() == [1e-7, 0.25, 0.75]
    np.testing.assert_allclose(table["mse_se"], 0.01 * table["mse"])
    assert table["images"].tolist() == [8, 8, 8]
    assert [file.name for file in path.parent.iterdir()] == ["table.parquet"]
    assert store.missing_levels(path, "a:b=1,c=2", [1.0 + 1e-12, 1.1], rule=1) == [1.1]
    assert store.missing_levels(path, "a:b=1,c=2", [1.0], rule=2) == [1.0]
    assert store.missing_levels(path, "a:b=1,c=2", [1.0], rule=1, provenance="another method") == [1.0]


def test_replacing_by_subject_forgets_the_other_levels(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    store.add(path, pd.concat([rows(1.0, 0.25), rows(2.0, 0.5), rows(1.0, 7.0, family="other")]))
    store.add(path, rows(3.0, 0.75), replace=store.SUBJECT)
    found = store.read(path)
    assert found["a:b=1,c=2", ""]["sigma"].tolist() == [3.0]
    assert found["other", ""]["value"].tolist() == [7.0]


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gahb_bench.tables import store\n"
        "for level in range(1, 16):\n"
        "    rows = store.make_rows(sys.argv[2], level, {'mse': 1.0}, images=1, seed=0, rule=1)\n"
        "    store.add(Path(sys.argv[1]), rows)\n"
    )
    path = tmp_path / "table.parquet"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("one", "two", "three")]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert {family: len(found) for (family, _), found in store.read(path).items()} == {
        "one": 15,
        "two": 15,
        "three": 15,
    }


def test_the_home_is_named_by_one_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "mine"))
    assert store.own("tuned") == tmp_path / "mine" / "tables" / "tuned.parquet"
    monkeypatch.delenv(HOME)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home() == tmp_path / "cache" / "gahb_bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "user")
    assert home() == tmp_path / "user" / ".cache" / "gahb_bench"


def test_own_rows_come_before_shipped_ones(own_home: Path) -> None:
    shipped = store.find("levels", "gmm", rule=1)
    assert len(shipped) == 1
    assert store.keep("levels", rows(0.3, 0.5, family="gmm")) == own_home / "tables" / "levels.parquet"
    mine, theirs = store.find("levels", "gmm", rule=1)
    assert mine["value"].tolist() == [0.5]
    pd.testing.assert_frame_equal(theirs, shipped[0])
    assert store.find("levels", "gmm", rule=2) == []
    assert store.find("levels", "gmm", "tv", rule=1) == []
    store.keep("levels", rows(0.3, 0.6, family="gmm"))  # a file that changed is read again
    assert store.find("levels", "gmm", rule=1)[0]["value"].tolist() == [0.6]


def test_a_few_own_levels_do_not_hide_a_shipped_curve(own_home: Path) -> None:
    shipped = stored_curve("disks", rule=1)
    for level in (0.1, 0.2, 0.3):
        store.keep("curves", rows(level, level, family="disks"))
    pd.testing.assert_frame_equal(stored_curve("disks", rule=1), shipped)
    store.keep("curves", rows(0.4, 0.4, family="disks"))
    assert stored_curve("disks", rule=1).index.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert stored_curve("disks", rule=2) is None


def test_a_home_that_cannot_be_written_costs_one_warning(no_home: None) -> None:
    assert len(store.find("levels", "gmm", rule=1)) == 1  # what is shipped is found
    with pytest.warns(StoreWarning, match=f"not kept for the next time.*{HOME}"):
        assert store.keep("levels", rows(0.3, 0.5)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.keep("levels", rows(0.4, 0.5)) is None


def test_a_run_outlives_a_home_that_cannot_be_written(no_home: None) -> None:
    with pytest.warns(StoreWarning):
        found = at_levels("nothing stored", np.array([0.1, 0.2]), lambda s: rows(s, s**2), rule=1, keep=True)
    np.testing.assert_allclose(found["mse"], [0.01, 0.04])


def test_explicit_writing_where_it_cannot_be_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=HOME):
        store.add(tmp_path / "file" / "below" / "table.parquet", rows(0.1, 1.0))


def _fill(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "other columns":
        pd.DataFrame({"family": ["a"]}).to_parquet(path)
    else:
        path.write_bytes({"empty": b"", "text": b"nonsense", "torn": b"PAR1" + bytes(range(256)) + b"PAR1"}[kind])


@pytest.mark.parametrize("kind", ["empty", "text", "torn", "other columns"])
def test_a_damaged_file_of_the_users_costs_one_warning(own_home: Path, kind: str) -> None:
    path = store.own("tuned")
    before = store.find("tuned", "calpha", "tv", rule=1)
    _fill(path, kind)
    with pytest.warns(StoreWarning, match=r"only those of the package: .*tuned\.parquet is no table.*remove it"):
        (found,) = store.find("tuned", "calpha", "tv", rule=1)
    pd.testing.assert_frame_equal(found, before[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(store.find("tuned", "calpha", "tv", rule=1)) == 1
    with pytest.raises(UsageError, match=r"tuned\.parquet is no table"):
        store.add(path, rows(0.1, 1.0))


def test_an_empty_home_variable_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (HOME, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    with pytest.raises(StoreError, match=f"no home directory: set {HOME}"):
        home()
    assert len(store.find("levels", "gmm", rule=1)) == 1
    store._warn.cache_clear()
    with pytest.warns(StoreWarning, match="not kept for the next time"):
        assert store.keep("levels", rows(0.3, 0.5)) is None


def test_the_error_of_a_folder_that_another_process_writes_names_that_alone(tmp_path: Path) -> None:
    busy = pytest.raises(StoreError, match="being written by another process: wait")
    with lock(tmp_path), busy as caught, lock(tmp_path):
        pass
    assert "space" not in str(caught.value)


def test_between_levels_on_a_known_curve() -> None:
    at = np.array([0.01, 0.013, 0.5, 10.0, 0.0099, 11.0])
    values, errors, slopes = between_levels(LEVELS, curve(LEVELS), 0.01 * curve(LEVELS), at)
    np.testing.assert_allclose(values[:4], curve(at[:4]), rtol=2e-3)
    np.testing.assert_allclose(slopes[:4], slope(at)[:4], atol=0.03)
    assert np.isnan(values[4:]).all()
    assert np.isnan(errors[4:]).all()
    assert np.isnan(slopes[4:]).all()
    assert (errors[:4] >= 0.00999 * values[:4]).all()
    assert (np.abs(values - curve(at))[:4] <= errors[:4]).all()
    assert covers(LEVELS, at).tolist() == [True] * 4 + [False] * 2


def test_each_level_comes_from_where_it_is_known(own_home: Path) -> None:
    """In the curve, at a stored level, measured now: none of them changes what another gives."""
    for level in LEVELS:
        store.keep("curves", rows(level, curve(level), family="law"))
    store.keep("levels", rows(20.0, 99.0, family="law"))
    asked = np.array([30.0, 0.5, 20.0, 0.5, 0.012])
    measured: list[float] = []

    def measure(sigma: float) -> pd.DataFrame:
        measured.append(sigma)
        return rows(sigma, 123.0, family="law", images=3)

    found = at_levels("law", asked, measure, rule=1, keep=True)
    assert measured == [30.0]
    assert found["mse"].tolist()[0::2] == [123.0, 99.0, pytest.approx(curve(0.012), rel=1e-3)]
    assert found["images"].tolist() == [3, 8, 8, 8, 8]
    np.testing.assert_allclose(found["exponent"].to_numpy()[[1, 3, 4]], slope(asked[[1, 3, 4]]), atol=0.03)
    assert np.isnan(found["exponent"].to_numpy()[[0, 2]]).all()
    alone = at_levels("law", asked[1:2], measure, rule=1)
    pd.testing.assert_series_equal(alone.loc[0], found.loc[1], check_names=False)
    at_levels("law", asked, measure, rule=1)  # what was measured was kept
    assert measured == [30.0]
    at_levels("law", asked[:1], measure, rule=2)  # but not for another rule
    assert measured == [30.0, 30.0]


def test_a_level_that_differs_by_rounding_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "curves.parquet"
    for sigma, mse in ((0.3, 1.0), (3 * 0.1, 2.0)):  # two different numbers
        store.add(path, store.make_rows("law", sigma, {"mse": mse}, images=8, seed=0, rule=1))
    (rows,) = store.read(path).values()
    assert rows["value"].tolist() == [2.0]
