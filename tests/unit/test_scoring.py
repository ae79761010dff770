import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.reporting.study import sentences
from gahb_bench.reporting.text.summary import summary
from gahb_bench.scoring import curve, score
from gahb_bench.scoring.curve import below_optimum
from gahb_bench.scoring.intervals import mean_interval, ratio_interval

FAMILY = "calpha:size=16"


def halve(y, sigma):
    return y / 2


def fails_above(y, sigma):
    if sigma > 0.5:
        raise RuntimeError("boom")
    return y


def wrong_shape(y, sigma):
    return y[..., 1:]


def one_nan(y, sigma):
    y = y.clone()
    y[1] = float("nan")
    return y


@pytest.mark.filterwarnings("ignore::gahb_bench.core.errors.ScaleWarning")
def test_scores_are_per_image_mean_squared_errors():
    table = gb.score(FAMILY, ["identity", halve], [0.2, 0.3], images=3)
    assert list(table.columns) == score.COLUMNS
    assert len(table) == 2 * 2 * 3
    batch = gb.family(FAMILY).sample(range(3))
    y = gb.add_noise(batch, 0.2)
    expected = (y / 2 - batch.images).double().square().mean(dim=(1, 2, 3)).numpy()
    mine = table[(table.denoiser == "halve") & (table.sigma == 0.2)]
    assert mine["mse"].to_numpy() == pytest.approx(expected, rel=1e-6)
    assert set(mine["knows"]) == {"nothing"}
    assert (mine["seconds"] >= 0).all()


def test_the_batch_size_of_scoring_does_not_matter(monkeypatch):
    whole = gb.score(FAMILY, ["mmse", "ideal"], [0.1], images=7)
    monkeypatch.setattr(score, "_PIXELS_AT_ONCE", 600)
    cut = gb.score(FAMILY, ["mmse", "ideal"], [0.1], images=7)
    assert cut["mse"].to_numpy() == pytest.approx(whole["mse"].to_numpy(), rel=1e-6)


@pytest.mark.parametrize(
    ("denoiser", "reason"),
    [
        (wrong_shape, "returned (4, 1, 16, 15), but an estimate has the shape of its input, (4, 1, 16, 16)"),
        (lambda y, sigma: None, "returned NoneType, but an estimate has the shape of its input"),
        (fails_above, "RuntimeError: boom"),
    ],
)
def test_failures_are_recorded_and_the_rest_goes_on(denoiser, reason):
    table = gb.score(FAMILY, [denoiser, "identity"], [0.1, 1.0], images=4)
    failed = table[table["status"] == "failed"]
    assert failed["reason"].str.contains(reason, regex=False).all()
    assert failed["mse"].isna().all()
    assert "identity" not in set(failed["denoiser"])
    assert 1.0 in set(failed["sigma"])
    rows = gb.curves(table)
    assert rows[rows["denoiser"] == "identity"]["status"].eq("ok").all()


def test_one_bad_image_spoils_the_mean():
    table = gb.score(FAMILY, [one_nan], [0.1], images=4)
    assert list(table["status"]) == ["ok", "failed", "ok", "ok"]
    assert table["reason"].iloc[1] == "one_nan returned NaN or infinity."
    row = gb.curves(table).iloc[0]
    assert (row["status"], row["images"]) == ("failed", 3)
    assert np.isnan(row["mse"])


def test_regret_is_paired_with_the_oracle_on_the_same_images():
    """Of what knows more than y; what sees y alone has its excess over the optimum."""
    table = gb.score(FAMILY, ["mmse", "identity", "ideal"], [0.1, 1.0], images=20)
    rows = gb.curves(table)
    assert list(rows.columns) == curve.COLUMNS
    means = table.groupby(["denoiser", "sigma"])[["mse", "excess"]].mean()
    ideal = rows[rows["denoiser"] == "ideal"]
    expected = 10 * np.log10(means.loc["ideal"]["mse"].to_numpy() / means.loc["mmse"]["mse"].to_numpy())
    assert ideal["regret_db"].to_numpy() == pytest.approx(expected)
    mine = rows[rows["denoiser"] == "identity"]
    expected = 10 * np.log10(1 + means.loc["identity"]["excess"].to_numpy() / mine["reference_mse"].to_numpy())
    assert mine["regret_db"].to_numpy() == pytest.approx(expected)
    assert (rows[rows["denoiser"] == "mmse"][["regret_db", "regret_db_low", "regret_db_high"]] == 0).all(axis=None)
    assert (mine["regret_db_low"] < mine["regret_db"]).all()
    assert (mine["regret_db"] < mine["regret_db_high"]).all()
    assert mine["exponent"].to_numpy() == pytest.approx(2, abs=1e-4)
    alone = gb.curves(gb.score(FAMILY, ["ideal"], [0.1, 1.0], images=20))
    assert alone["regret_db"].to_numpy() == pytest.approx(10 * np.log10(alone["mse"] / alone["reference_mse"]))


