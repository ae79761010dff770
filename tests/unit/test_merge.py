"""Several runs on one page: what is put together, what is kept apart, what is refused, and the standings made of it."""

import base64
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from reporting_runs import EVIL, SIGMAS, awkward_run, references_by_kind, small_run

from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import HOME
from gahb_bench.core.levels import parse_sigmas
from gahb_bench.reporting.figure import paper
from gahb_bench.reporting.page.images import per_image
from gahb_bench.reporting.report import merged
from gahb_bench.reporting.study import provenance
from gahb_bench.reporting.study.content import content
from gahb_bench.reporting.study.leaderboard import leaderboard
from gahb_bench.reporting.text import markdown
from gahb_bench.reporting.text.markdown_overview import overview
from gahb_bench.running.folder import read
from gahb_bench.running.plan import RESULTS_VERSION, make_plan
from gahb_bench.scoring import bits
from gahb_bench.scoring.losses import worst_images
from gahb_bench.scoring.mean_regret import MeanRegret, mean_regret, over_families

FAMILY = "calpha:size=16"
REGRET = ["regret_db", "regret_db_low", "regret_db_high", "exponent"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return read(small_run(tmp_path_factory.mktemp("whole"), denoisers=("mmse", "ideal", "wavelet", "identity")))


@pytest.fixture(scope="module")
def optimum(tmp_path_factory):
    return read(small_run(tmp_path_factory.mktemp("optimum"), denoisers=("mmse", "identity")))


@pytest.fixture(scope="module")
def ideal(tmp_path_factory):
    return read(small_run(tmp_path_factory.mktemp("ideal"), denoisers=("ideal",)))


@pytest.fixture(scope="module")
def rival(tmp_path_factory):
    return read(small_run(tmp_path_factory.mktemp("rival"), denoisers=("wavelet", "identity")))


def method(section, spec):
    return next(m for m in section.methods if m.spec == spec)


def changed(run, denoiser, factor):
    """The run with other numbers for one denoiser."""
    scores = run.scores.assign(
        mse=run.scores["mse"].where(run.scores["denoiser"] != denoiser, factor * run.scores["mse"])
    )
    return replace(run, scores=scores)


def renamed_digest(run, denoiser, digest):
    """The run as if one denoiser had had other weights."""
    manifest = run.manifest.model_copy(deep=True)
    for family in manifest.plan.families:
        for planned in family.denoisers:
            if planned.spec == denoiser:
                planned.digest = digest
    return replace(run, manifest=manifest)


def test_runs_of_the_same_images_are_paired_as_one_run_would_be(whole, optimum, rival, ideal):
    (one,), (together,) = content(whole).sections, content(optimum, rival, ideal).sections
    assert {m.spec for m in together.methods} == {m.spec for m in one.methods}
    for spec in ("mmse", "ideal", "wavelet", "identity"):
        expected, found = method(one, spec), method(together, spec)
        assert found.kinds == expected.kinds == (("paired",) if spec == "ideal" else ("direct",))
        for column in REGRET:
            assert found.curve[column].to_numpy() == pytest.approx(expected.curve[column].to_numpy()), (spec, column)
        assert found.regret.low == pytest.approx(expected.regret.low)
        assert found.bits == pytest.approx(expected.bits, nan_ok=True)
    alone = method(content(ideal).sections[0], "ideal")
    assert alone.kinds == ("reference",)
    assert alone.mean_regret != pytest.approx(method(together, "ideal").mean_regret, abs=1e-3)
    direct = method(content(rival).sections[0], "wavelet")  # needs no other denoiser
    assert direct.mean_regret == pytest.approx(method(together, "wavelet").mean_regret)


def test_a_run_that_has_its_excess_stands_for_one_that_has_not(optimum, rival):
    before = replace(optimum, scores=optimum.scores.assign(excess=np.nan))
    (section,) = content(before, rival).sections
    assert set(method(section, "identity").curve["run"]) == {2}
    assert method(section, "identity").kinds == ("direct",)
    assert method(section, "mmse").kinds == ("paired",)


def test_each_number_names_its_run(optimum, rival):
    (section,) = content(optimum, rival).sections
    assert [s.number for s, _ in method(section, "identity").planned.sources] == [1, 2]
    assert set(method(section, "identity").curve["run"]) == {1}  # the same numbers: the first is kept
    assert set(method(section, "wavelet").curve["run"]) == {2}
    assert len(section.study.scores) == 3 * len(SIGMAS) * 8


def test_rounding_is_the_same_number_and_anything_more_is_refused(optimum, rival):
    assert len(content(optimum, changed(rival, "identity", 1 + 1e-6)).sections) == 1
    with pytest.raises(UsageError, match=r"different numbers for identity on calpha:size=16 at sigma=0\.01"):
        content(optimum, changed(rival, "identity", 1.001))


def test_equal_means_of_other_images_are_refused(optimum):
    turned = optimum.scores.copy()
    mine = turned["denoiser"] == "identity"
    turned.loc[mine, "mse"] = turned[mine].groupby("sigma")["mse"].transform(lambda mse: mse.to_numpy()[::-1])
    with pytest.raises(UsageError, match="different numbers"):
        content(optimum, replace(optimum, scores=turned))


def test_a_law_has_one_vote(optimum, tmp_path):
    more = read(small_run(tmp_path / "more", denoisers=("mmse", "identity"), images=12))
    board = leaderboard(content(optimum, more))
    assert (board.exact, board.laws, len(board.sections)) == (1, 1, 2)
    standing = next(standing for standing in board.standings if standing.label == "identity")
    (counted,) = standing.counted
    assert counted.study.images == 12
    assert standing.mean.value == method(counted, "identity").mean_regret


def test_a_name_for_two_things_is_kept_apart_by_the_names_of_the_runs(optimum, rival):
    apart = content(optimum, renamed_digest(changed(rival, "identity", 2.0), "identity", "other"))
    (section,) = apart.sections
    first, second = (f"identity @ {source.name}" for source in apart.sources)
    assert {m.spec for m in section.methods} == {"mmse", "wavelet", first, second}
    ratio = method(section, second).curve["mse"].to_numpy() / method(section, first).curve["mse"].to_numpy()
    assert ratio == pytest.approx(2)
    assert method(section, first).kinds == ("direct",)
    assert method(section, second).kinds == ("paired",), "an excess that these errors contradict"
    assert method(section, first).style.colour == method(section, second).style.colour
    chosen = content(optimum, renamed_digest(rival, "identity", "other"), denoisers=("identity",))
    assert len(chosen.sections[0].methods) == 2


def test_other_images_are_other_sections(optimum, tmp_path):
    other = read(small_run(tmp_path / "more", denoisers=("mmse", "identity"), images=4))
    sections = content(optimum, other).sections
    assert [s.label for s in sections] == [f"{FAMILY} (8 images)", f"{FAMILY} (4 images)"]
    old = replace(optimum, manifest=optimum.manifest.model_copy(update={"results_version": 0}))
    labels = [s.label for s in content(optimum, old).sections]
    assert labels == [f"{FAMILY} (results version {RESULTS_VERSION})", f"{FAMILY} (results version 0)"]


def test_noise_levels_add_up_and_none_is_called_failed(optimum, tmp_path):
    more = read(small_run(tmp_path / "more", denoisers=("wavelet",), sigmas=(0.1 * (1 + 1e-15), 0.3, 1.0)))
    (section,) = content(optimum, more).sections
    assert section.sigmas == [0.01, 0.1, 0.3, 1.0]
    assert section.troubles == ()
    wavelet = method(section, "wavelet")
    assert wavelet.curve["sigma"].tolist() == [0.1, 0.3, 1.0]
    assert np.isfinite(wavelet.curve["exponent"]).all()
    assert np.isfinite(wavelet.curve["regret_db"]).all()
    text = markdown.render(content(optimum, more))
    assert "failed" not in text
    assert re.search(r"\| `wavelet` \| nothing \|.*\| – \|", text)


def test_a_cell_that_failed_in_one_run_is_taken_from_the_other(tmp_path):
    failed = read(awkward_run(tmp_path / "failed", ("flaky",)))
    good = failed.scores.assign(status="ok", reason="", mse=failed.scores["mse"].fillna(0.02))
    mended = replace(failed, folder=tmp_path / "mended", scores=good)
    (section,) = content(failed, mended).sections
    assert section.troubles == ()
    assert set(method(section, "flaky").curve["run"]) == {1, 2}


def test_filters_leave_the_pairing(optimum, rival):
    everything = content(optimum, rival).sections[0]
    (section,) = content(optimum, rival, families=(FAMILY,), denoisers=("wavelet",)).sections
    assert [m.spec for m in section.methods] == ["wavelet"]
    assert section.methods[0].mean_regret == method(everything, "wavelet").mean_regret
    with pytest.raises(UsageError, match="unknown family in these runs 'calpha'"):
        content(optimum, families=("calpha",))
    with pytest.raises(UsageError, match="unknown denoiser in these runs 'tv'"):
        content(optimum, denoisers=("tv",))
    with pytest.raises(UsageError, match="given twice"):
        merged([optimum.folder, optimum.folder])


def test_the_mean_is_over_known_optima_alone(tmp_path, monkeypatch):
    specs = references_by_kind(monkeypatch)
    run = read(small_run(tmp_path, tuple(specs.values()), ("identity", "wavelet", "ideal")))
    board = leaderboard(content(run))
    assert [standing.label for standing in board.standings] == ["wavelet", "identity", "ideal"]
    standing = board.standings[0]
    kinds = {section.spec: section.reference.kind for section in board.sections}
    assert [s.spec for s in standing.counted] == [specs["noisy"], specs["exact"]]
    assert {kinds[s.spec] for s in standing.counted} == {"exact"}
    means = [m.mean_regret for m, s in zip(standing.methods, board.sections, strict=True) if s in standing.counted]
    assert standing.mean.value == pytest.approx(np.mean(means))
    assert standing.worst is not None
    assert standing.worst[1].spec in (specs["noisy"], specs["exact"])
    bracket = next(s for s in board.sections if s.reference.kind == "bracket")
    regret = standing.methods[board.sections.index(bracket)].regret
    assert regret.high - regret.low > 10 * np.log10(1.3 / 0.8)  # the whole bracket is in the interval
    text = overview(board)
    assert "the 2 of 6 families whose optimum is known exactly" in text
    assert re.search(r"\| `ideal` \| image \(not comparable\) \|", text)
    for kind in ("bracket", "approximate", "best linear", "not known", "exact"):
        assert f"| {kind} |" in text


def test_an_optimum_without_error_has_no_regret_there(optimum):
    perfect = optimum.scores["denoiser"].eq("mmse") & optimum.scores["sigma"].eq(0.01)
    curves = optimum.curves.assign(
        regret_db=optimum.curves["regret_db"].where(optimum.curves["sigma"] != 0.01, np.inf),
    )
    run = replace(optimum, scores=optimum.scores.assign(mse=optimum.scores["mse"].where(~perfect, 0.0)), curves=curves)
    (section,) = content(run).sections
    identity = method(section, "identity")
    assert (identity.levels, section.regret_levels) == (2, 2)
    assert np.isfinite([identity.regret.low, identity.mean_regret, identity.regret.high]).all()
    assert identity.mean_regret == pytest.approx(
        curves.query("denoiser == 'identity' and sigma > 0.05")["regret_db"].mean()
    )


def test_the_mean_regret_against_the_delta_method():
    draws = np.random.default_rng(5).standard_normal((2, 1, 4000))
    best = np.exp(draws[0]).repeat(3, axis=0)  # the same luck at every level
    values = 2 * best * np.exp(0.3 * draws[1])
    unknown = np.full(3, np.nan)
    found = mean_regret(values, best, unknown, unknown, unknown)
    assert found.value == pytest.approx(10 * np.log10(values[0].mean() / best[0].mean()))
    influence = values[0] / values[0].mean() - best[0] / best[0].mean()
    assert found.standard_error == pytest.approx(10 / np.log(10) * influence.std() / np.sqrt(4000), rel=0.02)
    assert found.high - found.value == pytest.approx(1.96 * found.standard_error, rel=0.01)
    one = np.ones(3)
    band = mean_regret(values, np.full_like(best, np.nan), one, 0.5 * one, 2 * one)
    point = mean_regret(values, np.full_like(best, np.nan), one, one, one)
    assert band.high - point.high == pytest.approx(10 * np.log10(2))
    assert point.low - band.low == pytest.approx(10 * np.log10(2))


def test_the_mean_over_families():
    found = over_families([MeanRegret(1.0, 0.7, 1.3, 0.1), MeanRegret(3.0, 2.6, 3.4, 0.2)])
    assert (found.value, found.high - found.value) == pytest.approx((2.0, 0.25))
    assert np.isnan(over_families([]).value)


def test_what_a_report_says_is_what_the_summary_says(whole):
    stored = pd.read_csv(whole.folder / "summary.csv").set_index("denoiser")
    for found in content(whole).sections[0].methods:
        row = stored.loc[found.spec]
        assert found.worst is not None
        said = [found.regret.value, found.regret.low, found.regret.high, found.worst.value, found.worst.low]
        said += [found.worst.high, found.worst.sigma, found.fit.value, found.fit.standard_error]
        names = [
            "mean_regret_db",
            "mean_regret_db_low",
            "mean_regret_db_high",
            "worst_regret_db",
            "worst_regret_db_low",
        ]
        names += ["worst_regret_db_high", "worst_sigma", "exponent", "exponent_error"]
        assert said == pytest.approx(row[names].tolist(), rel=1e-12), found.spec
        assert found.levels == row["levels"]


def as_trained(run, denoiser, architecture, family):
    """The run as if a denoiser had been a network trained on a family."""
    manifest = run.manifest.model_copy(deep=True)
    for planned in manifest.plan.families[0].denoisers:
        if planned.spec == denoiser:
            planned.architecture, planned.trained_on, planned.fitted = architecture, family, 1234
    return replace(run, manifest=manifest)


def test_an_architecture_has_a_row_over_the_laws_it_was_trained_on(whole, tmp_path):
    other = read(small_run(tmp_path, ("calpha:alpha=1,size=16",), ("mmse", "wavelet", "identity")))
    here = as_trained(as_trained(whole, "wavelet", "net", FAMILY), "identity", "net", "elsewhere")
    there = as_trained(other, "identity", "net", "calpha:alpha=1,size=16")
    board = leaderboard(content(here, there))
    (row,) = [standing for standing in board.standings if standing.architecture]
    assert [m.spec for m in row.methods] == ["wavelet", "identity"]
    assert row.mean.value == pytest.approx(np.mean([m.mean_regret for m in row.methods]))
    assert (row.fitted, len(row.counted), row.kinds) == (1234, 2, ("direct",))
    assert re.search(r"\| `net trained on each law` \|.*\| 2 of 2 \|.*\| 1234 \|", overview(board))
    assert len(board.standings) == 5
    assert not any(s.architecture for s in leaderboard(content(whole, other)).standings)


def test_bits_over_families():
    found = bits.over_families([bits.Bits(1.0, 0.7, 1.3, 0.0), bits.Bits(3.0, 2.6, 3.4, 0.0)])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.75, 2.25))
    assert np.isnan(bits.over_families([bits.Bits(1.0, 0.7, 1.3, 0.0), bits.UNKNOWN]).value)
    assert np.isnan(bits.over_families([]).value)


