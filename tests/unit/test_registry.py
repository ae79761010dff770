"""Plugins of this package and of others: found without importing them, and what is wrong with one breaks no other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_packages import contributed_law, install

import gahb_bench as gb
from gahb_bench import __main__ as entry
from gahb_bench import defaults
from gahb_bench.core import registry, source
from gahb_bench.core.errors import UsageError

DENOISER = """
from typing import ClassVar
{imports}
from pydantic import Field

from gahb_bench.core.denoiser import Denoiser

{before}

class {cls}(Denoiser):
    \"\"\"{name}: half of what it is given.\"\"\"

    name: ClassVar = "{name}"
    source: ClassVar = "a test"
    {body}

    def estimate(self, y, sigma):
        return y / 2
"""


def denoiser(name="halved", body="", before="", imports="", cls="Halved"):
    return DENOISER.format(name=name, body=body, before=before, imports=imports, cls=cls)


def _forget():
    registry._everything.cache_clear()
    source.read.cache_clear()
    source._find.cache_clear()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package for this test: its files and entry points."""
    names = []

    def add(name, files, **groups):
        install(tmp_path / name, name, files, groups)
        monkeypatch.syspath_prepend(tmp_path / name)
        names.extend(path.removesuffix(".py").partition("/")[0] for path in files)
        _forget()

    yield add
    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            del sys.modules[name]
    _forget()


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process and gives (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gahb_bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        out = capsys.readouterr()
        return caught.value.code, out.out, out.err

    return call


def default_specs():
    return [str(denoiser) for denoiser in defaults.scored(gb.family("calpha"))]


def listed(kind, name):
    return next(found for found in registry.entries(kind) if found.name == name)


def test_this_package_has_no_problems():
    _forget()
    assert registry.problems() == ()


@pytest.mark.parametrize(
    ("field", "type_", "default", "limits"),
    [
        ("size: int = Field(default=3)", "int", "3", ""),
        ("size: int = Field(default=3, ge=1)", "int", "3", ">= 1"),
        ("size: int = 2**6", "int", "2 ** 6", ""),
        ("size: int = 64", "int", "64", ""),
        ("size: tuple[int, ...] = Field(default_factory=lambda: (1, 2))", "tuple[int, ...]", "(computed)", ""),
        ("size: int = Field(ge=1)", "int", "", ">= 1"),
        ("size: float = Field(LIMIT, gt=LIMIT / 2)", "float", "LIMIT", "> LIMIT / 2"),
    ],
)
def test_any_way_of_writing_a_default_is_listed(installed, field, type_, default, limits):
    installed("other", {"other_field.py": denoiser(body=field, before="LIMIT = 1.0")}, denoisers={"a": "other_field"})
    assert registry.problems() == ()
    (parameter,) = listed("denoisers", "halved").parameters
    assert (parameter.name, parameter.type, parameter.default, parameter.limits) == ("size", type_, default, limits)


def test_a_computed_default_is_left_out_of_the_canonical_spec(installed):
    body = "size: tuple[int, ...] = Field(default_factory=lambda: (1, 2))"
    installed("other", {"other_computed.py": denoiser(body=body)}, denoisers={"a": "other_computed"})
    assert gb.denoiser("halved").spec == "halved"
    assert gb.denoiser("halved:size=1+2").spec == "halved"
    assert gb.denoiser("halved:size=1+3").spec == "halved:size=1+3"


BROKEN = {
    "a syntax error": ({"other_bad.py": 'class Halved:\n    name: ClassVar = "bad"\n    def (\n'}, "SyntaxError"),
    "a missing module": ({"other_here.py": ""}, "there is no module 'other_bad'"),
    "no plugin": ({"other_bad.py": "class Halved:\n    name = 'bad'\n"}, "states no plugin"),
    "a file that is not text": ({"other_bad.py": "# é"}, "UnicodeDecodeError"),
    "attributes of the wrong kind": (
        {"other_bad.py": denoiser(name="bad", body="aliases: ClassVar = 3")},
        "its class Halved cannot be read (ValueError: aliases = 3 is not allowed: it should be a tuple of names",
    ),
}
LITERALS = {
    "name: ClassVar = 7": "name = 7",
    "name: ClassVar = None": "name = None",
    "name: ClassVar = 'a b'": "name = 'a b'",
    "aliases: ClassVar = (1, 2)": "aliases = (1, 2)",
    "aliases: ClassVar = 'calpha'": "aliases = 'calpha'",
    "facts: ClassVar = {'small': 3}": "facts = {'small': 3}",
    "by_default: ClassVar = 'bad'": "by_default = 'bad'",
    "looks: ClassVar = {'': 'ink'}": "looks = {'': 'ink'}",
    "knows: ClassVar = 'everything'": "knows = 'everything'",
    "source: ClassVar = 1": "source = 1",
    "listed: ClassVar = 0": "listed = 0",
}


@pytest.mark.parametrize("literal", LITERALS)
def test_a_literal_of_the_wrong_type_is_named_and_breaks_nothing(installed, run, literal):
    good = denoiser(name="good", cls="Good").partition("denoiser import Denoiser")[2]
    installed("other", {"other_bad.py": denoiser(name="bad", body=literal) + good}, denoisers={"bad": "other_bad"})
    (problem,) = registry.problems()
    reason = f"ValueError: {LITERALS[literal]} is not allowed: it should be"
    assert f"its class Halved cannot be read ({reason}" in str(problem)
    code, out, err = run("list")
    assert (code, err.count("warning")) == (0, 1)
    assert "  good  (knows nothing)" in out
    code, out, err = run("run", "--family", "calpha:size=16", "--images", "2", "--sigmas", "0.1", "--dry-run")
    assert (code, "wavelet" in out, err.count("warning")) == (0, True, 1)


@pytest.mark.parametrize("value", ["", "a-b", "my-package.file", "file:", "file:Class:more", "a b"])
def test_a_malformed_entry_point_is_named_and_breaks_nothing(installed, run, value):
    installed("other", {"other_good.py": denoiser()}, denoisers={"bad": value, "good": "other_good"})
    code, out, err = run("list")
    assert (code, "  halved" in out) == (0, True)
    assert err.count("warning: the entry point 'bad' of the package other") == 1
    code, _, err = run("run", "--family", "calpha:size=16", "--denoisers", "mmse", "--images", "2", "--dry-run")
    assert (code, err.count("the entry point 'bad'")) == (0, 1)


def test_entry_points_are_read_where_the_backport_of_importlib_metadata_is_in_use(tmp_path):
    points = {"empty": "", "two": "a b", "good": "other_good"}
    install(tmp_path / "other", "other", {"other_good.py": denoiser()}, {"denoisers": points})
    paths = os.pathsep.join([str(tmp_path / "other"), PATHS])
    text = "import importlib_metadata, gahb_bench.__main__ as entry; entry.main()"
    command, there = [sys.executable, "-c", text, "list"], os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True)
    assert (done.returncode, "  halved" in done.stdout) == (0, True)
    assert [done.stderr.count(f"entry point {name!r}") for name in points] == [1, 1, 0]


