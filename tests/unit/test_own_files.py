"""Files that are the user's: nothing overwrites them, and an empty name is no folder."""

import shutil
import sys
import types
from pathlib import Path

import pytest

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.cli import app
from gahb_bench.core.errors import GahbError, StoreError, StoreWarning, UsageError
from gahb_bench.core.files import HOME, lock
from gahb_bench.reporting import report
from gahb_bench.running import engine
from gahb_bench.running.geometry import carry_out as geometry
from gahb_bench.running.plan import make_plan
from gahb_bench.tables import store, tuned
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import make_settings
from gahb_bench.tuning import tune

FAMILY = "calpha:size=8"


def plan(**changes):
    return make_plan([FAMILY], ["mmse"], [0.1], **({"images": 2} | changes))


def settings(**changes):
    values = {"steps": 2, "batch": 2, "validate_every": 2, "validation_images": 2} | changes
    return make_settings(FAMILY, "linear", values)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder, call, match):
    """It is refused, and the folder is as it was."""
    before = contents(folder)
    with pytest.raises(StoreError, match=match):
        call()
    assert contents(folder) == before


@pytest.mark.parametrize(
    "name",
    ["report.html", "report.md", "curves.png", "curves.csv", "scores.parquet", "summary.csv", "thumbnails.npz"],
)
def test_a_run_leaves_the_users_files_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    refused(
        tmp_path, lambda: engine.run(plan(), tmp_path), f"holds {name}, which this would overwrite.*nothing was changed"
    )


def test_a_run_may_stand_beside_other_files(tmp_path):
    (tmp_path / "notes.html").write_text("mine")
    assert engine.run(plan(), tmp_path).resumed == 0
    assert engine.run(plan(), tmp_path).resumed == 1
    assert (tmp_path / "notes.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.html", "geometry.csv", "spectra.png"])
def test_geometry_leaves_the_users_files_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    refused(
        tmp_path, lambda: geometry.measure_all(plan(images=1), tmp_path), f"holds '{name}' and is no folder of geometry"
    )


def test_geometry_and_runs_do_not_overwrite_each_other(tmp_path):
    engine.run(plan(), tmp_path / "run")
    geometry.measure_all(plan(images=1), tmp_path / "geometry")
    assert geometry.measure_all(plan(images=1), tmp_path / "geometry").resumed == 1
    refused(tmp_path, lambda: geometry.measure_all(plan(images=1), tmp_path / "run"), "is no folder of geometry")
    refused(tmp_path, lambda: engine.run(plan(), tmp_path / "geometry"), "not a run's manifest")
    (tmp_path / "training.json").write_text("{}")
    refused(tmp_path, lambda: geometry.measure_all(plan(images=1), tmp_path), "is no folder of geometry")


@pytest.mark.parametrize("name", ["report.html", "report.md", "curves.png"])
def test_a_report_leaves_the_users_files_alone(tmp_path, name):
    engine.run(plan(), tmp_path / "run")
    page = tmp_path / "page"
    page.mkdir()
    (page / name).write_text("<title>mine</title>")
    content = report.merged([tmp_path / "run"])
    refused(page, lambda: report.write(content, page), f"holds {name}, which this would overwrite")
    report.write(content, tmp_path / "ours")
    report.write(content, tmp_path / "ours")  # its own page may be made again
    report.write_report(tmp_path / "run")


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "log.jsonl"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_training_leaves_the_users_files_alone(tmp_path, name, resume):
    (tmp_path / name).write_text("mine")
    refused(tmp_path, lambda: fit(settings(), tmp_path, resume=resume), f"holds {name}, which this would overwrite")


@pytest.mark.parametrize("resume", [True, False])
def test_a_training_does_not_overwrite_the_weights_it_starts_from(tmp_path, resume):
    best = fit(settings(), tmp_path / "first")
    refused(
        tmp_path,
        lambda: fit(settings(initial=str(best)), tmp_path / "first", resume=resume),
        "the weights to start from, .*best.safetensors, lie in .* would overwrite them: nothing was changed",
    )
    (tmp_path / "alone").mkdir()
    shutil.copy(best, tmp_path / "alone" / "last.safetensors")  # without the description of its training
    (tmp_path / "link").symlink_to(tmp_path / "alone")
    started = settings(initial=str(tmp_path / "link" / "last.safetensors"))
    refused(tmp_path, lambda: fit(started, tmp_path / "alone", resume=resume), "lie in .* would overwrite them")
    shutil.copy(best, tmp_path / "mine.safetensors")  # under a name that is not written, beside it, it may lie
    fit(settings(initial=str(tmp_path / "mine.safetensors")), tmp_path, resume=resume)
    assert (tmp_path / "mine.safetensors").read_bytes() == best.read_bytes()