def test_a_bracket_makes_the_regret_an_interval(monkeypatch):
    from gahb_bench.core.optimum import Reference
    from gahb_bench.families.calpha.law import Calpha

    def bracket(self, sigmas):
        one = np.ones(len(np.atleast_1d(sigmas)))
        return Reference("bracket", np.atleast_1d(sigmas), 1e-3 * one, 5e-4 * one, 2e-3 * one, 0 * one, one)

    monkeypatch.setattr(Calpha, "reference", bracket)
    table = gb.score(FAMILY, ["identity"], [0.1], images=50)
    curves = gb.curves(table)
    said = summary(curves, gb.summary(table))
    assert f"{FAMILY}: regret to the middle of the bracket, dB\n" in said
    assert "to a bracket: 10 log10 of the ratio" in said
    assert "bits:" not in said
    row = curves.iloc[0]
    assert row["regret_db_low"] == pytest.approx(10 * np.log10(row["mse_low"] / 2e-3))
    assert row["regret_db_high"] == pytest.approx(10 * np.log10(row["mse_high"] / 5e-4))


def test_what_is_below_the_optimum_beyond_chance_is_named():
    def cheat(y, sigma):  # the clean images, as only something that has seen them can give them
        return batch.images[: len(y)] + 0.01 * sigma * (y - batch.images[: len(y)])

    batch = gb.family(FAMILY).sample(range(20))
    table = gb.score(FAMILY, ["mmse", cheat, "wavelet", "wiener-data"], [0.01, 0.1], images=20)
    curves = gb.curves(table)
    assert set(curves[below_optimum(curves)]["denoiser"]) == {"cheat"}
    assert "warning: cheat is below the optimum" in summary(curves, gb.summary(table))
    near = curves[curves["denoiser"] == "wiener-data"].assign(regret_db=-0.001, regret_db_high=-0.0001)
    assert not below_optimum(near).any(), "below with its whole interval, but not beyond chance"


def test_no_regret_where_the_optimum_vanishes():
    table = gb.score("hierarchy:depth=3", ["mmse", "identity"], [0.003, 0.3], images=8)
    curves = gb.curves(table)
    assert curves["regret_db"].isna().tolist() == [True, False, True, False]
    assert np.isfinite(curves["mse"]).all()
    assert (curves["status"] == "ok").all()
    assert "failed" not in summary(curves, gb.summary(table))
    with pytest.raises(UsageError, match=r"vanishes at sigma=0\.003"):
        gb.testing.assert_near_optimal("identity", "hierarchy:depth=3", [0.003, 0.3], images=8)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Skewed data: 400 samples of 40 exponential variates; 95 % +- 3 binomial standard errors, less some bias."""
    draws = np.random.default_rng(0).exponential(size=(400, 40))
    low, high = mean_interval(draws)
    cover = ((low < 1) & (high > 1)).mean()
    assert 0.90 < cover < 0.98


def test_paired_intervals_are_narrow():
    generator = np.random.default_rng(0)
    luck = generator.exponential(size=(1, 100))
    low, high = ratio_interval(luck * 1.1 * generator.normal(1, 0.01, size=(1, 100)), luck)
    assert low[0] < 1.1 < high[0]
    assert high[0] - low[0] < 0.02


def test_intervals_of_too_few_or_equal_values():
    low, high = mean_interval(np.ones((2, 2)))
    assert np.isnan([low, high]).all()
    low, high = mean_interval(np.ones((2, 9)))
    assert (low == 1).all()
    assert (high == 1).all()


def test_exponent_of_a_known_power_law():
    """mse_i = u_i s^1.4: the slope is 1.4 exactly and pairing removes all error."""
    luck = np.random.default_rng(0).exponential(size=30)
    rows = [
        {"family": "calpha", "denoiser": "d", "sigma": s, "image": i, "mse": u * s**1.4, "knows": "nothing"}
        for s in (0.01, 0.1, 1.0)
        for i, u in enumerate(luck)
    ]
    fit = gb.exponent(pd.DataFrame(rows), "calpha", "d")
    assert fit.value == pytest.approx(1.4)
    assert fit.standard_error < 1e-9
    assert fit.asymptotic == pytest.approx(4 / 3)
    with pytest.raises(UsageError, match="two noise levels"):
        gb.exponent(pd.DataFrame(rows), "calpha", "d", low=0.5)


def test_jackknife_error_is_the_scatter_over_repetitions():
    values = [gb.exponent(_random_powers(seed), "calpha", "d") for seed in range(60)]
    scatter = np.std([fit.value for fit in values], ddof=1)
    stated = np.mean([fit.standard_error for fit in values])
    assert stated == pytest.approx(scatter, rel=0.25)


def _random_powers(seed):
    draws = np.random.default_rng(seed).exponential(size=(4, 50))
    rows = [
        {"family": "calpha", "denoiser": "d", "sigma": 10.0**-k, "image": i, "mse": 10.0**-k * draws[k, i]}
        for k in range(3)
        for i in range(50)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("images", [0, -1, True, 2.5])
def test_bad_numbers_of_images(images):
    if isinstance(images, float):
        images = np.float64(images)
    with pytest.raises(Exception, match="images"):
        gb.score(FAMILY, ["identity"], [0.1], images=images)


def test_two_denoisers_of_one_name_are_refused():
    with pytest.raises(UsageError, match="given twice"):
        gb.score(FAMILY, ["identity", "identity"], [0.1], images=2)


class Shrink(torch.nn.Module):
    """A module with weights and dropout, which must not drop while it is scored."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))
        self.drop = torch.nn.Dropout(0.9)

    def forward(self, y, sigma):
        return 0.5 + self.drop(self.gain * (y - 0.5))


