"""Wrong things that are given to the functions of the package: one sentence each, as on the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest

import gahb_bench as gb
from gahb_bench.core.errors import ScaleWarning, UsageError

LAW = "calpha:size=8"


def table(seed=0):
    return gb.score(LAW, ["mmse", "identity"], [0.1, 0.3], images=4, seed=seed)


# In a process of its own, without the type checker of these tests: as a user calls them.
WRONG = {
    "gb.family(None)": "a family is named by a spec",
    "gb.denoiser(None)": "not a callable",
    "gb.score(LAW, 'mmse', [0.1])": "denoisers come as a list",
    "gb.score(LAW, 3, [0.1])": "denoisers come as a list",
    "gb.score(LAW, {3: 'mmse'}, [0.1])": "a denoiser's name is text",
    "gb.score(LAW, {'a\\nb': 'mmse'}, [0.1])": "a denoiser's name is text on one line",
    "gb.score(LAW, ['mmse'], 'a lot', images=2)": "'a lot' are no noise levels",
    "gb.score(LAW, ['mmse'], [[0.1], [0.2, 0.3]], images=2)": "are no noise levels",
    "gb.score(LAW, ['mmse'], [[0.1]], images=2)": "[[0.1]] are no noise levels: give a number > 0, or a list of them",
    "gb.family(LAW).reference([[[0.1]]])": "[[[0.1]]] are no noise levels",
    "gb.denoiser('mmse', LAW)(torch.zeros(1, 1, 8, 8), [[0.1]])": "sigma has shape (1, 1)",
    "gb.score(LAW, ['mmse'], [0.1], images=2, device='cuda:7')": "device 'cuda:7' cannot be used here",
    "gb.family(LAW).sample([0], device='nowhere')": "device 'nowhere' cannot be used here",
    "gb.family(LAW).sample([1.5])": "chosen by a list of their numbers",
    "gb.family(LAW).sample([True])": "chosen by a list of their numbers",
    "gb.family(LAW).sample('12')": "chosen by a list of their numbers",
    "gb.family(LAW).sample(5)": "chosen by a list of their numbers",
    "gb.add_noise(torch.zeros(1, 1, 8, 8), 0.1)": "add_noise takes a Batch",
    "gb.denoiser('mmse', LAW)(torch.zeros(1, 1, 8, 8), 'x')": "sigma='x' is not allowed",
    "gb.denoiser('mmse', LAW)(torch.zeros(1, 1, 8, 8), None)": "sigma=None is not allowed",
    "gb.curves(table().drop(columns='mse'))": "no column mse",
    "gb.summary(table().drop(columns=['excess', 'knows']))": "no column knows, excess",
    "gb.exponent(table()[['mse']], LAW, 'mmse')": "no column family",
    "gb.curves(3)": "a pandas.DataFrame",
    "gb.compare(table(), table(seed=1))": "seed 0 and seed 1",
    "gb.curves(table(), ['calpha'])": "families=['calpha'] is not allowed: it is a list of laws",
    "gb.curves(table(), gb.family(LAW))": "it is a list of laws",
    "gb.curves(table(), 'calpha')": "families='calpha' is not allowed",
    "gb.curves(table(), 3)": "families=3 is not allowed",
    "gb.summary(table(), [None])": "families=[None] is not allowed",
    "gb.compare(table(), table(), families=['calpha'])": "families=['calpha'] is not allowed",
    "gb.curves(table().assign(mse=table().mse.astype(str)))": "mse is not all numbers",
    "gb.summary(table().assign(sigma='a', excess='b'))": "sigma, excess are not all numbers",
    "gb.exponent(table().assign(sigma=None), LAW, 'mmse')": "a row names no sigma",
    "gb.curves(table().assign(family=None))": "a row names no family",
    "gb.compare(table(), table().assign(denoiser=None))": "a row names no denoiser",
    "gb.curves(table().assign(mse=-1.0))": "a negative mean squared error",
    "gb.exponent(table().assign(mse=-1.0), LAW, 'mmse')": "a negative mean squared error",
    "gb.compare(table(), table(), margin='a')": "margin='a' is not allowed: it is a number of dB, >= 0.",
    "gb.compare(table(), table(), margin=None)": "margin=None is not allowed",
    "gb.compare(table(), table(), mapping=['mmse'])": "mapping is a dictionary of denoisers' names, like {'old'",
    "gb.compare(table(), table(), mapping='mmse=identity')": "mapping is a dictionary",
    "gb.compare(table(), table(), mapping={'mmse': 3})": "mapping is a dictionary",
    "gb.testing.assert_near_optimal('mmse', LAW, [0.1], max_regret_db='a')": "max_regret_db='a' is not allowed",
    "gb.testing.assert_near_optimal('mmse', LAW, [0.1], max_regret_db=float('nan'))": "max_regret_db=nan is not",
    "gb.testing.assert_near_optimal('mmse', LAW, [0.1], max_regret_db=-1)": "max_regret_db=-1 is not allowed",
    "gb.score(LAW, ['mmse'], [.1, .1])": "sigma=0.1 is given twice: give each noise level once.",
    "gb.score(LAW, ['mmse'], [.1, .3, .1], images=2)": "sigma=0.1 is given twice",
    "gb.denoiser(torch.relu, blind=True, sigma_as='channel')": "leave out sigma_as= and sigma_scale=, or blind=",
    "gb.denoiser(torch.relu, blind=True, sigma_as='tensor')": "blind=true calls it with y only",
    "gb.denoiser(torch.relu, blind=True, sigma_scale=255)": "blind=true calls it with y only",
    "gb.compare(table(), table(), mapping={'mmsee': 'identity'})": "unknown denoiser of the baseline 'mmsee'; did you "
    "mean 'mmse'? Known: identity, mmse.",
    "gb.compare(table(), table(), mapping={'mmse': 'wavelet'})": "unknown denoiser of the candidate 'wavelet'. Known: "
    "identity, mmse.",
    "gb.compare(table(), table(), mapping={'': 'mmse'})": "unknown denoiser of the baseline ''",
}
WRONG |= {
    "gb.plot.curves(table(), 'psnr')": "unknown thing to draw 'psnr'",
    "gb.plot.curves(3)": "a pandas.DataFrame",
    "gb.plot.curves(table().drop(columns='knows'))": "no column knows",
    "gb.plot.curves(gb.curves(table()).drop(columns='regret_db'))": "no column regret_db",
    "gb.plot.curves(pd.concat([table(), table().assign(family='calpha:size=16')]))": "is of one family, and it",
    "gb.plot.curves(table(), ax=3)": "ax is one matplotlib Axes, of plt.subplots for example, not int",
    "gb.plot.gallery(torch.zeros(2, 2, 4, 4))": "1 or 3 channels, not of a tensor (2, 2, 4, 4)",
    "gb.plot.gallery(torch.zeros(0, 1, 4, 4))": "1 or 3 channels, not of a tensor (0, 1, 4, 4)",
    "gb.plot.gallery('calpha')": "1 or 3 channels, not of 'str'",
    "gb.plot.gallery({})": "of one size, and at least one",
    "gb.plot.gallery({'a': torch.zeros(1, 1, 4, 4), 'b': torch.zeros(1, 1, 4, 5)})": "of one size",
    "gb.plot.gallery(torch.zeros(1, 1, 4, 4), 0)": "count=0 is not allowed",
    "gb.plot.gallery(torch.zeros(1, 1, 4, 4), columns=0)": "columns=0 is not allowed",
    "gb.plot.gallery(torch.zeros(1, 1, 4, 4), limits=(1.0, 1.0))": "limits=(1.0, 1.0) are not allowed",
    "gb.plot.spectrum({})": "no spectra are given",
    "gb.plot.spectrum({'a': torch.zeros(1, 2, 2)})": "the spectrum of a is no Spectrum",
    "gb.plot.spectrum(table())": "not a table of spectra: it has no column index, eigenvalue",
    "gb.plot.spectrum(3)": "spectra come as a table, or by denoiser",
    "gb.sample_posterior(3, 'mmse', *posed())": "a method is named by a spec",
    "gb.sample_posterior('dps', 'mmse', 'mask', posed()[1])": "problem is what gb",
    "gb.run([])": "no family given",
    "gb.run(3)": "families come as specs or laws, one or a list: not 3",
    "gb.run('calfa')": "did you mean 'calpha'",
    "gb.run(LAW, 'mmse')": "denoisers come as a list",
    "gb.run(LAW, ['mmse', {3: 'mmse'}])": "a denoiser's name is text",
    "gb.run(LAW, ['mmse', 'mmse'])": "twice",
    "gb.run(LAW, {'defaults': torch.relu})": "stands for what is scored",
    "gb.run(LAW, ['mmse'], [-1])": "sigma=-1 is not allowed",
    "gb.run(LAW, ['mmse'], images=0)": "images=0",
    "gb.run(LAW, ['mmse'], split='tset')": "unknown split 'tset'",
    "gb.run(LAW, ['mmse'], device='cuda:7')": "device 'cuda:7' cannot be used here",
}
SCRIPT = """
import json, sys, torch, gahb_bench as gb, pandas as pd
LAW = "calpha:size=8"
def table(seed=0):
    return gb.score(LAW, ["mmse", "identity"], [0.1, 0.3], images=4, seed=seed)
