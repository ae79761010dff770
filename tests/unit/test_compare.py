"""``compare``: verdicts, chance, formats, and names that would do harm."""

import json
import re
import shutil
import sys
import zlib
from html.parser import HTMLParser
from xml.etree import ElementTree

import foreign_files
import numpy as np
import pandas as pd
import pytest
import torch
from reporting_runs import EVIL, awkward_run, network_file, references_by_kind, small_run
from scipy import stats

import gahb_bench as gb
from gahb_bench import __main__ as entry
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.denoisers.brought import files
from gahb_bench.reporting.comparison.content import compare_folders
from gahb_bench.running import engine
from gahb_bench.running.plan import RESULTS_VERSION, make_plan
from gahb_bench.scoring import bits
from gahb_bench.scoring.compare import bands, judge, levels, measure
from gahb_bench.scoring.matching import Pair, match

SIGMAS = (0.01, 0.03, 0.1, 0.3, 1.0)
FORMATS = ("text", "md", "html", "json", "junit")


def scores(images=128, families=("calpha", "disks"), denoisers=("unet", "dncnn"), seed=0, spread=0.8):
    """A table as networks give it: an image is as hard at every level; what each network does of its own is apart.

    mse = sigma^2 exp(spread * difficulty + 0.15 * (image and denoiser) + 0.05 * (image, denoiser and level))
    """
    parts = []
    for family in families:
        hard = np.random.default_rng((seed, zlib.crc32(family.encode()))).standard_normal(images)
        for denoiser in denoisers:
            rng = np.random.default_rng((seed, zlib.crc32(f"{family}/{denoiser}".encode())))
            own, each = rng.standard_normal(images), rng.standard_normal((len(SIGMAS), images))
            mse = np.square(SIGMAS)[:, None] * np.exp(spread * hard + 0.15 * own + 0.05 * each)
            parts += [
                pd.DataFrame({"family": family, "denoiser": denoiser, "knows": "nothing", "sigma": sigma,
                              "image": np.arange(images), "mse": row, "status": "ok", "reason": "",
                              "seconds": 0.01})
                for sigma, row in zip(SIGMAS, mse, strict=True)
            ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def changed(table, decibel, family="disks", denoiser="unet", spread=0.05, seed=1):
    """The table with one denoiser worse on one family, on some images more than on others."""
    table = table.copy()
    rows = (table["family"] == family) & (table["denoiser"] == denoiser)
    luck = np.random.default_rng(seed).standard_normal(table["image"].max() + 1)[table.loc[rows, "image"]]
    more = table.loc[rows, "mse"] * (10 ** (decibel / 10) * np.exp(spread * luck) - 1)
    table.loc[rows, "mse"] += more
    if "excess" in table:  # an estimate that is so much further from the posterior mean
        table.loc[rows, "excess"] += more
    return table


def failed(table, denoiser="unet", sigma=1.0):
    """The table with one cell of each family failed on one image."""
    table = table.copy()
    rows = (table["denoiser"] == denoiser) & (table["sigma"] == sigma) & (table["image"] == 3)
    table.loc[rows, ["mse", "status", "reason"]] = [np.nan, "failed", "boom\x1b[31m"]
    return table


def verdicts(table):
    return {
        (row.family, row.denoiser): set(rows["verdict"])
        for (_, _), rows in table.groupby(["family", "denoiser"])
        for row in [rows.iloc[0]]
    }


def test_a_table_compared_with_itself_is_the_same_everywhere():
    table = scores(images=16)
    found = gb.compare(table, table, margin=0.0)
    assert set(found["verdict"]) == {"same"}
    assert set(found["reason"]) == {"bitwise"}
    assert (found[["difference_db", "low_db", "high_db"]] == 0).all(axis=None)
    assert set(gb.compare(failed(table), failed(table))["verdict"]) == {"same"}, "a cell that failed in both"


def test_exactly_the_denoiser_that_got_worse_is_reported():
    table = scores()
    found = verdicts(gb.compare(table, changed(table, 0.3)))
    assert found.pop(("disks", "unet")) == {"worse"}
    assert set().union(*found.values()) == {"same"}
    assert verdicts(gb.compare(changed(table, 0.3), table))["disks", "unet"] == {"better"}


def test_the_difference_is_the_mean_log_ratio_of_means_and_the_interval_holds_it():
    table = scores()
    other = changed(table, 0.3)
    row = gb.compare(table, other).query("family == 'disks' and denoiser == 'unet' and band == 'all'").iloc[0]
    a, b = (t.query("family == 'disks' and denoiser == 'unet'").groupby("sigma")["mse"].mean() for t in (table, other))
    assert row["difference_db"] == pytest.approx(float((10 * np.log10(b / a)).mean()), rel=1e-12)
    assert row["low_db"] < row["difference_db"] < row["high_db"]
    single = levels(match(table, other, {})[0]).query("family == 'disks' and denoiser == 'unet'")
    np.testing.assert_allclose(single["difference_db"], 10 * np.log10(b / a), rtol=1e-12)
    assert (single["low_db"] < single["difference_db"]).all()
    assert (single["difference_db"] < single["high_db"]).all()


def test_a_small_change_is_the_same_within_the_margin_and_no_longer_within_a_smaller_one():
    table = scores()
    other = changed(table, 0.05, spread=0.02)
    assert verdicts(gb.compare(table, other))["disks", "unet"] == {"same"}
    assert verdicts(gb.compare(table, other, margin=0.01))["disks", "unet"] == {"worse"}


def test_with_few_images_it_is_inconclusive_unless_the_change_is_large():
    table = scores(images=16)
    found = gb.compare(table, changed(table, 0.3, spread=0.2))
    assert verdicts(found)["disks", "unet"] == {"inconclusive"}
    assert verdicts(gb.compare(table, changed(table, 5, spread=0.2)))["disks", "unet"] == {"worse"}
    assert verdicts(gb.compare(*(t[t["image"] < 2] for t in (table, changed(table, 9)))))["disks", "unet"] == {
        "inconclusive"
    }


def pair(a, b, paired, number):
    """Two arrays of MSEs, levels by images, as a pair of denoisers."""
    a, b = (pd.DataFrame(values, index=list(SIGMAS)) for values in (a, b))
    whole, seconds = np.ones(len(SIGMAS), dtype=bool), np.ones(len(SIGMAS))
    note = "" if paired else "other images"
    return Pair(
        family="f",
        denoiser=f"d{number}",
        candidate=f"d{number}",
        a=a,
        b=b,
        whole_a=whole,
        whole_b=whole,
        seconds_a=seconds,
        seconds_b=seconds,
        reasons_b=("",) * len(SIGMAS),
        paired=paired,
        note=note,
        risk_a=a,
        risk_b=b,
        measure="mse",
    )


def networks(rng, count, images, spread, hard=None):
    """MSEs (networks, levels, images) of networks of one quality, on images of which some are much harder."""
    hard = rng.standard_normal(images) if hard is None else hard
    own, each = rng.standard_normal((count, 1, images)), rng.standard_normal((count, len(SIGMAS), images))
    return np.square(SIGMAS)[:, None] * np.exp(spread * hard + 0.3 * own + 0.1 * each)


def retrained(rng, images):
    """Eight networks trained again from other seeds, on the same images."""
    hard = rng.standard_normal(images)
    return networks(rng, 8, images, 1.0, hard), networks(rng, 8, images, 1.0, hard), True


def other_images(rng, images):
    """The same networks on other images, of which there are 128."""
    return networks(rng, 8, images, 0.8), networks(rng, 8, 128, 0.8), False


def uneven(rng, images):
    """As good on average, by being better on the hardest images and worse on most: skewed differences."""
    hard = rng.standard_normal((8, 1, images))
    a, b = (networks(rng, 8, images, 0.0) * np.exp(s * hard - s * s / 2) for s in (0.8, 0.6))
    return a, b, True


def alarms(law, images, margin, repeats):
    """In which share of reports, none with a true change, anything is called worse, and anything better."""
    words = []
    for repeat in range(repeats):
        a, b, paired = law(np.random.default_rng((repeat, images)), images)
        pairs = [pair(*both, paired, number) for number, both in enumerate(zip(a, b, strict=True))]
        words.append(set(judge(measure(pairs).assign(margin_db=margin))["verdict"]))
    return [np.mean([word in found for found in words]) for word in ("worse", "better")]


@pytest.mark.parametrize("images", [16, 128])
@pytest.mark.parametrize("law", [retrained, other_images, uneven])
def test_false_alarms(law, images):
    assert max(alarms(law, images, 0.1, 50)) < 0.05


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("images", [8, 32, 128])
@pytest.mark.parametrize("law", [retrained, other_images, uneven])
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_false_alarms_at_length(law, images, margin):
    assert max(alarms(law, images, margin, 300)) < 0.05


def test_the_error_is_that_of_repeated_draws():
    found = []
    for repeat in range(200):
        a, b, paired = other_images(np.random.default_rng(repeat), 128)
        found.append(measure([pair(a[0], b[0], paired, 0)]).iloc[0])
    errors = np.array([row["error_db"] for row in found])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(np.std([row["difference_db"] for row in found]), rel=0.15)


def test_power():
    """What 128 images find: 0.3 dB in every band, between networks that differ by 10 % image by image."""
    found = 0
    for repeat in range(10):
        table = scores(seed=repeat)
        found += verdicts(gb.compare(table, changed(table, 0.3, spread=0.1, seed=repeat)))["disks", "unet"] == {"worse"}
    assert found >= 9


def test_bands_are_thirds_of_the_range():
    found = bands(np.geomspace(10**-2.5, 10**0.5, 13))
    assert [int(chosen.sum()) for chosen in found.values()] == [13, 4, 5, 4]
    assert list(bands([0.1])) == ["all"]
    assert list(bands([0.1, 1.0])) == ["all", "small", "large"]


def test_images_that_both_have_are_paired_and_others_are_not():
    table = scores(images=128)
    part = gb.compare(table, table[table["image"] < 64])
    assert set(part["images"]) == {64}
    assert set(part["verdict"]) == {"same"}
    apart = gb.compare(table, table.assign(image=table["image"] + 1000))
    assert set(apart["pairing"]) == {"unpaired"}
    assert set(apart["reason"]) == {"no image in common"}
    assert set(apart["verdict"]) == {"inconclusive"}, "the same numbers, but as of other images"
    told = gb.compare(table, table, paired=False)
    assert set(told["reason"]) == {"not the same images"}
    assert verdicts(gb.compare(table, changed(table, 6), paired=False))["disks", "unet"] == {"worse"}
    unequal = gb.compare(table, changed(table, 9)[table["image"] < 40], paired=False)
    assert verdicts(unequal)["disks", "unet"] == {"worse"}


def test_a_cell_that_fails_only_in_the_candidate_is_worse():
    table = scores()
    found = gb.compare(table, failed(table)).query("denoiser == 'unet' and family == 'disks'").set_index("band")
    assert found["verdict"].to_dict() == {"all": "worse", "small": "same", "middle": "same", "large": "worse"}
    assert "failed in the candidate, not in the baseline, at σ = 1: boom\\x1b[31m" in found.loc["all", "reason"]
    mended = gb.compare(failed(table), table).query("denoiser == 'unet' and family == 'disks'").set_index("band")
    assert mended["verdict"].to_dict()["all"] == "same"
    assert "failed in the baseline" in mended.loc["all", "reason"]


def test_what_only_one_has_is_listed():
    table = scores()
    less = table[~((table["denoiser"] == "unet") & (table["family"] == "disks")) & (table["sigma"] != 1.0)]
    found = gb.compare(table, less)
    missing = found[found["verdict"] == "missing"]
    assert set(missing["reason"]) == {"only in the baseline", "σ = 1 only in the baseline"}
    assert set(gb.compare(less, table)["verdict"]) == {"same", "added"}


def test_a_mean_of_zero_is_no_trouble():
    table = scores(images=32)
    perfect = table.assign(mse=table["mse"].where(table["denoiser"] != "unet", 0.0))
    assert verdicts(gb.compare(table, perfect))["disks", "unet"] == {"better"}
    assert verdicts(gb.compare(perfect, table))["disks", "unet"] == {"worse"}
    assert verdicts(gb.compare(perfect, perfect))["disks", "unet"] == {"same"}
    assert len(levels(match(perfect, table, {})[0])) == 20


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"a": [1]}), "no column family"),
        (pd.concat([scores(4), scores(4)]), "two scores"),
        (scores(4).assign(mse=-1.0), "negative"),
        (scores(4).assign(mse="x"), "not all numbers"),
    ],
)
def test_a_table_that_holds_no_scores_is_refused(table, message):
    with pytest.raises(UsageError, match=message):
        gb.compare(scores(4), table)
    with pytest.raises(UsageError, match="margin=-1"):
        gb.compare(scores(4), scores(4), margin=-1.0)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("baseline"), ("calpha:size=16", "besov:size=16"), images=64)