def test_a_package_whose_entry_points_cannot_be_read_is_named_and_breaks_nothing(installed, run, tmp_path):
    installed("torn", {}, denoisers={"a": "nowhere"})
    installed("other", {"other_good.py": denoiser()}, denoisers={"good": "other_good"})
    torn = tmp_path / "torn" / "torn-1.0.dist-info" / "entry_points.txt"
    torn.write_text("[gahb_bench.denoisers]\nno equals sign\n")
    code, out, err = run("list")
    assert (code, "  halved" in out) == (0, True)
    assert err.count("warning: the package torn is left out: its entry points cannot be read") == 1


@pytest.mark.parametrize(
    "specs", ["('halved:foo=1',)", "('zzz',)", "('halved:size=-1',)", "('wavelet',)", "('halved:',)", "('halved', '')"]
)
def test_a_default_that_cannot_be_made_is_left_out_and_named_once(installed, run, specs):
    body = f"by_default: ClassVar = {specs}\n    size: int = Field(1, ge=1)"
    installed("other", {"other_default.py": denoiser(body=body)}, denoisers={"bad": "other_default"})
    command = ("run", "--family", "calpha:size=16", "--family", "disks:size=16", "--images", "2", "--sigmas", "0.1")
    code, out, err = run(*command, "--dry-run")
    assert (code, "wavelet" in out, "halved" in out) == (0, True, False)
    assert err.count("warning: the entry point 'bad' of the package other (other_default) is left out") == 1
    assert gb.denoiser("halved").spec == "halved"