def posed():
    problem = gb.problem("mask", LAW)
    return problem, problem.measure(gb.family(LAW).sample(range(2)), 0.2)
found = {}
for wrong in json.load(sys.stdin):
    try:
        eval(wrong)
    except Exception as error:
        found[wrong] = [type(error).__name__, str(error)]
json.dump([found, gb.family(LAW).sample(__import__("numpy").arange(2)).indices], sys.stdout)
"""


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(list(WRONG)), capture_output=True, text=True, check=True
    )
    found, indices = json.loads(done.stdout)
    assert indices == [0, 1]  # NumPy's integers are integers
    return found


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_kinds_are_refused_in_a_sentence(told, wrong):
    kind, message = told[wrong]
    assert kind == "UsageError"
    assert WRONG[wrong] in message
    assert "\n" not in message


def test_tables_of_other_seeds_are_compared_unpaired():
    assert set(gb.compare(table(), table(seed=1), paired=False)["pairing"]) == {"unpaired"}


# ---------------------------------------------------------------------------------- what is impossible


def peeking(images=64):
    """The clean images themselves: what no function of y can return."""
    batch = gb.family(LAW).sample(range(images))

    def look(y, sigma):
        distance = (y[:, None] - batch.images[None]).square().flatten(2).sum(dim=2)
        return batch.images[distance.argmin(dim=1)]

    return look


@pytest.mark.parametrize("spec", ["ideal", "ideal:basis=dct"])
def test_what_knows_the_image_is_no_denoiser_of_y(spec):
    with pytest.raises(UsageError, match="knows the image"):
        gb.testing.assert_near_optimal(spec, LAW, [0.1], images=8)


@pytest.mark.parametrize("blend", [1.0, 0.7])
def test_a_denoiser_that_has_seen_the_clean_images_is_refused(blend):
    """Also where its error is not exactly 0."""
    look, mmse = peeking(), gb.denoiser("mmse", LAW)

    def blended(y, sigma):
        return blend * look(y, sigma) + (1 - blend) * mmse(y, sigma)

    with pytest.raises(AssertionError, match="below the optimum"):
        gb.testing.assert_near_optimal(blended, LAW, [0.1], images=64)


def test_much_noise_does_not_make_the_optimum_vanish():
    """It is then the variance of the images, small against that of the noise."""
    with pytest.warns(ScaleWarning, match="255ths"):
        curve = gb.curves(gb.score(LAW, ["mmse", "identity"], [200.0, 350.0, 1e4], images=8))
    assert np.isfinite(curve["regret_db"]).all()
    gb.testing.assert_near_optimal("mmse", LAW, [350.0], images=8)
    with pytest.raises(AssertionError, match="not within"):
        gb.testing.assert_near_optimal("identity", LAW, [350.0], images=8)


def test_a_denoiser_that_changes_the_shape_of_its_input_fails():
    def shrink(y, sigma):
        y.data = y.data[..., :4]
        return y

    assert set(gb.score(LAW, [shrink], [0.1], images=2)["status"]) == {"failed"}


@pytest.mark.parametrize(
    ("spec", "scored"), [("wiener-data:n=20", "calpha:size=8,alpha=4"), ("mmse", "calpha:size=16")]
)
def test_a_denoiser_made_for_another_law_is_refused(spec, scored):
    made = gb.denoiser(spec, family=LAW)
    assert gb.score(LAW, {"mine": made}, [0.1], images=2)["mse"].notna().all()
    with pytest.raises(UsageError, match=r"was made for calpha:size=8, not for .*give its spec, '.*or a callable"):
        gb.score(scored, {"mine": made}, [0.1], images=2)
    if scored.startswith("calpha:size=8"):
        found = gb.score(scored, {"mine": lambda y, sigma: made(y, sigma)}, [0.1], images=2)["mse"].mean()
        anew = gb.score(scored, [spec], [0.1], images=2)["mse"].mean()
        assert found > anew


def test_a_denoiser_tuned_for_another_law_is_refused():
    made = gb.denoiser("tv", family="calpha:size=32")  # a table is stored
    assert made.facts.tuned
    with pytest.raises(UsageError, match="was tuned for calpha:size=32, not for disks:size=32"):
        gb.denoiser(made, family="disks:size=32")
    by_hand = gb.denoiser("tv:weight=0.3", family="calpha:size=32")
    assert gb.denoiser(by_hand, family="disks:size=32").spec == "tv:weight=0.3"


def test_a_function_with_the_name_of_a_denoiser_can_be_given_another():
    def tv(y, sigma):
        return y

    assert set(gb.score(LAW, {"mine": tv}, [0.1], images=2)["denoiser"]) == {"mine"}
    with pytest.raises(UsageError, match="the catalogue has one of that name"):
        gb.score(LAW, [tv], [0.1], images=2)