def test_where_bits_are_lost():
    sigma = np.geomspace(0.01, 1, 9)
    flat = bits.excess_bits(sigma, np.tile(sigma[:, None] ** 2, 5))
    assert flat.by_level == pytest.approx([flat.value / 16, *[flat.value / 8] * 7, flat.value / 16])
    peak = np.tile(np.where(np.arange(9) == 6, 1.0, 1e-6)[:, None] * sigma[:, None] ** 2, 5)
    assert int(np.argmax(bits.excess_bits(sigma, peak).by_level)) == 6
    uneven = np.array([0.01, 0.02, 0.3, 0.4, 1.0])
    found = bits.excess_bits(uneven, np.tile(uneven[:, None] ** 2, 5))
    ends = np.log([0.01, *np.sqrt(uneven[1:] * uneven[:-1]), 1.0])
    assert found.by_level == pytest.approx(np.diff(ends) / np.log(2))


def test_how_many_numbers_were_fitted(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME, str(tmp_path))  # where nothing was tuned
    assert make.denoiser(torch.nn.Linear(2, 3)).fitted == 9
    assert make.denoiser(torch.nn.LazyLinear(3)).fitted is None
    assert make.denoiser("tv:weight=0.1").fitted is None
    assert make.denoiser("identity").fitted is None
    assert make_plan(["calpha:size=16"], ["tv"], [0.1], tune=False).families[0].methods[0].facts.fitted == 0  # a rule
    assert make.denoiser("calpha-32").fitted == 227_689