def test_a_default_that_is_stated_twice_is_shown_once(installed):
    text = denoiser(body="by_default: ClassVar = ('halved', 'halved:size=1')\n    size: int = 1")
    installed("other", {"other_twice_shown.py": text}, denoisers={"a": "other_twice_shown"})
    assert default_specs().count("halved") == 1


def test_whose_the_oracles_of_one_name_are(run):
    with pytest.raises(UsageError, match=r"of several families \(any transformed law, besov, .*markov-contours\)"):
        gb.denoiser("mmse")
    assert "mmse  (knows law; of any transformed law)" in run("list", "oracles")[1]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_that_cannot_be_read_is_named_once_and_breaks_nothing(installed, run, tmp_path, kind):
    files, reason = BROKEN[kind]
    installed("other", files, denoisers={"bad": "other_bad", "again": "other_bad"}, networks={"good": "other_bad"})
    if kind == "a file that is not text":
        (tmp_path / "other" / "other_bad.py").write_bytes(b"    name: ClassVar = '\xff\xfe'")
    code, out, err = run("list")
    assert code == 0
    assert "wavelet  (knows nothing)" in out
    lines = [line for line in err.splitlines() if "entry point 'bad'" in line]
    assert len(lines) == 1
    assert "of the package other (other_bad) is left out" in lines[0]
    assert reason in lines[0]
    assert gb.denoiser("wavelet").spec == "wavelet"
    with pytest.raises(UsageError, match="other_bad"):
        gb.denoiser("bad")
    code, _, err = run("run", "--family", "calpha:size=16", "--denoisers", "mmse", "--images", "2", "--dry-run")
    assert (code, err.count("entry point 'bad'")) == (0, 1)


@pytest.mark.parametrize(
    "fault", ["raise RuntimeError('no such luck')", "import no_such_module", "raise SystemExit(3)"]
)
def test_a_plugin_that_fails_when_imported_is_passed_over_by_the_defaults(installed, run, fault):
    body = 'by_default: ClassVar = ("halved",)'
    text = denoiser(body=body, before=fault)
    installed("other", {"other_raises.py": text}, denoisers={"raises": "other_raises"})
    assert "halved" in run("list")[1], "listing imports nothing"
    with pytest.raises(UsageError, match="'halved' cannot be used: importing other_raises failed"):
        gb.denoiser("halved")
    assert "halved" not in default_specs()
    code, out, err = run("run", "--family", "calpha:size=16", "--images", "2", "--sigmas", "0.1", "--dry-run")
    assert code == 0
    assert "wavelet" in out
    assert err.count("warning: the entry point 'raises' of the package other (other_raises) is left out") == 1
    code, _, err = run("run", "--family", "calpha:size=16", "--denoisers", "halved", "--dry-run")
    assert (code, "other_raises" in err, err.count("\n")) == (2, True, 1)


def test_a_default_of_another_package_is_shown(installed):
    text = denoiser(body='by_default: ClassVar = ("halved",)')
    installed("other", {"other_default.py": text}, denoisers={"a": "other_default"})
    assert default_specs().count("halved") == 1


@pytest.mark.parametrize("name", ["wavelet", "mmse", "genie"])
def test_a_name_that_is_taken_stays_with_the_first(installed, run, name):
    installed("other", {"other_taken.py": denoiser(name=name)}, denoisers={"taken": "other_taken"})
    (problem,) = registry.problems()
    assert f"its denoiser {name!r} has the name of one in gahb_bench." in str(problem)
    assert "rename it" in run("list")[2]
    assert type(gb.denoiser("wavelet")).__module__ == "gahb_bench.denoisers.wavelet"
    assert gb.denoiser("mmse", "calpha").knows == "law"


def test_of_two_packages_the_first_entry_point_keeps_the_name(installed):
    installed("one", {"one_halved.py": denoiser()}, denoisers={"b": "one_halved"})
    installed("two", {"two_halved.py": denoiser()}, denoisers={"a": "two_halved"})
    assert listed("denoisers", "halved").module == "two_halved"
    assert [problem.where for problem in registry.problems()] == ["the entry point 'b' of the package one (one_halved)"]