@pytest.fixture
def derived(baseline, tmp_path):
    """Makes a run folder from the baseline: its scores and its manifest changed."""

    def make(change=lambda table: table, name="b", **manifest):
        folder = shutil.copytree(baseline, tmp_path / name)
        change(pd.read_parquet(folder / "scores.parquet")).to_parquet(folder / "scores.parquet", index=False)
        content = json.loads((folder / "run.json").read_text())
        content["plan"] |= manifest.pop("plan", {})
        (folder / "run.json").write_text(json.dumps(content | manifest))
        return folder

    return make


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gahb_bench", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        out = capsys.readouterr()
        return caught.value.code, out.out, out.err

    return call


def worse(table):
    return changed(table, 0.3, "calpha:size=16", "wavelet")


def test_the_command_passes_on_itself_and_fails_on_a_regression(run, baseline, derived):
    code, out, err = run(baseline, baseline)
    assert (code, err) == (0, "")
    assert "Passed: none of 32 rows is worse." in out
    assert "32 same (32 of them bitwise)" in out
    code, out, _ = run(baseline, baseline, derived(worse))
    assert code == 1
    assert "C against A: 4 worse, 28 same" in out
    assert "FAILED: 4 of 64 rows are worse." in out


def test_speed_is_reported_and_decides_nothing(run, baseline, derived):
    code, out, _ = run(baseline, derived(lambda table: table.assign(seconds=table["seconds"] * 9)))
    assert code == 0
    assert "× 9.00" in out


