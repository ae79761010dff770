import base64
import gzip
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from reporting_runs import EVIL, SIGMAS, awkward_run, network_file, references_by_kind, small_run
from skimage import color

import gahb_bench as gb
from gahb_bench.core.errors import StoreError
from gahb_bench.core.family import Family
from gahb_bench.core.files import HOME
from gahb_bench.reporting.comparison.content import compare_folders
from gahb_bench.reporting.figure import figures
from gahb_bench.reporting.figure.samples import draw_samples
from gahb_bench.reporting.page import gallery, html
from gahb_bench.reporting.report import write_report
from gahb_bench.reporting.study import sentences, style, words
from gahb_bench.reporting.study.content import content
from gahb_bench.reporting.study.leaderboard import STEPS, leaderboard
from gahb_bench.reporting.text import markdown
from gahb_bench.reporting.text.markdown_text import code
from gahb_bench.reporting.text.summary import summary
from gahb_bench.running import engine
from gahb_bench.running.folder import read
from gahb_bench.running.plan import make_plan
from gahb_bench.scoring.intervals import effective_number

REPORTS = ("report.html", "report.md", "curves.png")
LOOKS = {  # hue, dash, marker; variants share a hue where no parameter chose another
    "mmse": ("ink", (), "circle"),
    "identity": ("grey", (), "x"),
    "tv": ("green", (), "diamond"),
    "ideal": ("ochre", (), "triangle-up"),
    "ideal:basis=fourier": ("rust", (), "triangle-up"),
    "wavelet": ("blue", (), "square"),
    "wavelet:shifts=all": ("blue", (9, 3, 2, 3), "triangle-up"),
    "wavelet:rule=sure": ("teal", (), "square"),
    "wavelet:rule=sure,shifts=all": ("teal", (9, 3, 2, 3), "triangle-up"),
    "network:weights=calpha-32": ("teal", (2, 3), "triangle-down"),
}


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.words, self._raw = [], [], [], None
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = tag
            self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag):
        if tag == self._raw:
            self._raw = None

    def handle_data(self, data):
        if self._raw == "script":
            self.scripts[-1] += data
        elif self._raw is None:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = small_run(tmp_path_factory.mktemp("plain"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    folder = awkward_run(tmp_path_factory.mktemp("awkward"), (*EVIL, "flaky"))
    write_report(folder)
    return folder


def page(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def unpacked(found):
    """Plotly's script, which a page holds compressed."""
    return gzip.decompress(base64.b64decode(found.scripts[1])).decode()


def rewrite(folder, **changes):
    """Change fields of run.json."""
    manifest = json.loads((folder / "run.json").read_text()) | changes
    (folder / "run.json").write_text(json.dumps(manifest))


def test_page_is_self_contained(plain):
    found = page(plain)
    links = [a.get(key) for _, a in found.elements for key in ("src", "href", "action", "srcset", "poster") if key in a]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert [a.get("src") for a in found.all("script")] == [None, None, None]
    style_sheet = re.search(r"<style>(.*?)</style>", (plain / "report.html").read_text(), re.DOTALL)
    assert style_sheet is not None
    assert "url(" not in style_sheet[1]
    assert "@import" not in style_sheet[1]
    assert unpacked(found).count("plotly.js v") == 1


def test_policy_allows_exactly_the_scripts_of_the_page(plain):
    found = page(plain)
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    assert allowed == {
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in (unpacked(found), found.scripts[2])
    }
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_the_data_of_the_page_are_those_of_curves_csv(plain):
    curves = pd.read_csv(plain / "curves.csv")
    methods = page(plain).data["families"][0]["methods"]
    assert {m["label"] for m in methods} == set(curves["denoiser"])
    for method in methods:
        rows = curves[curves["denoiser"] == method["label"]].sort_values("sigma")
        for column in ("sigma", "mse", "mse_low", "mse_high", "regret_db", "regret_db_low", "exponent"):
            assert np.array(method[column], dtype=float) == pytest.approx(rows[column].to_numpy(), rel=1e-5, abs=1e-9)


def test_the_reference_curve_is_the_familys(plain):
    drawn = page(plain).data["families"][0]["reference"]
    assert len(drawn["sigma"]) >= 40
    assert set(np.log10(SIGMAS)) <= set(np.log10(drawn["sigma"]).round(6))
    truth = gb.family("calpha:size=16").reference(np.array(drawn["sigma"]))
    assert np.array(drawn["mse"]) == pytest.approx(truth.mse, rel=1e-5)
    assert np.array(drawn["exponent"]) == pytest.approx(truth.exponent, rel=1e-5)
    assert drawn["asymptotic"] == pytest.approx(4 / 3)


def test_methods_are_ordered_by_what_they_know(plain):
    methods = page(plain).data["families"][0]["methods"]
    assert [m["label"] for m in methods] == ["mmse", "ideal", "identity", "wavelet"]
    assert [m["knows"] for m in methods] == ["law", "image", "nothing", "nothing"]


def test_page_tells_a_stranger_what_is_meant(plain):
    text = page(plain).text
    for said in ("known exactly", "0 dB is the optimum", "3 dB is twice its error", "an ideal, not a bound"):
        assert said in text
    assert "It has no statistical error" in text
    assert "Closed form: the risk of the Wiener filter" in text
    assert "paired" in text
    assert "asymptotic exponent 1.333" in text
    for fact in ("the command", "torch", "pandas", "python", "seed, split"):
        assert fact in text


def test_the_check_of_the_truth(plain):
    checked = content(read(plain)).sections[0].check
    assert checked is not None
    scores = pd.read_parquet(plain / "scores.parquet").query("denoiser == 'mmse' and sigma == 0.1")["mse"]
    truth = gb.family("calpha:size=16").reference([0.1]).mse[0]
    row = checked.rows.query("sigma == 0.1").iloc[0]
    assert row["ratio"] == pytest.approx(scores.mean() / truth)
    assert row["z"] == pytest.approx((scores.mean() - truth) / (scores.std() / np.sqrt(len(scores))))
    assert f"{checked.rows['ratio'].min():.3f} to {checked.rows['ratio'].max():.3f} times" in page(plain).text
    assert "too few images for a verdict" in page(plain).text


def test_a_wrong_truth_is_called_wrong(tmp_path):
    folder = small_run(tmp_path, images=32)
    scores = pd.read_parquet(folder / "scores.parquet")
    scores.loc[scores["denoiser"] == "mmse", "mse"] *= 2
    curves = pd.read_csv(folder / "curves.csv")
    curves.loc[curves["denoiser"] == "mmse", "mse"] *= 2
    scores.to_parquet(folder / "scores.parquet")
    curves.to_csv(folder / "curves.csv", index=False)
    write_report(folder)
    assert "they disagree" in page(folder).text


def test_made_again_from_the_files_alone_it_is_the_same(plain, tmp_path):
    before = {name: (plain / name).read_bytes() for name in REPORTS}
    for name in REPORTS:
        (plain / name).unlink()
    write_report(plain)
    assert {name: (plain / name).read_bytes() for name in REPORTS} == before


@pytest.mark.parametrize("broken", [markdown.render, html.render])
def test_a_report_that_fails_leaves_the_old_one_whole(plain, monkeypatch, broken):
    before = {name: (plain / name).read_bytes() for name in REPORTS}
    rewrite(plain, command="another command")

    def fail(*_):
        raise MemoryError

    module = {markdown.render: markdown, html.render: html}[broken]
    monkeypatch.setattr(module, broken.__name__, fail)
    with pytest.raises(MemoryError):
        write_report(plain)
    rewrite(plain, command="the command")
    assert {name: (plain / name).read_bytes() for name in REPORTS} == before
    assert not list(plain.glob(".*"))


def test_hostile_names_are_harmless_in_the_page(awkward):
    found = page(awkward)
    assert len(found.scripts) == 3
    assert not any(key.startswith("on") for _, attributes in found.elements for key in attributes)
    assert all(a["src"].startswith("data:image/png") for a in found.all("img") if "src" in a)
    assert not [1 for tag, _ in found.elements if tag == "i" and "command" in tag]
    labels = [method["label"] for method in found.data["families"][0]["methods"]]
    for name in EVIL:
        assert words.visible(name) in labels
        assert " ".join(words.visible(name).split()) in found.text
    assert "‮" not in (awkward / "report.html").read_text(encoding="utf-8")
    assert r"RuntimeError: <b>no</b> </script><script>window.harmed = 1</script>\nat `line` | 3" in found.text
    assert "<i>command</i>" in found.text


def test_hostile_names_are_harmless_in_the_text(awkward):
    text = (awkward / "report.md").read_text(encoding="utf-8")
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text.replace("\\|", ""))
    assert "<" not in outside
    assert "evil" not in outside
    assert "‮" not in text
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    widths = {line.count("|") - line.count("\\|") for line in tables if "training set" in line}
    assert len(widths) == 1
    assert "NA" in text


def test_failed_cells_are_shown_with_their_reason(awkward):
    found, text = page(awkward), (awkward / "report.md").read_text()
    cells = 3 * (2 + len(EVIL) + 1)
    assert f"partial: 1 of {cells} cells have no number" in found.text
    assert f"1 of {cells} cells have no number" in text
    assert "flaky at σ = 0.1 : RuntimeError" in found.text.replace("0.1:", "0.1 :")
    assert re.search(r"`flaky` at σ = 0.1: `+RuntimeError", text)
    assert re.search(r"\| `flaky` \|.*\| failed \|", text)
    flaky = next(m for m in found.data["families"][0]["methods"] if m["label"] == "flaky")
    assert flaky["sigma"] == list(SIGMAS)
    assert [value is None for value in flaky["mse"]] == [False, True, False]  # the line has a gap there


def test_cells_that_were_never_computed_are_shown(tmp_path):
    folder = small_run(tmp_path, denoisers=("mmse", "identity"))
    curves = pd.read_csv(folder / "curves.csv")
    scores = pd.read_parquet(folder / "scores.parquet")
    curves[~((curves["denoiser"] == "identity") & (curves["sigma"] < 0.5))].to_csv(folder / "curves.csv", index=False)
    scores[~((scores["denoiser"] == "identity") & (scores["sigma"] < 0.5))].to_parquet(folder / "scores.parquet")
    write_report(folder)
    assert "identity at σ = 0.01, 0.1 : not computed" in page(folder).text.replace("0.1:", "0.1 :")
    assert "`identity` at σ = 0.01: `not computed`" in (folder / "report.md").read_text()


def test_every_kind_of_reference(tmp_path, monkeypatch):
    specs = references_by_kind(monkeypatch)
    folder = small_run(tmp_path, tuple(specs.values()), ("identity", "wavelet"))
    write_report(folder)
    sections = {s.spec: s for s in content(read(folder)).sections}
    drawn = {family["label"]: family for family in page(folder).data["families"]}
    text, markdown_text = page(folder).text, (folder / "report.md").read_text()
    said = {
        "exact": "known exactly",
        "noisy": "Its standard error is at most 5 % of its value",
        "bracket": "the bracket is at most 2.11 dB wide",
        "approximate": "without a proved bound",
        "linear": "best linear denoiser",
        "none": "there is no regret",
    }
    for kind, sentence in said.items():
        assert sentence in text, kind
        assert sentence in markdown_text, kind
        reference = drawn[specs[kind]]["reference"]
        assert reference["band"] is (kind in ("noisy", "bracket"))
        closed_form = kind in ("exact", "linear")  # anything else is evaluated at the run's noise levels alone
        assert (len(reference["sigma"]) > 40) is closed_form
        assert closed_form or reference["sigma"] == list(SIGMAS)
        assert sections[specs[kind]].has_regret is (kind != "none")
    assert drawn[specs["approximate"]]["reference"]["curves"][0]["name"] == "<i>the genie's risk</i>"
    bracket = drawn[specs["bracket"]]["reference"]
    assert np.array(bracket["high"]) / np.array(bracket["low"]) == pytest.approx(1.3 / 0.8, rel=1e-4)
    assert drawn[specs["none"]]["reference"]["mse"][0] is None
    assert sections[specs["bracket"]].shows_theory
    assert not sections[specs["approximate"]].shows_theory
    assert "MSE at σ" in markdown_text
    kinds = {"exact": "direct", "noisy": "direct", "bracket": "bracket", "approximate": "reference"}
    for kind, regret in kinds.items():
        name, meaning = sentences.REGRET_KIND[regret]
        assert {found for method in sections[specs[kind]].methods for found in method.kinds} == {regret}
        assert f"- **{name}**: {meaning}" in markdown_text
        assert f"{name} : {meaning}" in text.replace(f"{name}:", f"{name} :")


def test_a_bracket_with_its_law_its_genie_and_its_exponents(tmp_path):
    """Stored brackets of contours, at two levels inside the table and one below it."""
    spec = "calpha-contours:size=32"
    folder = small_run(tmp_path, (spec,), ("genie", "identity"), sigmas=(0.001, 0.05, 0.5), images=4)
    write_report(folder)
    found, markdown_text = page(folder), (folder / "report.md").read_text()
    reference = found.data["families"][0]["reference"]
    assert reference["kind"] == "bracket"
    assert reference["band"]
    assert {curve["name"]: curve["dash"] for curve in reference["curves"]} == {"genie": "2px,3px", "law": "7px,4px"}
    pressed = {b.get("data-curve"): b.get("aria-pressed") for b in found.all("button") if b.get("data-curve")}
    assert pressed["theory-0"] == pressed["theory-1"] == "true"
    for text in (found.text, markdown_text):
        assert "Nothing is known at 1 of these noise levels" in text
        assert "The law (dashed) is small-noise theory, not a bound; the genie (dotted) knows the contour" in text
        assert "contour, 4 alpha/(2 alpha+1) = 1.600; backgrounds, 2 beta/(beta+1) = 1.333" in text
        assert "nan" not in text
    low, high = content(read(folder)).sections[0].band
    truth = gb.family(spec).reference([0.05])
    assert low[1] == pytest.approx(truth.lower[0] - 1.96 * truth.standard_error[0])
    assert high[1] == pytest.approx(truth.upper[0] + 1.96 * truth.standard_error[0])
    fitted = re.search(r"bracket that holds the MMSE = ([\d.]+); law = ([\d.]+); genie = ([\d.]+)\.", found.text)
    assert fitted is not None
    known = gb.family(spec).reference([0.05, 0.5])
    for value, curve in zip(fitted.groups(), (known.mse, known.curves["law"], known.curves["genie"]), strict=True):
        assert float(value) == pytest.approx(math.log10(curve[1] / curve[0]), abs=6e-4)


ELSEWHERE = """
import sys
from pathlib import Path
from gahb_bench.reporting.comparison.content import compare_folders
from gahb_bench.reporting.comparison.page import page
from gahb_bench.reporting.report import merged, write, write_figure, write_report

one, other, out = map(Path, sys.argv[1:])
write_report(one)
write(merged([one, other]), out)
write_figure(merged([one, other]), out / "figure.pdf", "single")
assert set(compare_folders([one, other]).table["verdict"]) <= {"same", "added", "missing"}
assert page(compare_folders([one, other])).startswith("<!DOCTYPE html>")
makers = ("families", "denoisers", "networks", "make", "tables", "sets", "transforms", "channels", "api", "tuning")
known = [name for name in sys.modules if name.startswith(tuple(f"gahb_bench.{maker}" for maker in makers))]
assert not known, known
"""


class Stripes(Family):
    """Horizontal stripes of two greys, each row by itself."""

    name: ClassVar = "stripes-of-a-test"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 12, 12)

    def draw(self, streams, count):
        rows = np.array([next(streams).random((1, 12, 1)) > 0.5 for _ in range(count)], dtype=np.float64)
        return rows * np.ones((1, 1, 1, 12)), {}


def test_a_run_of_a_law_that_is_unknown_where_it_is_read(tmp_path):
    """Page, page of several runs, figure and comparison in a process that knows no law at all, with all pictures."""
    for name, denoisers in (("one", ["identity", "wavelet"]), ("other", ["identity", "tv"])):
        engine.run(make_plan([Stripes()], denoisers, SIGMAS, 6), tmp_path / "here" / name)
    shutil.move(tmp_path / "here", tmp_path / "there")
    one, other, out = (str(tmp_path / "there" / name) for name in ("one", "other", "out"))
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, one, other, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "out" / "figure.pdf").read_bytes().startswith(b"%PDF")
    (alone,), (together,) = (page(tmp_path / "there" / name).data["families"] for name in ("one", "out"))
    assert [m["label"] for m in together["methods"]] == ["identity", "wavelet", "tv"]
    x = Stripes().sample(range(6), split="test").images
    for family in (alone, together):
        for image in range(4):
            assert np.array_equal(decoded(family["gallery"]["clean"][image])[..., 0], 255 * x[image, 0].numpy())
        assert set(family["images"]["pictures"]) <= {str(image) for image in range(6)}
        assert family["images"]["pictures"]
        assert all(cell["methods"][0]["error"] for level in family["gallery"]["cells"] for cell in level)