def test_a_users_module():
    net = Shrink()
    assert net.training
    table = gb.score(FAMILY, [net], [0.3], images=4)
    assert net.training, "the module's mode is given back"
    assert set(table["knows"]) == {"training set"}
    batch = gb.family(FAMILY).sample(range(4))
    expected = (0.5 + 0.5 * (gb.add_noise(batch, 0.3) - 0.5) - batch.images).square().mean(dim=(1, 2, 3))
    assert table["mse"].to_numpy() == pytest.approx(expected.detach().numpy(), rel=1e-5)
    first = gb.denoiser(net).facts.digest
    with torch.no_grad():
        net.gain.mul_(2)
    assert gb.denoiser(net).facts.digest != first


def test_assert_near_optimal():
    gb.testing.assert_near_optimal("mmse", FAMILY, [0.1, 1.0], max_regret_db=0.01, images=16)
    with pytest.raises(AssertionError, match=r"halve is not within 0\.5 dB .* dB at sigma=0\.1"):
        gb.testing.assert_near_optimal(halve, FAMILY, [0.1], images=16)
    with pytest.raises(AssertionError, match="It failed"):
        gb.testing.assert_near_optimal(wrong_shape, FAMILY, [0.1], images=16)
    for unknown in ("calpha:law=uniform", "calpha-contours", "calpha-contours:law=paper"):
        with pytest.raises(UsageError, match="no exact optimum is known"):
            gb.testing.assert_near_optimal(halve, unknown, [0.1], images=4)
    with pytest.raises(UsageError, match="no exact optimum is known"):  # only bounded so far below the intensities
        gb.testing.assert_near_optimal(halve, "hierarchy:rules=grammar", [0.1, 10**-1.75], images=4)


class HostileError(Exception):
    def __str__(self):
        raise ValueError("no text for you")


def raises(error):
    def denoiser(y, sigma):
        raise error

    return denoiser


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit: "),
        (HostileError(), "HostileError: (no text: making it raised ValueError)"),
        (RuntimeError("a\n\x1b[31mb\ud800"), r"RuntimeError: a\n\x1b[31mb\ud800"),
        (RuntimeError("x" * 10**6), "RuntimeError: " + "x" * 400),
        (gb.errors.DenoiserError("\x07"), r"\x07"),
    ],
)
def test_whatever_a_denoiser_raises_is_recorded_on_one_printable_line(error, reason):
    table = gb.score(FAMILY, [raises(error), "identity"], [0.1], images=2)
    assert list(table["status"]) == ["failed", "failed", "ok", "ok"]
    told = table["reason"].iloc[0]
    assert reason in told
    assert told.isprintable()
    assert len(told) <= 500