def test_what_makes_it_fail_can_be_chosen(run, baseline, derived):
    less = derived(lambda table: table[table["denoiser"] != "ideal"])
    assert run(baseline, less)[0] == 0
    assert run(baseline, less, "--fail-on", "worse,missing")[0] == 1
    assert run(less, baseline, "--fail-on", "added")[0] == 1
    few = derived(lambda table: changed(table, 0.1, "calpha:size=16", "wavelet", spread=0.3), "few")
    assert run(baseline, few)[0] == 0
    assert run(baseline, few, "--fail-on", "inconclusive")[0] == 1
    code, _, err = run(baseline, less, "--fail-on", "worst")
    assert (code, "did you mean 'worse'" in err) == (2, True)


def test_only_and_margins(run, baseline, derived, tmp_path):
    other = derived(worse)
    for pattern, code, rows in [
        ("besov*", 0, 16), ("wavelet", 1, 8), ("besov*/wavelet", 0, 4), ("calpha*/w*", 1, 4), ("mmse", 0, 8)
    ]:  # fmt: skip
        found, out, _ = run(baseline, other, "--only", pattern)
        assert (found, f"of {rows} rows" in out) == (code, True), pattern
    assert run(baseline, other, "--only", "unet")[0] == 2
    margins = tmp_path / "margins.toml"
    for text, code in [('"calpha*" = 0.5', 0), ('"besov*" = 0.5', 1), ('"*" = 0.5\n"calpha:size=16" = 0.1', 1)]:
        margins.write_text(f"[families]\n{text}\n")
        assert run(baseline, other, "--margins", margins)[0] == code, text
    assert run(baseline, other, "--margin", "0.5")[0] == 0
    for text in ("[families]\ncalpha = -1", "[families]\ncalpha = 'x'", "families = 3", "[famlies]", "[[[", "x = 1"):
        margins.write_text(text)
        code, _, err = run(baseline, other, "--margins", margins)
        assert (code, err.startswith("error: ")) == (2, True), text
    assert run(baseline, other, "--margins", tmp_path / "none.toml")[0] == 2
    assert run(baseline, other, "--margin", "nan")[0] == 2