def test_the_page_is_made_without_any_law_denoiser_or_network():
    code = f"import sys, gahb_bench.reporting.report\n{ELSEWHERE[ELSEWHERE.index('makers') :]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def as_schema_1(folder, target):
    """A run as earlier versions wrote it: no reference, no pictures, no looks."""
    target.mkdir()
    for name in ("scores.parquet", "curves.csv"):
        shutil.copy(folder / name, target)
    manifest = json.loads((folder / "run.json").read_text()) | {"schema": 1}
    for family in manifest["plan"]["families"]:
        for denoiser in family["denoisers"]:
            for added in ("look", "tuning", "tuned", "architecture", "trained_on"):
                del denoiser[added]
    (target / "run.json").write_text(json.dumps(manifest))
    return target


def test_a_run_of_an_earlier_version(plain, tmp_path):
    old = as_schema_1(plain, tmp_path / "old")
    write_report(old)
    family, now = page(old).data["families"][0], page(plain).data["families"][0]
    assert family["gallery"] is None
    assert family["images"]["pictures"] == {}
    stored = pd.read_csv(old / "curves.csv").drop_duplicates("sigma")
    assert family["reference"]["mse"] == pytest.approx(stored["reference_mse"].tolist(), rel=1e-5)
    for method in family["methods"]:
        same = next(m for m in now["methods"] if m["label"] == method["label"])
        assert method["regret_db"] == same["regret_db"]
    assert "As stored in a run of an earlier version" in page(old).text
    without, shown = ((folder / "report.html").read_text() for folder in (old, plain))
    assert ("One noise level" in shown, "One noise level" in without) == (True, False)  # which nothing would show
    assert without.index("On which images?") < without.index('class="level"')
    assert shown.index("One noise level") < shown.index('class="level"') < shown.index("On which images?")
    assert [text.count('id="family-1-level"') for text in (without, shown)] == [1, 1]
    assert ("slider above" in shown, "slider above" in without) == (True, False)
    for text in (without, shown):
        assert {link for link in re.findall(r'href="#([^"]+)"', text) if f'id="{link}"' not in text} == set()
    assert set(compare_folders([old, plain]).table["reason"]) == {"bitwise"}
    (together,) = content(read(old), read(plain)).sections
    assert len(together.reference.sigma) > 40
    assert {m.spec for m in together.methods} == {m["label"] for m in now["methods"]}