@pytest.mark.parametrize("resume", [True, False])
def test_a_refused_training_makes_no_events(tmp_path, monkeypatch, resume):
    """TensorBoard's writer makes its folder when it is made."""
    made = []

    class Writer:
        def __init__(self, path):
            made.append(path)
            Path(path).mkdir()

        def add_scalar(self, *_):
            pass

        flush = add_scalar

    tensorboard = types.ModuleType("torch.utils.tensorboard")
    vars(tensorboard)["SummaryWriter"] = Writer
    monkeypatch.setitem(sys.modules, tensorboard.__name__, tensorboard)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "log.jsonl").write_text("mine")
    refused(folder, lambda: fit(settings(), folder, resume=resume, tensorboard=True), "holds log.jsonl")
    assert (made, [path.name for path in folder.iterdir()]) == ([], ["log.jsonl"])
    fit(settings(), tmp_path / "new", resume=resume, tensorboard=True)
    assert made == [str(tmp_path / "new" / "events")]


def test_what_is_refused_leaves_no_folder(tmp_path):
    """Neither of a training nor of a run, and none above it."""
    for deep in (tmp_path / "t3", tmp_path / "a" / "b" / "t3"):
        wrong = make_settings("calpha:size=32", "dncnn", {"steps": 2, "batch": 2, "initial": "calpha-32"})
        with pytest.raises(UsageError, match="cannot start from it"):
            fit(wrong, deep)
        with pytest.raises(StoreError, match="mine"), lock(deep / "run"):
            raise StoreError("mine")
    assert not list(tmp_path.iterdir())
    (tmp_path / "t3").mkdir()
    with pytest.raises(UsageError, match="cannot start from it"):
        fit(wrong, tmp_path / "t3")
    assert (tmp_path / "t3").is_dir(), "it was there before"
    with lock(tmp_path / "kept"):
        (tmp_path / "kept" / "file").touch()
    assert (tmp_path / "kept" / "file").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    engine.run(plan(), folder)
    report.write_report(folder)
    return folder


FORMS = [("compare", form) for form in ("text", "md", "html", "json", "junit")]
FILES = [*FORMS, *(("report", form) for form in ("png", "svg", "pdf")), ("show", "png"), ("generate", "npz")]


@pytest.mark.parametrize(("name", "form"), FILES)
def test_a_single_file_of_the_users_is_not_replaced(runs, tmp_path, name, form):
    """It is refused before anything is computed; an empty file, and one of this program's own, may be replaced."""
    path = tmp_path / f"mine.{form}"
    words = {
        "compare": ("compare", str(runs), str(runs), "--format", form, "--out", str(path)),
        "report": ("report", str(runs), "--figure", str(path)),
        "show": ("show", "--family", FAMILY, "--images", "1", "--out", str(path)),
        "generate": ("generate", "--family", FAMILY, "--images", "1", "--out", str(path)),
    }[name]

    def call():
        app(words, standalone_mode=False)

    option = "--figure" if name == "report" else "--out"
    for mine in (b"mine", b"notes on gahb_bench\n" * 9, b"\x89PNG\r\n\x1a\n"):
        path.write_bytes(mine)
        refused(tmp_path, call, f"is there already, .*nothing was changed. Give {option} another name")
    path.write_bytes(b"")
    call()
    first = path.read_bytes()
    assert len(first) > 100
    call()
    if form != "npz":  # which states times
        assert path.read_bytes() == first


OF_A_RUN = [("compare", "run.json"), ("compare", "report.html"), ("compare", "summary.csv"), ("report", "curves.png")]


@pytest.mark.parametrize(("name", "file"), [*OF_A_RUN, ("show", "curves.png"), ("generate", "thumbnails.npz")])
@pytest.mark.parametrize("there", [True, False])
def test_a_single_file_takes_no_place_of_a_runs(runs, tmp_path, name, file, there):
    """Not even if this program wrote what is there, or the name is free until the run's page is made."""
    folder = tmp_path / "run"
    shutil.copytree(runs, folder)
    if not there and file != "run.json":
        (folder / file).unlink()
    path = str(tmp_path / "run" / ".." / "run" / file)
    words = {
        "compare": ("compare", str(runs), str(runs), "--format", "json", "--out", path),
        "report": ("report", str(runs), "--figure", path),
        "show": ("show", "--family", FAMILY, "--images", "1", "--out", path),
        "generate": ("generate", "--family", FAMILY, "--images", "1", "--out", path),
    }[name]
    refused(tmp_path, lambda: app(words, standalone_mode=False), f"{file} is a file of the run in that folder")


def test_a_gallerys_own_name_is_no_reason_to_replace_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calpha.png").write_bytes(b"mine")
    words = ("show", "--family", FAMILY, "--images", "1")
    refused(tmp_path, lambda: app(words, standalone_mode=False), "calpha.png is there already")


@pytest.fixture
def untunable(monkeypatch, tmp_path_factory):
    """Tuning is an error: whatever is refused has to be refused before it. The home holds no tables yet."""
    monkeypatch.setenv("GAHB_BENCH_HOME", str(tmp_path_factory.mktemp("home")))

    def begun(*_, **__):
        raise AssertionError("it was tuned")

    monkeypatch.setattr(make, "tuned_when_bound", begun)
    with pytest.raises(AssertionError, match="it was tuned"):
        gb.denoiser("gaussian-blur", FAMILY)