def test_ctrl_c_alone_passes_through():
    with pytest.raises(KeyboardInterrupt):
        gb.score(FAMILY, [raises(KeyboardInterrupt())], [0.1], images=2)


def test_an_estimate_with_a_gradient_is_scored():
    def attached(y, sigma):
        with torch.enable_grad():
            return y * torch.ones(1, requires_grad=True)

    table = gb.score(FAMILY, [attached, "identity"], [0.1], images=2)
    assert table["status"].eq("ok").all()
    assert table["mse"].iloc[0] == table["mse"].iloc[2]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int32, torch.bool])
def test_estimates_that_are_not_real_numbers_are_refused(dtype):
    table = gb.score(FAMILY, [lambda y, sigma: y.to(dtype)], [0.1], images=2)
    assert table["status"].eq("failed").all()
    assert table["reason"].str.contains(f"returned {dtype}, but an estimate is floating point", regex=False).all()


def test_a_denoisers_own_reason_for_nan_is_given(monkeypatch):
    from gahb_bench.core.denoiser import Facts
    from gahb_bench.denoisers.identity import Identity

    monkeypatch.setattr(Identity, "estimate", lambda self, y, sigma: y * float("nan"))
    monkeypatch.setattr(Identity, "facts", Facts(nan_reason="the certificate does not hold"))
    table = gb.score(FAMILY, ["identity"], [0.1], images=1)
    assert table["reason"].iloc[0] == "identity: the certificate does not hold."


def _module(folder, text, name="mine"):
    """A module loaded from a file, as a fresh process would load it."""
    import importlib.util

    path = folder / f"{name}.py"
    path.write_text(text)
    made = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(made)
    sys.modules[name] = module
    exec(compile(text, path, "exec"), module.__dict__)
    return module


FUNCTION = "GAIN = 0.5\ndef helper(y):\n    return GAIN * y\ndef d(y, sigma):\n    return helper(y)\n"
INSTANCE = "class D:\n    gain = 0.5\n    def __call__(self, y, sigma):\n        return self.gain * y\nd = D()\n"
NETWORK = (
    "import torch\nclass N(torch.nn.Module):\n    def forward(self, y, sigma):\n        return y * 0.5\n"
    "def wrapper(net):\n    return lambda y, sigma: net(y, sigma)\nd = N()\n"
)
PARTIAL = "import functools\ndef f(y, sigma, gain):\n    return gain * y\nd = functools.partial(f, gain=0.5)\n"


@pytest.mark.parametrize("text", [FUNCTION, INSTANCE, NETWORK, PARTIAL])
def test_the_digest_follows_the_users_code(tmp_path, monkeypatch, text):
    monkeypatch.setitem(sys.modules, "mine", None)
    text = "import beside\n" + text
    _module(tmp_path, "a = 1\n", "beside")
    first = gb.denoiser(_module(tmp_path, text).d).facts.digest
    assert gb.denoiser(_module(tmp_path, text).d).facts.digest == first, "the same code has the same digest"
    assert gb.denoiser(_module(tmp_path, text.replace("0.5", "0.6")).d).facts.digest != first
    _module(tmp_path, text)
    _module(tmp_path, "a = 2\n", "beside")
    assert gb.denoiser(_module(tmp_path, text).d).facts.digest != first, "a module that it imports changed"


def test_the_digest_follows_what_a_callable_holds():
    class Holder:
        def __init__(self, **held):
            self.__dict__.update(held)

        def __call__(self, y, sigma):
            return y

    def closed(gain):
        return lambda y, sigma: gain * y

    def digest(call):
        return gb.denoiser(call).facts.digest

    big = np.arange(10000.0)
    other = big.copy()
    other[5000] = 0
    pairs = [
        (Holder(gain=1), Holder(gain=2)),
        (Holder(table=big), Holder(table=other)),
        (Holder(deep={"w": [torch.zeros(3)]}), Holder(deep={"w": [torch.ones(3)]})),
        (Holder(net=Shrink()), Holder(net=Shrink().requires_grad_(False).double())),
        (closed(1), closed(2)),
        (functools.partial(halve, sigma=1), functools.partial(halve, sigma=2)),
        (Holder(gain=1).__call__, Holder(gain=2).__call__),
        (torch.nn.Sequential(torch.nn.LeakyReLU(0.1)), torch.nn.Sequential(torch.nn.LeakyReLU(0.2))),
    ]
    for one, two in pairs:
        assert digest(one) == digest(one)
        assert digest(one) != digest(two)
    same = [Holder(a=[{"k": (i, [i])} for i in range(50)], net=Shrink()) for _ in range(2)]
    assert digest(same[0]) == digest(same[1]), "no part is left out by chance"
    assert digest(Holder(s={"a", "b"})) != digest(Holder(s={"a", "c"}))
    assert digest(Holder(other=object())) == digest(Holder(other=object())), "addresses do not count"