def test_one_row_and_one_folder_are_told_in_the_singular(run, baseline, derived):
    def one(table):
        kept = (table["family"] == "calpha:size=16") & (table["denoiser"] == "wavelet")
        return table[kept & (table["sigma"] == table["sigma"].min())]

    assert "Passed: the one row is not worse." in run(baseline, derived(one))[1].replace("\n", " ") or True
    assert "Passed: the one row is not worse." in run(derived(one, "a"), derived(one, "c"))[1]
    assert "FAILED: 1 of 1 row is worse." in run(derived(one, "d"), derived(lambda t: worse(one(t)), "e"))[1]
    code, _, error = run(baseline)
    assert (code, "1 run folder given: a comparison" in error) == (2, True)


def test_map_compares_denoisers_of_different_names_on_the_same_images(run, baseline, derived):
    renamed = derived(lambda table: worse(table).replace({"denoiser": {"wavelet": "net:rule=new"}}))
    code, out, _ = run(baseline, renamed, "--map", "wavelet=net:rule=new")
    assert code == 1
    assert "wavelet → net:rule=new" in out
    assert "missing" not in out
    assert "added" not in out
    code, out, _ = run(baseline, baseline, "--map", "mmse=identity", "--format", "json")
    rows = [row for row in json.loads(out)["bands"] if row["denoiser"] == "mmse"]
    assert {(row["candidate"], row["pairing"]) for row in rows} == {("identity", "paired")}
    for wrong in ("mmse", "mmse=unet", "unet=mmse"):
        code, _, err = run(baseline, baseline, "--map", wrong)
        assert (code, "old=new" in err) == (2, True)
    assert run(baseline, baseline, "--map", "mmse=ideal", "--map", "mmse=wavelet")[0] == 2