OF_TUNED = ("run", "--family", FAMILY, "--denoisers", "gaussian-blur", "--images", "1", "--sigmas", "0.1")


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--out", "page"), "holds report.html, which this would overwrite"),
        (("--out", "run"), "holds a run of other families, or of another seed or split"),
        (("--out", "training"), "holds a training"),
        (("--out", "page/report.html/run"), "cannot write to the folder .*report.html is a file"),
        (("--device", "cuda:99"), "cannot be used here"),
        (("--reuse", "page"), "holds no finished work"),
        (("--denoisers", "nosuch"), "unknown denoiser"),
        (("--denoisers", "gaussian-blur"), "is given twice"),
        (("--family", "calpha:size=16", "--denoisers", "no.such:thing"), "cannot load"),
    ],
)
def test_a_run_that_is_refused_is_refused_before_tuning(untunable, tmp_path, monkeypatch, more, match):
    monkeypatch.chdir(tmp_path)
    for name in ("page", "training"):
        (tmp_path / name).mkdir()
    (tmp_path / "page" / "report.html").write_text("mine")
    (tmp_path / "training" / "training.json").write_text("{}")
    engine.run(plan(seed=1), tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(GahbError, match=match):
        app((*OF_TUNED, *more), standalone_mode=False)
    assert contents(tmp_path) == before


def test_other_doors_refuse_before_tuning(untunable, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    words = ("geometry", "--family", FAMILY, "--denoisers", "gaussian-blur", "--out", str(tmp_path))
    refused(tmp_path, lambda: app(words, standalone_mode=False), "is no folder of geometry")
    for wrong in ({"sigmas": [-1]}, {"images": 0}, {"device": "cuda:99"}, {"denoisers": ["gaussian-blur", "nosuch"]}):
        given = {"denoisers": ["gaussian-blur"], "sigmas": [0.1], "images": 1} | wrong
        with pytest.raises(UsageError):
            gb.score(FAMILY, **given)


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs a command in an empty folder, and gives its error; it should leave nothing there."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*words):
        with pytest.raises(GahbError) as caught:
            app(words, standalone_mode=False)
        assert not list(here.iterdir())
        return str(caught.value)

    return call


RUN = ("run", "--family", FAMILY, "--denoisers", "identity", "--images", "1", "--sigmas", "0.1")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ((*RUN, "--out", ""), "--out"),
        ((*RUN, "--out="), "--out"),
        ((*RUN, "--out", "  "), "--out"),
        (("train", "--family", FAMILY, "--network", "linear", "--steps", "1", "--out", ""), "--out"),
        (("geometry", "--family", FAMILY, "--images", "1", "--out", ""), "--out"),
        (("report", ""), "an argument"),
        (("compare", "a", "b", "--fail-on", ""), "--fail-on"),
    ],
)
def test_an_empty_name_is_refused(command, words, name):
    assert command(*words) == f"{name} is given an empty value: give one, or leave it out."


def test_values_that_end_in_an_equals_sign_are_no_empty_ones(command):
    assert "wavelet" in command(*RUN[:3], "--denoisers", "wavelet:rule=")
    assert "empty value" not in command("compare", "a", "b", "--map=old=")


def test_the_home_is_never_the_packages_own_folder(monkeypatch):
    folder = store.shipped("tuned").parents[1]
    before = contents(folder)
    for home in (folder, folder / "tables", folder / "tables" / ".." / "new"):
        monkeypatch.setenv(HOME, str(home))
        with pytest.raises(StoreError, match=rf"{HOME}=.* is the package's own data"):
            store.own("tuned")
    law = gb.family(FAMILY)
    method = make.tunable("gaussian-blur", law)
    with pytest.warns(StoreWarning, match="not kept for the next time: .*the package's own data"):
        assert tuned.keep(tune(method, law, [0.1], images=1, coarse=3)) is None
    assert gb.denoiser("gaussian-blur", "calpha").facts.tuning, "what is shipped is read all the same"
    assert contents(folder) == before


def test_tuning_says_what_it_takes_the_place_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(HOME, str(tmp_path))
    spec, shipped_table = "calpha:size=32", tuned.find("gaussian-blur", "calpha:size=32")
    assert shipped_table is not None
    words = ("tune", "--denoiser", "gaussian-blur", "--family", spec, "--images", "1", "--sigmas")
    app((*words, "0.1,0.11"), standalone_mode=False)
    out = capsys.readouterr().out
    others = len(shipped_table.sigma) - 1
    assert f"used beside {others} noise levels that were stored before" in out
    assert (
        f"in the place of what was stored at 1 of these noise levels (images of split val: {shipped_table.images})"
        in out
    )
    app((*words, "0.12"), standalone_mode=False)
    out = capsys.readouterr().out
    assert f"used beside {others + 2} noise levels" in out
    assert "in the place of" not in out
    merged = tuned.find("gaussian-blur", spec)
    assert merged is not None
    kept = dict(zip(merged.sigma, merged.value, strict=True))
    assert all(kept[s] == v for s, v in zip(shipped_table.sigma, shipped_table.value, strict=True) if s != 0.1)