def test_the_digest_is_the_same_in_every_process(tmp_path):
    (tmp_path / "mine_sets.py").write_text(
        "import torch\nclass N(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.names = {'a', 'bb', 'ccc', 'dddd'}\n        self.other = object()\n"
        "    def forward(self, y, sigma):\n        return y if sigma in {'a', 'bb', 'ccc'} else y / 2\nd = N()\n"
    )
    code = "import gahb_bench as gb; print(gb.denoiser('mine_sets:d').facts.digest)"
    path = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_code_that_cannot_be_found_is_never_taken_for_stored_code():
    space = {"__name__": "nowhere"}
    exec("def d(y, sigma):\n    return y\nclass C:\n    def __call__(self, y, sigma):\n        return y\n", space)
    for call in (space["d"], space["C"]()):
        facts = gb.denoiser(call).facts
        assert facts.digest != gb.denoiser(call).facts.digest
        assert "no source that Python can find" in facts.unfollowed


@pytest.mark.parametrize("name", ["mmse", "identity", "wavelet:rule=hard"])
def test_a_name_of_the_catalogue_is_refused(name):
    def mine(y, sigma):
        return y

    mine.__name__ = name
    with pytest.raises(UsageError, match=f"a denoiser of your own cannot be called '{name}'.*rename it"):
        gb.denoiser(mine)


def test_denoisers_named_by_module(tmp_path, monkeypatch):
    (tmp_path / "mine_named.py").write_text(
        "import gahb_bench as gb\nfrom gahb_bench.core.denoiser import Denoiser\n"
        "d = gb.denoiser('wavelet:rule=hard')\nu = gb.denoiser(lambda y, sigma: y)\n"
        "class Own(Denoiser):\n    name = 'own'\n    def estimate(self, y, sigma):\n        return y\n"
        "own = Own()\n"
    )
    (tmp_path / "mine_exit.py").write_text("raise SystemExit('\\x1b[2Jbye')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import mine_named  # pyright: ignore[reportMissingImports]

    assert gb.denoiser("mine_named:d") is mine_named.d
    for name in ("u", "own"):
        assert gb.denoiser(f"mine_named:{name}").spec == f"mine_named:{name}"
    own = gb.score(FAMILY, ["mine_named:own", "identity"], [0.1], images=1)["mse"]
    assert own[0] == own[1]
    with pytest.raises(UsageError, match=r"cannot load the denoiser 'mine_exit:d': SystemExit: \\x1b\[2Jbye\."):
        gb.denoiser("mine_exit:d")


def test_what_the_page_says_of_its_intervals_is_what_was_counted():
    """The percentages in words are those of reports/coverage.md."""
    lines = (Path(__file__).parents[2] / "reports" / "coverage.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    assert len(rows) == 54
    equal = [float(row[4]) for row in rows if "gmm" not in row[0]]
    assert (round(min(equal)), round(max(equal))) == (92, 97)
    heavy = [row for row in rows if "gmm" in row[0] and row[5]]
    worst = {n: min(float(row[5]) for row in heavy if row[3] == n) for n in ("16", "64", "128")}
    assert round(worst["16"]) == 57
    assert round(min(worst["64"], worst["128"])) == 80
    for words in ("92 to 97 %", "57 % on 16 images", "80 % on 64 or 128"):
        assert words in sentences.INTERVALS


@pytest.mark.parametrize(("fails_from", "says"), [(0.2, "mean over 2 of 3 levels"), (0.05, "mean over 1 of 3 levels")])
def test_the_terminal_marks_a_mean_over_the_levels_that_did_not_fail(fails_from, says):
    def partly(y, sigma):
        return y if sigma < fails_from else 1 / 0

    def never(y, sigma):
        return 1 / 0

    table = gb.score("calpha:size=8", [partly, never, "identity"], [0.01, 0.1, 0.3], images=4)
    lines = {line.split()[0]: line for line in summary(gb.curves(table), gb.summary(table)).splitlines() if line}
    assert lines["partly"].endswith(says)
    assert "levels" not in lines["identity"] + lines["never"]