def test_a_file_may_be_named_by_several_entry_points(installed):
    files = {"other_twice.py": denoiser()}
    installed("other", files, denoisers={"a": "other_twice:Halved", "b": "other_twice"}, families={"c": "other_twice"})
    assert registry.problems() == ()
    assert [found.kind for found in registry.entries("denoisers") if found.name == "halved"] == ["denoisers"]


def test_a_package_whose_law_and_oracle_are_in_files_of_their_own(installed):
    text = contributed_law()
    start, end = text.index("class Mmse"), text.index("class StripesOptimum")
    head = text[: text.index("class Stripes(")]
    files = {
        "lab/laws/law.py": text[:start].replace('":StripesOptimum"', '".best:StripesOptimum"'),
        "lab/laws/oracle.py": f"{head}\nfrom .law import Stripes\n\n\n{text[start:end]}",
        "lab/laws/best.py": f"{head}\nfrom .law import Stripes\nfrom .oracle import Mmse\n\n\n{text[end:]}",
    }  # folders without __init__.py: a namespace package
    installed("lab", files, families={"stripes": "lab.laws.law", "stripes-oracle": "lab.laws.oracle"})
    assert registry.problems() == ()
    assert listed("families", "stripes").module == "lab.laws.law"
    assert [found.family for found in registry.entries("oracles") if found.module == "lab.laws.oracle"] == ["stripes"]
    assert gb.denoiser("mmse", "stripes").family.reference([0.1]).kind == "exact"


PATHS = os.pathsep.join(path for path in sys.path if path)


def _command(place: Path, *arguments: str, paths: str = PATHS, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gahb_bench", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=check)


def test_an_installed_law_is_listed_and_run_and_compared(tmp_path):
    install(
        tmp_path / "site", "lab", {"lab/stripes.py": contributed_law(), "lab/__init__.py": ""},
        {"families": {"stripes": "lab.stripes"}},
    )  # fmt: skip
    paths = os.pathsep.join([str(tmp_path / "site"), PATHS])
    out = _command(tmp_path, "list", paths=paths).stdout
    assert "  stripes\n      Stripes of one direction and wavelength" in out
    assert "mmse  (knows law; of stripes)" in out
    arguments = ("--family", "stripes:size=16", "--denoisers", "mmse,identity", "--images", "4", "--sigmas", "0.1,1")
    _command(tmp_path, "run", *arguments, "--out", "one", paths=paths)
    assert "stripes:size=16" in (tmp_path / "one" / "report.html").read_text()
    compared = _command(tmp_path, "compare", "one", "one")  # where the law is unknown
    assert "stripes:size=16" in compared.stdout
    known = _command(tmp_path, "run", *arguments, "--out", "two", check=False)
    assert (known.returncode, "unknown family 'stripes'" in known.stderr) == (2, True)


def test_a_broken_file_in_this_package_breaks_nothing_else(tmp_path):
    """A copy of the package with a file that is no Python, and one whose default is written ``Field(default=3)``."""
    home = Path(gb.__file__).parent
    shutil.copytree(home, tmp_path / "gahb_bench", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "gahb_bench" / "families" / "torn.py").write_text('class T(:\n    name: ClassVar = "torn"\n')
    (tmp_path / "gahb_bench" / "denoisers" / "thirds.py").write_text(
        denoiser(name="thirds", body="parts: int = Field(default=3)", cls="Thirds")
    )
    paths = os.pathsep.join([str(tmp_path), PATHS])
    listing = _command(tmp_path, "list", paths=paths)
    assert "  thirds  (knows nothing)" in listing.stdout
    assert "parts = 3" in listing.stdout
    assert listing.stderr.startswith("warning: gahb_bench/families/torn.py is left out: it cannot be read (SyntaxError")
    assert listing.stderr.count("\n") == 1
    work = ("--family", "calpha:size=16", "--denoisers", "thirds", "--images", "2", "--dry-run")
    planned = _command(tmp_path, "run", *work, paths=paths)
    assert "thirds" in planned.stdout
    assert planned.stderr == listing.stderr