def test_images_one_by_one(optimum):
    shown = content(optimum)
    (section,) = shown.sections
    kept = per_image(shown)["family-1"]
    position = section.methods.index(method(section, "identity"))
    steps = np.frombuffer(base64.b64decode(kept["db"][position]), "<i2").reshape(3, 8)
    excess = optimum.scores.query("sigma == 0.1 and denoiser == 'identity'")["excess"].to_numpy()
    expected = 10 * np.log10(1 + excess / section.reference.at(np.array([0.1])).mse)
    assert steps[1] / 100 == pytest.approx(expected, abs=0.0051)
    worst = [image for image, _ in worst_images(section.methods[position].image_db[1], 3)]
    assert worst == np.argsort(-expected)[:3].tolist()
    assert set(kept["pictures"]) >= set(worst)
    told = section.methods[position].image_db[1]
    assert 10 * np.log10((10 ** (told / 10)).mean()) == pytest.approx(section.methods[position].at(0.1)["regret_db"])


def test_images_of_a_method_that_has_seen_them(whole):
    (section,) = content(whole).sections
    table = whole.scores.query("sigma == 0.1").pivot(index="image", columns="denoiser", values="mse")
    expected = 10 * np.log10(table["ideal"] / table["mmse"]).to_numpy()
    assert method(section, "ideal").image_db[1] == pytest.approx(expected)