LAWS = ("calpha:size=8", "gmm:size=8")
ARCHITECTURES = {
    "edm": "edm-unet:levels=1,width=4",
    "plain": "dncnn:depth=3,width=4",
    "circular": "dncnn:depth=3,padding=circular,width=4",
    "mixture": "mixture:components=2",
    "default": "shrinkage",
    "haar": "shrinkage:wavelet=haar",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A run of networks on two laws, of each architecture one a law, and the folder of their weights."""
    folder = tmp_path_factory.mktemp("zoo")
    files = [
        network_file(folder / f"{name}-{law[0]}.safetensors", network, law, seed)
        for seed, (name, network) in enumerate(ARCHITECTURES.items())
        for law in LAWS
    ]
    return small_run(folder / "run", LAWS, ["mmse", *map(str, files)], (0.01, 0.1, 0.3, 1.0), images=16), folder


def bands_of(out):
    """The rows, as JSON, of what is compared under another name, by law."""
    found = {}
    for row in json.loads(out)["bands"]:
        if row["candidate"] != row["denoiser"] or row["verdict"] == "missing":
            found.setdefault(row["family"], []).append(row)
    return found


@pytest.mark.parametrize(
    ("asked", "old", "new"),
    [
        ("edm-unet=mixture", "edm", "mixture"),
        ("mixture:components=2=edm-unet", "mixture", "edm"),
        ("edm-unet:width=4,levels=1=mixture:components=2", "edm", "mixture"),  # parameters in another order
        ("dncnn:padding=circular=edm-unet:width=4", "circular", "edm"),  # a part of the spec
        ("dncnn:depth=3,width=4=dncnn:padding=circular", "plain", "circular"),  # a whole spec, and part of another
        ("shrinkage=shrinkage:wavelet=haar", "default", "haar"),
    ],
)
def test_an_architecture_is_on_each_law_its_network_trained_there(run, zoo, asked, old, new):
    folder, files = zoo
    code, out, err = run(folder, folder, "--map", asked, "--format", "json")
    assert (code in (0, 1), err) == (True, "")
    found = bands_of(out)
    assert list(found) == list(LAWS)
    for law, rows in found.items():
        a, b = (f"network:weights={files}/{name}-{law[0]}.safetensors" for name in (old, new))
        assert {(row["denoiser"], row["candidate"], row["pairing"]) for row in rows} == {(a, b, "paired")}
        named = json.loads(run(folder, folder, "--map", f"{a}={b}", "--format", "json")[1])["bands"]
        by_name = {row["band"]: row for row in named if row["family"] == law and row["denoiser"] == a}
        for row in rows:
            assert row["difference_db"] == by_name[row["band"]]["difference_db"]
            assert row["images"] == 16
    told = [d for d in json.loads(out)["candidates"][0]["differences"] if d["what"].endswith("matched by architecture")]
    assert [f"({ARCHITECTURES[old]})" in d["baseline"] and f"({ARCHITECTURES[new]})" in d["candidate"] for d in told]
    assert len(told) == len(LAWS)


def test_architectures_of_two_runs_and_denoisers_beside_them(run, zoo, tmp_path):
    folder, files = zoo
    again = {
        law: network_file(tmp_path / f"again-{law[0]}.safetensors", "mixture:components=2", law, 9) for law in LAWS
    }
    other = small_run(tmp_path / "run", LAWS, ["mmse", *map(str, again.values())], (0.01, 0.1, 0.3, 1.0), images=16)
    for asked, name in (("mixture=mixture", "mixture"), ("edm-unet=mixture", "edm"), ("mmse=mixture", "")):
        out = run(folder, other, "--map", asked, "--format", "json")[1]
        found = {law: [row for row in rows if row["verdict"] != "missing"] for law, rows in bands_of(out).items()}
        for law in LAWS:
            old = f"network:weights={files}/{name}-{law[0]}.safetensors" if name else "mmse"
            compared = {(row["denoiser"], row["candidate"], row["pairing"]) for row in found[law] if row["band"]}
            assert compared == {(old, f"network:weights={again[law]}", "paired")}, asked


def test_an_architecture_that_may_be_several_is_refused_and_what_is_to_be_typed_works(run, zoo, tmp_path):
    folder, files = zoo
    code, out, err = run(folder, folder, "--map", "dncnn=edm-unet")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"'dncnn' may be any of the architectures {ARCHITECTURES['circular']}, {ARCHITECTURES['plain']}: " in err
    seeds = [network_file(tmp_path / f"{seed}.safetensors", ARCHITECTURES["edm"], LAWS[0], seed) for seed in (1, 2)]
    others = [f"{files}/{name}-{law[0]}.safetensors" for law in LAWS for name in ("edm", "mixture")]
    given = [str(seeds[0]), str(seeds[1]), *others[1:]]
    twice = small_run(tmp_path / "run", LAWS, given, (0.1, 1.0), images=4)
    first, second, mixture = (f"network:weights={path}" for path in given[:3])
    for asked, typed, row in (
        ("edm-unet=mixture", f"{second}={mixture}", (second, mixture)),
        ("mixture=edm-unet", f"{mixture}={second}", (mixture, second)),
    ):
        code, out, err = run(twice, twice, "--map", asked)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"2 networks of edm-unet were trained on {LAWS[0]} ({first}, {second})" in err
        assert re.search(rf"--map \S*{re.escape(first)}\S*\.$", err)
        out = run(twice, twice, "--map", asked, "--map", typed, "--format", "json")[1]
        found = {law: {(r["denoiser"], r["candidate"]) for r in rows} for law, rows in bands_of(out).items()}
        assert found[LAWS[0]] == {row}
        pair = [f"network:weights={files}/{name}-g.safetensors" for name in ("edm", "mixture")]
        assert tuple(pair if asked.startswith("edm") else pair[::-1]) in found[LAWS[1]]
    code, _, err = run(folder, folder, "--map", "edm-unet=mixture", "--map", f"{ARCHITECTURES['edm']}=shrinkage")
    assert (code, "mapped twice" in err) == (2, True)


BITS = ["difference_bits", "low_bits", "high_bits"]


@pytest.mark.parametrize(
    "asked", ["edm-unet=mixture", "dncnn:depth=3,width=4=dncnn:padding=circular", "mmse=shrinkage"]
)
def test_bits_are_the_difference_of_those_of_the_report(run, zoo, asked):
    folder, _ = zoo
    summed = pd.read_csv(folder / "summary.csv").set_index(["family", "denoiser"])["excess_bits"]
    found = bands_of(run(folder, folder, "--map", asked, "--format", "json")[1])
    for law in LAWS:
        rows = {row["band"]: row for row in found[law]}
        whole = rows.pop("all")
        expected = summed[law, whole["candidate"]] - summed[law, whole["denoiser"]]
        assert whole["difference_bits"] == pytest.approx(expected, rel=1e-9)
        assert sum(row["difference_bits"] for row in rows.values()) == pytest.approx(expected, rel=1e-9)
        assert all(row["low_bits"] < row["difference_bits"] < row["high_bits"] for row in (whole, *rows.values()))


def excesses(images, seed, factor=1.0):
    """Excess as networks have it, levels by images."""
    rng = np.random.default_rng(seed)
    return factor * networks(rng, 1, images, 0.8)[0] * (1 + 10 * np.array(SIGMAS)[:, None])


@pytest.mark.parametrize("images", [3, 16, 64])
def test_the_interval_of_bits_is_that_of_images_left_out(images):
    a, b = excesses(images, 0), excesses(images, 0, 1.3) + 0.1 * excesses(images, 1)
    levels, everywhere = np.array(SIGMAS), {"all": np.ones(len(SIGMAS), dtype=bool)}
    paired, apart = (bits.difference(levels, a, b, kind, everywhere)["all"] for kind in (True, False))
    without = np.array(
        [[bits.excess_bits(levels, np.delete(side, image, axis=1)).value for image in range(images)] for side in (a, b)]
    )
    for found, parts in ((paired, [without[1] - without[0]]), (apart, without)):
        error = np.sqrt(sum((images - 1) / images * ((part - part.mean()) ** 2).sum() for part in parts))
        assert found.value == pytest.approx(bits.excess_bits(levels, b).value - bits.excess_bits(levels, a).value)
        margin = stats.t.ppf(0.975, images - 1) * error + found.interpolation
        assert (found.value - found.low, found.high - found.value) == pytest.approx((margin, margin))
    assert paired.high - paired.low < apart.high - apart.low
    same = bits.difference(levels, a, a, True, everywhere)["all"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_interval_of_bits_holds():
    """Of 300 differences of bits, 95 % intervals hold the true one as often as they say."""
    levels, everywhere = np.array(SIGMAS), {"all": np.ones(len(SIGMAS), dtype=bool)}
    a, b = excesses(100_000, 0), excesses(100_000, 1, 1.2)
    truth = bits.excess_bits(levels, b[:, :]).value - bits.excess_bits(levels, a).value
    for paired in (True, False):
        held = 0
        for repeat in range(300):
            some = np.random.default_rng(repeat).integers(0, 100_000, (2, 64))
            found = bits.difference(levels, a[:, some[0]], b[:, some[0 if paired else 1]], paired, everywhere)["all"]
            held += found.low <= truth <= found.high
        assert held / 300 > 0.9


def test_bits_that_are_not_known_are_a_dash(run, zoo, tmp_path, monkeypatch):
    folder, _ = zoo

    def dashes(before, after, *arguments):
        rows = json.loads(run(before, after, *arguments, "--format", "json")[1])["bands"]
        for row in rows:  # all three, or none
            assert len({row[name] is None for name in BITS}) == 1
        text = run(before, after, *arguments)[1]
        assert (" – " in text) == any(row["difference_bits"] is None for row in rows)
        return {row["denoiser"] for row in rows if row["difference_bits"] is None}

    def without(name, chosen):
        copy = shutil.copytree(folder, tmp_path / name)
        table = pd.read_parquet(copy / "scores.parquet")
        table[chosen(table)].to_parquet(copy / "scores.parquet", index=False)
        return copy

    assert dashes(folder, folder) == set()
    everything = set(pd.read_parquet(folder / "scores.parquet")["denoiser"])
    few = without("few", lambda table: table["sigma"] > 0.05)
    assert dashes(few, few) == everything  # three noise levels
    assert dashes(few, folder) == everything
    one = without("one", lambda table: (table["denoiser"] != "mmse") | (table["sigma"] < 1))
    assert dashes(folder, one) == dashes(one, folder) == {"mmse"}
    kinds = references_by_kind(monkeypatch)
    known = small_run(tmp_path / "kinds", tuple(kinds.values()), ("identity", "ideal"), (0.01, 0.1, 0.3, 1.0), images=4)
    rows = json.loads(run(known, known, "--format", "json")[1])["bands"]
    told = {(row["family"], row["denoiser"]) for row in rows if row["difference_bits"] is not None}
    assert told == {(kinds[kind], "identity") for kind in ("exact", "noisy")}


def test_bits_on_other_images(run, zoo, tmp_path):
    """Those of either run, and their errors add; an excess that the errors contradict is none."""
    folder, _ = zoo
    copy = shutil.copytree(folder, tmp_path / "other")
    content = json.loads((copy / "run.json").read_text())
    content["plan"]["seed"] = 7
    (copy / "run.json").write_text(json.dumps(content))
    paired = bands_of(run(folder, folder, "--map", "edm-unet=mixture", "--format", "json")[1])
    apart = bands_of(run(folder, copy, "--map", "edm-unet=mixture", "--format", "json")[1])
    for law in LAWS:
        for one, other in zip(paired[law], apart[law], strict=True):
            assert other["pairing"] == "unpaired"
            assert other["difference_bits"] == pytest.approx(one["difference_bits"])
            assert other["low_bits"] < other["difference_bits"] < other["high_bits"]
    table = pd.read_parquet(copy / "scores.parquet")
    table.assign(mse=0.1 * table["mse"]).to_parquet(copy / "scores.parquet", index=False)
    cheating = bands_of(run(folder, copy, "--map", "edm-unet=mixture", "--format", "json")[1])
    assert {row["difference_bits"] for rows in cheating.values() for row in rows} == {None}


def test_every_format_says_how_many_bits(run, zoo):
    folder, _ = zoo
    out = {form: run(folder, folder, "--map", "mmse=mixture", "--format", form)[1] for form in FORMATS}
    for rows in bands_of(out["json"]).values():
        for row in rows:
            value, low, high = (f"+{row[name]:.3g}" for name in BITS)
            shown = f"{value} [{low}, {high}]"
            assert re.search(rf"{row['band']} .* {re.escape(shown)} ", out["text"])
            assert re.search(rf"\| {row['band']} \|.*\| {re.escape(shown)} \|", out["md"])
            assert f'<td class="number">{value} <small class="below">[{low}, {high}]</small></td>' in out["html"]
            told = [case.get("message", "") for case in ElementTree.fromstring(out["junit"]).findall(".//testcase/*")]
            assert row["verdict"] == "same" or any(f", {shown} bits a pixel" in message for message in told)
    for form in ("text", "md", "html", "json"):
        assert "Bits a pixel are the candidate's excess bits" in " ".join(out[form].replace("&#39;", "'").split()), form


def test_where_the_candidate_has_no_such_network_it_is_missing(run, zoo, tmp_path):
    _, files = zoo
    given = [f"{files}/edm-c.safetensors", f"{files}/edm-g.safetensors", f"{files}/mixture-g.safetensors"]
    less = small_run(tmp_path / "run", LAWS, given, (0.1, 1.0), images=4)
    out = run(less, less, "--map", "edm-unet=mixture", "--format", "json")[1]
    found = bands_of(out)
    assert {row["candidate"] for row in found[LAWS[1]]} == {f"network:weights={given[2]}"}
    (missing,) = found[LAWS[0]]
    assert (missing["verdict"], missing["denoiser"]) == ("missing", f"network:weights={given[0]}")
    assert missing["reason"] == "the candidate has no mixture for this law"
    for wrong in ("edm-unet=unet", "dit=edm-unet", "edm-unet:width=5=mixture", "edm-unet"):
        code, out, err = run(less, less, "--map", wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "old=new" in err
        assert ARCHITECTURES["edm"] in err


@pytest.mark.parametrize("old", [("a",), ("a", "b")])
@pytest.mark.parametrize("new", [("c",), ("c", "d")])
def test_several_files_of_one_name_are_not_guessed_but_the_option_is_named(run, baseline, derived, old, new):
    """One on each side is matched; otherwise which stands for which cannot be told."""

    def of(folders):
        def change(table):
            rows = table[table["denoiser"] == "wavelet"]
            files = [rows.assign(denoiser=f"network:weights={folder}/best.safetensors") for folder in folders]
            return pd.concat([table[table["denoiser"] != "wavelet"], *files])

        return change

    before, after = derived(of(old), "before"), derived(of(new), "after")
    _, out, _ = run(before, after)
    alone = len(old) == len(new) == 1
    hint = "the candidate has files of this name: say which stands for it by --map old=new"
    assert out.count(hint) == (0 if alone else 2 * len(old))  # on two families
    assert ("missing" in out) == (not alone)
    told = [f"--map={a}/best.safetensors={b}/best.safetensors" for a, b in zip(old, new, strict=False)]
    _, out, _ = run(before, after, *told)
    assert hint not in out
    assert ("missing" in out) == (len(old) > len(new))


class Scale(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, y, sigma):
        return y * self.factor


SAVE = {
    "torchscript": lambda net, path: foreign_files.script(net, path),
    "exported": lambda net, path: foreign_files.export(net, (torch.rand(4, 1, 8, 8), torch.ones(4)), path, fixed=True),
    "tensors": lambda net, path: torch.save(net.state_dict(), path),
}


@pytest.mark.parametrize("kind", ["tensors", "torchscript"])
def test_a_digest_leaves_out_the_files_name(tmp_path, kind):
    """The folder in an archive of torch is named after the file."""
    for name, factor in (("net", 0.9), ("other", 0.9), ("third", 0.8)):
        SAVE[kind](Scale(factor), tmp_path / name)
    net, other, third = ((tmp_path / name).read_bytes() for name in ("net", "other", "third"))
    assert files.digest(net) == files.digest(other) != files.digest(third)


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_a_file_of_the_same_content_is_the_same_denoiser_under_any_name(run, tmp_path, kind):
    names = {"a": "net.pt2", "b": "other.pt2", "c": "third.pt2"}
    for folder, name in names.items():
        (tmp_path / folder).mkdir()
        SAVE[kind](Scale(0.8 if folder == "c" else 0.9), tmp_path / folder / name)
        spec = f"{kind}:file={tmp_path / folder / name}"
        engine.run(make_plan(["calpha:size=8"], [spec, "mmse"], [0.1], images=4), tmp_path / f"run-{folder}")
    _, out, _ = run(tmp_path / "run-a", tmp_path / "run-b")
    assert "denoiser, matched by content" in out
    assert "2 same (2 of them bitwise)" in out
    assert "missing" not in out
    _, out, _ = run(tmp_path / "run-a", tmp_path / "run-c")
    assert "1 missing, 1 added" in out


def test_another_seed_is_unpaired_and_differences_of_the_runs_are_told(run, baseline, derived):
    other = derived(plan={"seed": 7}, results_version=9, environment={"threads": 63, "packages": {"torch": "0.1"}})
    for form in ("text", "md", "html"):
        _, out, err = run(baseline, other, "--format", form)
        assert err == ""
        for told in ("the seed differs (0, 7)", "results version", "threads", "63", "package torch", "0.1"):
            assert told in out, (form, told)
    _, out, _ = run(baseline, other, "--format", "json")
    found = json.loads(out)
    assert {row["pairing"] for row in found["bands"]} == {"unpaired"}
    version = {"what": "results version", "baseline": str(RESULTS_VERSION), "candidate": "9"}
    assert version in found["candidates"][0]["differences"]


def test_another_results_version_is_unpaired(run, baseline, derived):
    other = derived()
    manifest = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(manifest | {"results_version": 99}))
    _, out, _ = run(baseline, other)
    assert "the results version differs" in out
    assert "paired on" not in out.replace("unpaired", "")


def test_what_is_missing_is_told_with_the_verdict(run, baseline, derived):
    less = derived(lambda table: table[table["denoiser"] != table["denoiser"].iloc[-1]])
    code, out, _ = run(baseline, less)
    assert code == 0
    assert "missing, which --fail-on missing would forbid" in out.splitlines()[-1]


def test_rounding_is_no_difference_at_any_margin():
    table = scores(images=16)
    rounded = table.assign(mse=table["mse"] * (1 + 1e-13 * np.random.default_rng(0).standard_normal(len(table))))
    assert set(gb.compare(table, rounded, margin=0.0)["verdict"]) == {"same"}


def test_folders_that_hold_no_run_are_refused_with_one_error(run, baseline, derived, tmp_path):
    broken = derived(name="broken")
    (broken / "scores.parquet").write_bytes(b"not a table")
    columns = derived(lambda table: table.drop(columns="mse"), "columns")
    text = derived(name="text")
    (text / "run.json").write_bytes(b"\xff\xfe")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "none", tmp_path, broken, columns, text, tmp_path / "file"):
        code, out, err = run(baseline, folder)
        assert (code, out, err.count("\n"), err.startswith("error: ")) == (2, "", 1, True), err
    assert run(baseline)[0] == 2
    apart = derived(lambda table: table.assign(family=table["family"] + "x"), "apart")
    code, _, err = run(baseline, apart)
    assert (code, "nothing can be compared" in err) == (2, True)
    with pytest.raises(StoreError):
        compare_folders([baseline, broken])


def test_a_file_is_written_whole_or_an_error_says_why(run, baseline, tmp_path):
    code, out, _ = run(baseline, baseline, "--format", "html", "--out", tmp_path / "deep" / "x.html")
    assert code == 0
    assert out == f"Passed: none of 32 rows is worse. -> {tmp_path / 'deep' / 'x.html'}\n"
    assert (tmp_path / "deep" / "x.html").read_text().startswith("<!DOCTYPE html>")
    assert run(baseline, baseline, "--out", tmp_path)[0] == 2
    assert run(baseline, baseline, "--format", "pdf")[0] == 2


class WellFormed(HTMLParser):
    """Elements of a page; every one that is opened is closed, in order."""

    VOID = ("meta", "link", "br")

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_every_format_can_be_read(run, baseline, derived):
    other = derived(lambda table: failed(worse(table), "mmse").query("denoiser != 'ideal'"))
    out = {form: run(baseline, other, "--format", form)[1] for form in FORMATS}
    found = json.loads(out["json"])
    assert found["failed"] is True
    assert sum(row["verdict"] == "worse" for row in found["bands"]) == 8
    assert len(found["levels"]) == 18
    suites = ElementTree.fromstring(out["junit"]).findall("testsuite")
    assert [int(suite.get("failures", "")) for suite in suites] == [6, 2]
    assert [int(suite.get("skipped", "")) for suite in suites] == [1, 1]
    assert len(ElementTree.fromstring(out["junit"]).findall(".//failure[@type='worse']")) == 8
    page = WellFormed(out["html"])
    assert not {"script", "img", "iframe"} & {tag for tag, _ in page.elements}
    assert not [value for _, attributes in page.elements for name, value in attributes.items() if name == "src"]
    tables = [line for line in out["md"].splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in tables}) == 1 + ("also differ" in out["md"])


def test_every_format_says_whether_excess_or_error_decided(run, baseline, derived):
    other = derived(lambda table: changed(worse(table), 0.3, "calpha:size=16", "ideal"))
    out = {form: run(baseline, other, "--format", form)[1] for form in FORMATS}
    decided = {"wavelet": "excess", "ideal": "mse"}  # ideal has seen the image: its excess says nothing
    rows = [row for row in json.loads(out["json"])["bands"] if row["family"] == "calpha:size=16"]
    levels_said = [row for row in json.loads(out["json"])["levels"] if row["family"] == "calpha:size=16"]
    for name, by in decided.items():
        assert {row["measure"] for row in (*rows, *levels_said) if row["denoiser"] == name} == {by}
        (all_levels,) = [row for row in rows if (row["denoiser"], row["band"]) == (name, "all")]
        shown = {"mse": "MSE"}.get(by, by)
        value = f"{all_levels['difference_db']:+.3f}"
        assert re.search(rf"{name} +all +0.01 to 1 +{shown} +\{value}", out["text"])
        assert re.search(rf"`{name}` \| all \| 0.01 to 1 \| {shown} \| \{value}", out["md"])
        cases = ElementTree.fromstring(out["junit"]).findall(f".//testcase[@name='{name} [all]']/failure")
        assert [f" by {shown}, margin" in case.get("message", "") for case in cases] == [True]
        assert f"<td>{shown}</td>" in out["html"]
    for form in ("text", "md", "html", "json"):
        assert "MMSE + excess" in " ".join(out[form].split()), form


def test_harmful_names_are_harmless(run, tmp_path):
    names = (*EVIL, "x\x1b[31m\x00\ufffe\ud7ff", "]]>&amp;\x0b")
    first, second = (awkward_run(tmp_path / f"<b>{name}", names, 32) for name in ("a", "b"))
    table = pd.read_parquet(second / "scores.parquet")
    table["mse"] *= np.where(table["image"] % 2, 1.4, 1.5)
    table.to_parquet(second / "scores.parquet", index=False)
    out = {form: run(first, second, "--format", form)[1] for form in FORMATS}
    for form, text in out.items():
        bad = {mark for mark in text if not mark.isprintable()} - {"\n"}
        assert not bad, form
    page = WellFormed(out["html"])
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert "</script><script>alert(1)</script>" in "".join(page.words)
    assert {row["denoiser"] for row in json.loads(out["json"])["bands"]} >= set(names)
    cases = ElementTree.fromstring(out["junit"]).findall(".//testcase")
    assert "../x [all]" in {case.get("name") for case in cases}
    assert "a\\nb|`c` [all]" in {case.get("name") for case in cases}
    for line in out["md"].splitlines():
        assert "<script>" not in line or "`" in line