def test_the_committed_baseline_can_be_read():
    baseline = Path(__file__).parents[2] / "reports" / "baseline"
    made = html.render(content(read(baseline)), gallery.galleries(content(read(baseline))))
    families = Page(made).data["families"]
    assert [family["spec"] for family in families] == list(pd.read_csv(baseline / "curves.csv")["family"].unique())
    assert set(compare_folders([baseline, baseline]).table["reason"]) == {"bitwise"}


def test_a_family_without_a_stored_reference(tmp_path):
    """What reference.parquet lacks stands in the curves; what neither holds is not known."""
    folder = small_run(tmp_path)
    for name in ("run.json", "curves.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("calpha:size=16", "<b>gone</b>"))
    scores = pd.read_parquet(folder / "scores.parquet").assign(family="<b>gone</b>")
    scores.to_parquet(folder / "scores.parquet")
    write_report(folder)
    found = page(folder)
    assert "<b>gone</b>" in found.text
    family = found.data["families"][0]
    assert family["gallery"] is None
    stored = pd.read_csv(folder / "curves.csv").drop_duplicates("sigma")
    assert family["reference"]["mse"] == pytest.approx(stored["reference_mse"].tolist(), rel=1e-5)
    assert family["methods"][0]["regret_db"] == [0.0, 0.0, 0.0]
    run = read(folder)
    empty = content(replace(run, curves=run.curves[:0], scores=run.scores[:0], references={}))
    assert empty.sections[0].reference.kind == "none"
    assert len(empty.sections[0].troubles) == empty.cells


def test_one_image_one_level(tmp_path):
    folder = small_run(tmp_path, denoisers=("mmse", "identity"), sigmas=(0.1,), images=1)
    write_report(folder)
    found = page(folder)
    assert "1 image · 1 noise level, σ = 0.1" in found.text
    assert not [a for a in found.all("div") if a.get("data-chart") == "exponent"]
    assert "standard errors away" not in found.text


def test_exponents_beside_theory(plain):
    table = pd.read_parquet(plain / "scores.parquet")
    fit = gb.exponent(table, "calpha:size=16", "wavelet", 0.01, 1.0)
    stated = f"{fit.value:.3f} ± {fit.standard_error:.3f}"
    assert stated in page(plain).text
    row = next(line for line in (plain / "report.md").read_text().splitlines() if stated in line)
    assert row.split(" | ")[0] == "| `wavelet`"
    assert row.split(" | ")[3:] == [f"{fit.reference:.3f}", "1.333 |"]


def test_regrets_in_the_text_are_those_of_curves_csv(plain):
    curves = pd.read_csv(plain / "curves.csv").query("denoiser == 'wavelet'").sort_values("sigma")
    row = next(line for line in (plain / "report.md").read_text().splitlines() if line.startswith("| `wavelet`"))
    told = pd.read_csv(plain / "summary.csv").set_index("denoiser").loc["wavelet"]
    mean, worst = (
        f"{told[f'{name}_regret_db']:.2f} [{told[f'{name}_regret_db_low']:.2f}, {told[f'{name}_regret_db_high']:.2f}]"
        for name in ("mean", "worst")
    )
    # On 8 images fewer than 8 carry the error: every interval is called unsure. Bits take four noise levels.
    cells = [f"{r.regret_db:.2f} [{r.regret_db_low:.2f}, {r.regret_db_high:.2f}]†" for r in curves.itertuples()]
    assert row == f"| `wavelet` | nothing | direct | {mean} | {worst} at σ = 1 | – | – | {' | '.join(cells)} |"


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    """A parameter left to a rule, one given by hand, and one tuned: at an end of the range at the least noise level."""
    folder = tmp_path_factory.mktemp("rivals")
    names = ["mmse", "ideal", "gaussian-blur", "tv:weight=1", "wavelet", "network:weights=calpha-32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME, str(tmp_path_factory.mktemp("home")))  # where nothing was tuned
        plan = make_plan(["calpha:size=16"], names, [0.03, 0.1, 0.3, 1.0], 24, tune=False)
    engine.run(plan, folder)
    manifest = json.loads((folder / "run.json").read_text())
    (wavelet,) = [d for d in manifest["plan"]["families"][0]["denoisers"] if d["spec"] == "wavelet"]
    wavelet |= {
        "tuning": "level tuned on 64 images of split val, seed 0",
        "tuned": [[0.03, 9.25, True], [1.0, 2.5, False]],
    }
    (folder / "run.json").write_text(json.dumps(manifest))
    write_report(folder)
    return folder


def test_what_was_not_tuned_is_called_so_beside_its_name(rivals):
    found, text = page(rivals), (rivals / "report.md").read_text()
    assert "gaussian-blur (untuned)" in [method["label"] for method in found.data["families"][0]["methods"]]
    assert found.text.count("gaussian-blur (untuned)") == found.text.count("gaussian-blur") - found.text.count(
        "gaussian-blur,tv"  # the command
    ) - found.text.count('"gaussian-blur"')  # the plan
    assert not re.search(r"(tv:weight=1|wavelet) \(untuned\)", found.text + text)
    assert "| `gaussian-blur (untuned)` | nothing | direct |" in text
    run = read(rivals)
    said = summary(run.curves, pd.read_csv(rivals / "summary.csv"), {("calpha:size=16", "gaussian-blur")})
    assert "gaussian-blur (untuned) " in said
    assert "tv:weight=1 (untuned)" not in said


def test_the_page_says_whether_each_method_is_at_its_best(rivals, plain, tmp_path):
    found, text = page(rivals), (rivals / "report.md").read_text()
    told = {
        "gaussian-blur (untuned)": ("no: untuned", "untuned: width by a rule in sigma alone"),
        "tv:weight=1": ("as given", "weight given by hand"),
        "wavelet": (
            "yes: tuned here",
            "level tuned on 64 images of split val, seed 0; at σ = 0.03 it lies at an end of ",
        ),
        "network:weights=calpha-32": ("trained elsewhere", "edm-unet, trained on calpha:size=32"),
    }
    for name, (answer, why) in told.items():
        assert f"{name}{answer}{why}".replace(" ", "") in found.text.replace(" ", "")  # names may break anywhere
        assert f"| `{name}` | {answer} | {why}" in text
    assert "its values σ 0.03 1 value 9.25 * 2.5" in found.text.replace("9.25*", "9.25 *")
    assert "identity nothing to tune" in page(plain).text
    old = as_schema_1(plain, tmp_path / "old")
    write_report(old)
    assert "identity not recorded" in page(old).text


def test_bits_and_where_they_are_lost(rivals):
    found, text = page(rivals), (rivals / "report.md").read_text()
    stored = pd.read_csv(rivals / "summary.csv").set_index("denoiser")
    (section,) = content(read(rivals)).sections
    for method in section.methods:
        row = stored.loc[method.spec]
        if method.knows == "image":
            assert np.isnan(row["excess_bits"])
            assert not method.bits_by_level
            continue
        low, high = (words.number(row[f"excess_bits_{end}"]) for end in ("low", "high"))
        value = words.number(row["excess_bits"])
        said = value if value == "0" else f"{value} [{low}, {high}]"
        assert said in found.text
        assert f"| {said} |" in text
        shares = method.bits_by_level
        assert method.spec == "mmse" or sum(share for _, share in shares) == pytest.approx(1)
        if shares:
            sigma, share = max(shares, key=lambda each: each[1])
            assert f"| {100 * share:.0f} % at σ = {sigma:.3g}, " in text
    bars = [a for tag, a in found.elements if tag == "svg" and a.get("class") == "bars"]
    assert len(bars) == len(section.methods) - 2
    assert all(a["aria-label"].startswith("Where the bits are lost: ") for a in bars)


def test_the_standings_of_several_architectures_on_several_laws(tmp_path):
    """A row an architecture, also of matched ones and of two paddings, over its networks trained on each law."""
    laws, sigmas = ("calpha:size=8", "gmm:size=8", "calpha:law=uniform,size=8"), [0.03, 0.1, 0.3, 1.0]
    networks = (
        "edm-unet:levels=1,width=4",
        "dncnn:depth=3,width=4",
        "dncnn:depth=3,padding=circular,width=4",
        "bp-unet:symbols=4",
        "shrinkage",
        "mixture:components=2",
        "chain:per_pixel=2,reach=2",
    )
    files = {
        (network, law): network_file(tmp_path / f"{row}-{column}.safetensors", network, law, row)
        for row, network in enumerate(networks)
        for column, law in enumerate(laws)
        if (network, law) != ("shrinkage", laws[1])
    }
    folder = small_run(tmp_path / "run", laws, ["identity", *map(str, files.values())], sigmas)
    write_report(folder)
    found, text, shown = page(folder), (folder / "report.md").read_text(), content(read(folder))
    rows = {row.architecture: row for row in leaderboard(shown).standings if row.architecture}
    assert set(rows) == set(networks)
    for network, row in rows.items():
        label = f"{network} trained on each law"
        here = [law for law in laws if (network, law) in files]
        trained = [m for m in row.methods if m is not None]
        assert [m.spec for m in trained] == [f"network:weights={files[network, law]}" for law in here]
        counted = [m for m, law in zip(trained, here, strict=True) if law in laws[:2]]  # the third has no known optimum
        assert row.mean.value == pytest.approx(np.mean([m.mean_regret for m in counted]))
        assert row.bits.value == pytest.approx(np.mean([m.bits.value for m in counted]))
        assert np.isfinite([row.mean.value, row.bits.value]).all()
        mean = f"{words.decibel(row.mean.value)} {words.interval(row.mean.low, row.mean.high)}"
        lost = f"{sentences.bits(row.bits.value)} {sentences.bits_interval(row.bits.low, row.bits.high)}"
        line = f"| `{label}` | training set | direct | {mean} | {lost} | {len(counted)} of 2 |"
        assert line in text
        assert label.replace(" ", "") in found.text.replace(" ", "")


def test_where_few_images_carry_the_error_the_interval_is_called_unsure(rivals, tmp_path):
    assert "The interval is unsure" not in (rivals / "report.md").read_text()
    folder = tmp_path / "rare"
    shutil.copytree(rivals, folder)
    scores = pd.read_parquet(folder / "scores.parquet")
    rare = (scores["denoiser"] == "wavelet") & (scores["sigma"] == 0.1) & (scores["image"] == 3)
    scores.loc[rare, "excess"] *= 100  # the errors stay as they are: this is about the excess
    scores.to_parquet(folder / "scores.parquet", index=False)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "So for `wavelet` at σ = 0.1." in text
    assert "So for wavelet at σ = 0.1 ." in page(folder).text.replace("0.1.", "0.1 .")
    (row,) = [line for line in text.splitlines() if line.startswith("| `wavelet` | nothing | direct")]
    assert [cell.endswith("†") for cell in row.strip("| ").split(" | ")[7:]] == [False, True, False, False]


def test_how_many_images_carry_an_error():
    rng = np.random.default_rng(0)
    found = effective_number(np.stack([np.ones(100), rng.exponential(size=100), np.eye(100)[0], np.zeros(100)]))
    assert found[[0, 2, 3]] == pytest.approx([100, 1, np.inf])
    assert 35 < found[1] < 65  # half of them: E v^2 = 2 (E v)^2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", None, "needs the folder of a run"),
        ("run.json", "{", "does not hold a JSON object"),
        ("run.json", "[]", "does not hold a JSON object"),
        ("run.json", '{"schema": 99}', "schema 99, but this version reads schema 2"),
        ("run.json", '{"schema": 1, "status": "complete"}', "plan"),
        ("scores.parquet", None, "goes on from the finished cells"),
        ("scores.parquet", "not parquet", "cannot read"),
        ("curves.csv", None, "goes on from the finished cells"),
        ("curves.csv", "", "cannot read"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path, name, text, message):
    folder = small_run(tmp_path, denoisers=("identity",), sigmas=(0.1,), images=2)
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(StoreError, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_the_gallery_shows_the_runs_images(plain):
    shown = page(plain).data["families"][0]["gallery"]
    batch = gb.family("calpha:size=16").sample(range(4), seed=0, split="test")
    assert shown["levels"] == [0, 1, 2]
    assert len(shown["clean"]) == 4
    x = batch.images[2, 0].numpy()
    expected = np.round(255 * (x - x.min()) / (x.max() - x.min()))
    assert np.abs(decoded(shown["clean"][2])[..., 0].astype(float) - expected).max() <= 1
    cell = shown["cells"][1][2]
    y = gb.add_noise(batch, 0.1)[2].numpy()
    labels = [method["label"] for method in page(plain).data["families"][0]["methods"]]
    identity = cell["methods"][labels.index("identity")]
    assert identity["psnr_db"] == pytest.approx(-10 * np.log10(np.mean((y[0] - x) ** 2)), abs=0.01)
    assert identity["estimate"] == cell["noisy"]
    red_minus_blue = decoded(identity["error"]).astype(int) @ [1, 0, -1]
    strong = np.abs(y[0] - x) > 0.2 * cell["error_scale"]
    assert np.array_equal(np.sign(red_minus_blue[strong]), np.sign((y[0] - x)[strong]))


def test_pictures_of_an_estimate_that_is_missing(awkward):
    family = page(awkward).data["families"][0]
    flaky = [method["label"] for method in family["methods"]].index("flaky")
    shown = [cells[0]["methods"][flaky] is not None for cells in family["gallery"]["cells"]]
    assert shown == [True, False, True]


def test_the_gallery_keeps_to_its_budget(plain, monkeypatch):
    monkeypatch.setattr(gallery, "BUDGET", 9_000)
    run = read(plain)
    small = gallery.galleries(content(run))["family-1"]
    assert (len(small.levels), small.images) != (3, 4)
    assert len(json.dumps(small.cells)) + len(json.dumps(small.clean)) < 3 * 9_000


def test_colour_images_keep_their_colours():
    x = np.stack([np.full((2, 2), value) for value in (1.0, 0.0, 0.5)])
    assert decoded(gallery.picture(x, (0.0, 1.0)))[0, 0].tolist() == [255, 0, 128]
    assert decoded(gallery.picture(x, (0.0, 0.5)))[0, 0].tolist() == [255, 0, 255]  # clipped
    assert decoded(gallery.error_picture(x - 0.5, 0.5))[0, 0].tolist() == [255, 0, 128]
    assert decoded(gallery.error_picture(0 * x, 0.5))[0, 0].tolist() == [128, 128, 128]
    outline = np.array([[0.0, 0.0], [0.0, 1.0]])
    drawn = decoded(gallery.outlined(x, outline, (0.0, 1.0)))
    assert drawn[-1, -1].tolist() == [255, 0, 128]
    assert drawn[drawn.shape[0] // 4, drawn.shape[1] // 2].tolist() == [230, 60, 40]


def test_a_page_of_colour_images(tmp_path):
    folder = small_run(tmp_path, ("coloured:of=(calpha:size=16)",), ("mmse", "identity"), images=6)
    write_report(folder)
    (family,) = page(folder).data["families"]
    batch = gb.family("coloured:of=(calpha:size=16)").sample(range(6), seed=0, split="test")
    x = batch.images.numpy().astype(np.float64)
    low, high = x[1].min(), x[1].max()
    y = gb.add_noise(batch, 0.1)[1].numpy()
    shown = {"clean": family["gallery"]["clean"][1], "noisy": family["gallery"]["cells"][1][1]["noisy"]}
    for name, image in (("clean", x[1]), ("noisy", y)):
        expected = np.round(255 * np.clip((image - low) / (high - low), 0, 1)).transpose(1, 2, 0)
        assert np.abs(decoded(shown[name]).astype(float) - expected).max() <= 1, name
    identity = family["gallery"]["cells"][1][1]["methods"][1]
    expected = np.clip((y - x[1]) / family["gallery"]["cells"][1][1]["error_scale"], -1, 1).transpose(1, 2, 0)
    assert np.abs(decoded(identity["error"]) - 127.5 * (1 + expected)).max() < 6  # the scale is said to two digits
    assert decoded(next(iter(family["images"]["pictures"].values()))).std(axis=-1).max() > 0
    assert "middle grey where there is none" in page(folder).text
    assert "blue too dark" not in page(folder).text


def test_samples_of_colour_images_are_drawn_in_colour():
    for spec, channels in (("coloured:of=(calpha:size=16)", 3), ("calpha:size=16", 0)):
        family = gb.family(spec)
        drawn = draw_samples(family, [0.1], images=2).axes[0].images[0].get_array()
        x = family.sample(range(1)).images[0].numpy().clip(0, 1)
        assert np.array_equal(np.asarray(drawn), x.transpose(1, 2, 0) if channels else x[0]), spec


def test_the_figure(awkward):
    before = dict(matplotlib.rcParams)
    made = figures.png(content(read(awkward)))
    assert dict(matplotlib.rcParams) == before
    image = Image.open(io.BytesIO(made))
    assert image.format == "PNG"
    assert image.width >= 1600
    assert figures.escaped("$x$") == r"\$x\$"
    assert figures.escaped("\u6f22") == r"\u6f22"


def test_looks_depend_on_the_method_alone():
    (family,) = make_plan(["calpha:size=16"], list(LOOKS), [0.1], 1).record.families
    looks = {denoiser.spec: denoiser.look for denoiser in family.denoisers}
    assert {name: style.style(name, look) for name, look in looks.items()} == {
        name: style.Style(style.COLOURS[hue], dash, marker) for name, (hue, dash, marker) in LOOKS.items()
    }
    assert style.style("wavelet:rule=sure @ run", looks["wavelet:rule=sure"]) == style.style(
        "wavelet:rule=sure", looks["wavelet:rule=sure"]
    )
    assert style.styles({"b": None, "a": None}) == style.styles({"a": None, "b": None})
    assert style.styles({"mmse": looks["mmse"], "tv": looks["tv"]})["tv"] == style.style("tv", looks["tv"])


def test_a_method_without_a_look_or_with_one_that_is_unknown_gets_one():
    assert style.style("mine") == style.style("mine", ("no such hue", "circle", ""))
    assert style.style("mine") == style.style("mine", ("teal", "no such marker", ""))
    assert style.style("mine").colour in style.HUES.values()
    assert style.style("mine:rule=a") != style.style("mine")
    assert style.style("mine:rule=a").colour == style.style("mine").colour


def test_looks_differ_within_a_report():
    names = [f"method{number}" for number in range(50)]
    assert len(set(style.styles(dict.fromkeys(names)).values())) == 50


# Full dichromacy, after Machado, Oliveira & Fernandes 2009, doi:10.1109/TVCG.2009.113, in linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def srgb(values):
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def parse(hexadecimal):
    return np.array([int(hexadecimal[start : start + 2], 16) / 255 for start in (1, 3, 5)])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart(theme, vision):
    hues = [style.INK, style.GREY, *style.HUES.values()]
    rgb = np.array([parse(getattr(hue, theme)) for hue in hues])
    lab = color.rgb2lab(srgb(linear(rgb) @ np.array(VISION[vision]).T))
    distance = color.deltaE_ciede2000(lab[:, None], lab[None])[np.triu_indices(len(hues), 1)]
    assert distance.min() > 9


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stand_out_from_the_page(theme):
    paper = parse({"light": style.PAPER, "dark": style.NIGHT}[theme])
    weights = [0.2126, 0.7152, 0.0722]
    ground = linear(paper) @ weights
    for hue in (style.INK, style.GREY, *style.HUES.values()):
        ends = sorted([linear(parse(getattr(hue, theme))) @ weights, ground])
        assert (ends[1] + 0.05) / (ends[0] + 0.05) >= 3
    for colour in (style.PAPER, style.NIGHT):
        assert f"--paper: {colour};" in html.template("page.css")
    for colour in style.INK:
        assert f"--ink: {colour};" in html.template("page.css")


@pytest.mark.parametrize("theme", [0, 1])
def test_numbers_can_be_read_on_the_colours_of_the_matrix(theme):
    sheet = html.template("page.css")
    variables = [dict(re.findall(r"--(r\d|on-low|on-high): (#\w{6})", block)) for block in sheet.split("@media")[:2]]
    assert len(variables[theme]) == len(STEPS) + 3
    for step in range(len(STEPS) + 1):
        text = variables[theme]["on-high" if f".heat.r{step}" in sheet else "on-low"]
        ends = sorted(linear(parse(value)) @ [0.2126, 0.7152, 0.0722] for value in (text, variables[theme][f"r{step}"]))
        assert (ends[1] + 0.05) / (ends[0] + 0.05) >= 4.5, step


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (words.decibel(-1.5), "−1.50"),
        (words.decibel(-0.001), "0.00"),
        (words.decibel(float("nan")), "–"),
        (words.number(12.3456), "12.3"),
        (words.number(0.000123456), "1.23e-04"),
        (words.number(-0.000123456), "−1.23e-04"),
        (words.number(0.0), "0"),
        (words.mse(0.1), "0.1000"),
        (words.mse(1234.0), "1234"),
        (words.with_error(1.21547, 0.0123), "1.215 ± 0.012"),
        (words.with_error(1.2, float("nan")), "1.200"),
        (words.interval(float("nan"), 1.0), ""),
        (words.duration(90.0), "90 s"),
        (words.duration(600.0), "10 min"),
        (words.duration(36000.0), "10.0 h"),
        (words.visible("a\tb\u200b"), "a\\tb\\u200b"),
        (words.sigma_labels([0.1, 0.1001, 1.0]), {0.1: "0.1", 0.1001: "0.1001", 1.0: "1"}),
        (code("`"), "`` ` ``"),
        (code("a|b"), "`a\\|b`"),
        (code(""), "` `"),
    ],
)
def test_how_things_are_written(given, expected):
    assert given == expected