@pytest.mark.parametrize("sigmas", ["0.01,0.1,1.0", "0.003:3:7", "0.1"])
def test_the_command_makes_the_same_run(tmp_path, sigmas):
    run = read(small_run(tmp_path, sigmas=parse_sigmas(sigmas), images=2, denoisers=("mmse", "wavelet:rule=soft")))
    ((_, command),) = provenance.commands(content(run).sections[0])
    words = shlex.split(command)
    options = dict(zip(words[4::2], words[5::2], strict=True))
    plan = make_plan(
        [options["--family"]],
        options["--denoisers"].split(","),
        parse_sigmas(options["--sigmas"]),
        int(options["--images"]),
        int(options["--seed"]),
    )
    assert plan.key == json.loads((tmp_path / "run.json").read_text())["plan_key"]


def test_a_command_for_names_that_cannot_be_typed(tmp_path):
    run = read(awkward_run(tmp_path, EVIL))
    assert [command for _, command in provenance.commands(content(run).sections[0])] == ["<i>command</i>"]


@pytest.mark.parametrize(("width", "points"), [("single", 252), ("double", 504)])
def test_a_figure_for_a_paper(whole, width, points):
    shown = content(whole)
    pdf = paper.figure(shown, ".pdf", width)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(points)
    assert float(box[2]) < 9.5 * 72
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert pdf == paper.figure(shown, ".pdf", width)


def test_a_figure_of_every_kind_of_reference_and_of_evil_names(tmp_path, monkeypatch, whole):
    specs = references_by_kind(monkeypatch)
    run = read(small_run(tmp_path / "kinds", tuple(specs.values()), ("identity", "wavelet")))
    svg = paper.figure(content(run), ".svg", "double").decode()
    assert svg.startswith("<?xml")
    assert "<text" not in svg
    evil = content(read(awkward_run(tmp_path / "evil", EVIL)))
    assert paper.figure(evil, ".PNG", "single").startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="6 families do not fit a figure of width single: at most 2"):
        paper.figure(content(run), ".pdf", "single")
    with pytest.raises(UsageError, match=r"unknown kind of figure '\.jpg'"):
        paper.figure(content(whole), ".jpg", "single")
    with pytest.raises(UsageError, match=r"unknown width of a figure 'wide'\. Known: double"):
        paper.figure(content(whole), ".pdf", "wide")


def test_standings_as_text_hold_any_name(tmp_path, optimum):
    evil = read(awkward_run(tmp_path, EVIL))
    other = read(small_run(tmp_path / "other", ("calpha:alpha=1,size=16",), ("identity",)))
    text = overview(leaderboard(content(optimum, evil, other)))
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text.replace("\\|", ""))
    assert "<" not in outside
    assert "evil" not in outside
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 2
    for lines in tables:
        assert len({line.count("|") - line.count("\\|") for line in lines}) == 1


def test_unfinished_tables_make_standings_too(optimum, tmp_path):
    other = read(small_run(tmp_path, ("calpha:alpha=1,size=16",), ("mmse", "identity")))
    cut = other.curves[(other.curves["denoiser"] != "identity") | (other.curves["sigma"] > 0.5)]
    scores = other.scores[(other.scores["denoiser"] != "identity") | (other.scores["sigma"] > 0.5)]
    board = leaderboard(content(optimum, replace(other, curves=cut, scores=scores)))
    identity = next(standing for standing in board.standings if standing.label == "identity")
    assert [section.spec for section in identity.counted] == [FAMILY]
    assert "(1 of 3 levels)" in overview(board)
    assert isinstance(identity.methods[1].curve, pd.DataFrame)
