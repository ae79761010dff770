"""The distances of networks to the analytic theories of their training set, and what memorising is worth in bits."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.core import spec as specs
from gahb_bench.core.errors import UsageError
from gahb_bench.generalization.measure import Pair
from gahb_bench.generalization.study import make_study
from gahb_bench.generalization.theories import check_theories, theories
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.scoring.generalization import closeness, nearest

SPEC = "calpha:size=8"
LAW = gb.family(SPEC)
SIGMA = 0.2
EVERYWHERE = "local-equivariant"


def pair(a, b, n, **values):
    few: dict[str, Any] = {"images": 20, "samples": 5, "theories": 5}
    study = make_study(SPEC, "edm-unet:levels=1,width=4", [n], **(few | values))
    return Pair(study, LAW, n, (gb.denoiser(a, family=LAW), gb.denoiser(b, family=LAW)), "cpu")


def training(n, split):
    return LAW.sample(range(n), split=split).images.double()


def posterior_mean_of(distances, x):
    """``sum_i w_i x_i``, weights from squared distances over 2 sigma^2, over the axis of training images."""
    return torch.einsum("nk...,k...->n...", (-distances / (2 * SIGMA**2)).softmax(dim=1), x)


def brute_empirical(y, x):
    return posterior_mean_of((y[:, None] - x).square().sum(dim=(2, 3, 4), keepdim=True).expand(-1, -1, *x.shape[1:]), x)


def brute_patches(y, x, side, everywhere):
    """Pixel by pixel: the patches around it in noisy and training images, at its own place or at all places."""
    half, (count, size) = side // 2, (len(y), x.shape[-1])

    def patch(images, row, column):
        rows, columns = ([(place + step) % size for step in range(-half, half + 1)] for place in (row, column))
        return images[:, 0][:, rows][:, :, columns].flatten(1)

    places = [(row, column) for row in range(size) for column in range(size)]
    x_hat = torch.empty_like(y)
    for row, column in places:
        sources = places if everywhere else [(row, column)]
        known = torch.cat([patch(x, *source) for source in sources])
        middle = torch.cat([x[:, 0, r, c] for r, c in sources])
        distances = (patch(y, row, column)[:, None] - known).square().sum(dim=2)
        assert distances.shape == (count, len(sources) * len(x))
        x_hat[:, 0, row, column] = (-distances / (2 * SIGMA**2)).softmax(dim=1) @ middle
    return x_hat


def brute_gaussian(y, x):
    mean, flat = x.mean(dim=0), (x - x.mean(dim=0)).flatten(1)
    covariance = flat.T @ flat / len(x)
    gain = covariance @ torch.linalg.inv(covariance + SIGMA**2 * torch.eye(len(covariance), dtype=x.dtype))
    return mean + ((y - mean).flatten(1) @ gain.T).reshape(y.shape)


def brute_locality(y, x, threshold=0.02):
    flat = (x - x.mean(dim=0)).flatten(1)
    covariance = flat.T @ flat / len(x)
    weights = covariance @ torch.linalg.inv(covariance + SIGMA**2 * torch.eye(len(covariance), dtype=x.dtype))
    x_hat = torch.empty(len(y), len(weights), dtype=x.dtype)
    for pixel, row in enumerate(weights):
        seen = row.abs() >= threshold * row[pixel]
        distances = (y.flatten(1)[:, None, seen] - x.flatten(1)[:, seen]).square().sum(dim=2)
        x_hat[:, pixel] = (-distances / (2 * SIGMA**2)).softmax(dim=1) @ x.flatten(1)[:, pixel]
    return x_hat.reshape(y.shape)


def test_distances_equal_brute_force():
    """Six of the theories, and the truth, by their definitions; the network is one that is near none of them."""
    n, network = 6, gb.denoiser("wavelet:rule=soft", family=LAW)
    rows = pair(network, network, n, patches=2).from_theories(SIGMA)
    specs_of = rows.drop_duplicates(["split", "theory"]).set_index(["split", "theory"])["denoiser"]
    rows = rows.set_index(["measure", "split", "theory"])["value"].sort_index()
    mmse = float(LAW.reference(SIGMA).mse[0])
    for split in ("train-a", "train-b"):
        x = training(n, split)
        chosen = {name: dict(specs.parse(specs_of[split, name]).parameters) for name in ("local", EVERYWHERE)}
        side, other = (int(chosen[name]["patch"]) for name in ("local", EVERYWHERE))
        moved = torch.cat([x.roll((row, column), (2, 3)) for row in range(8) for column in range(8)])
        again = pair("mmse", "mmse", n).own_images(split, 5)
        for kind, batch in {"test": LAW.sample(range(5)), "train": again}.items():
            y = gb.add_noise(batch, SIGMA)
            brute = {
                "memoriser": brute_empirical(y.double(), x),
                "shifted memoriser": brute_empirical(y.double(), moved),
                "local": brute_patches(y.double(), x, side, False),
                EVERYWHERE: brute_patches(y.double(), x[:2], other, True),
                "locality": brute_locality(y.double(), x),
                "gaussian score": brute_gaussian(y.double(), x),
                "truth": gb.denoiser("mmse", family=LAW)(y.double(), SIGMA),
            }
            for name, theory in brute.items():
                expected = 10 * np.log10(float((network(y, SIGMA).double() - theory).square().mean()) / mmse)
                assert rows[f"distance_{kind}_db", split, name] == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("name", ["memoriser", "shifted memoriser", "local", "locality", "mixture score", EVERYWHERE])
def test_a_theory_is_at_no_distance_from_itself(name):
    splits = ("train-a", "train-b")
    a, b = (theories(LAW, 5, split, 0, SIGMA, 30)[name] for split in splits)
    rows = pair(a, b, 5).from_theories(SIGMA)
    for split, theory in zip(splits, (a, b), strict=True):
        own = rows[(rows["split"] == split) & (rows["theory"] == name)]
        assert set(own["denoiser"]) == {theory.spec}
        assert len(own) == 2
        assert (own["value"] < -99).all()
        assert (rows.loc[(rows["split"] == split) & (rows["theory"] == "truth"), "value"] > -20).all()


def test_each_network_is_compared_with_its_own_training_set():
    rows = pair("empirical:n=5,split=train-a", "empirical:n=5,split=train-a", 5).from_theories(SIGMA)
    far = rows[(rows["theory"] == "memoriser") & (rows["measure"] == "distance_train_db")].set_index("split")
    assert far.loc["train-a", "value"] == pytest.approx(-100)
    assert far.loc["train-b", "value"] > 0


def test_theories_that_memory_does_not_hold_are_refused_and_can_be_left_out(monkeypatch):
    monkeypatch.setattr("gahb_bench.core.memory.total", lambda device="cpu": 10_000)
    with pytest.raises(UsageError, match="theories=0"):
        check_theories(LAW, 100, 0, needed=True)
    check_theories(LAW, 100, 0, needed=False)


def bits(a, b, n, **values):
    rows = pair(a, b, n, theories=0, **values).on_images()
    return {measure: rows.loc[rows["measure"] == measure].set_index("split") for measure in ("train_bits", "test_bits")}


def test_memorising_saves_bits_on_training_images_and_costs_them_on_others():
    memorised = bits("empirical:n=3,split=train-a", "empirical:n=3,split=train-b", 3)
    assert (memorised["train_bits"]["high"] < 0).all()
    assert (memorised["test_bits"]["low"] > 0).all()
    true = bits("mmse", "mmse", 3)
    for found in true.values():
        np.testing.assert_allclose(found["value"], 0, atol=1e-5)


def test_train_bits_are_the_integral_of_what_is_lost():
    """A constant excess of c sigma^2 on every image: c ln(high / low) / ln 2."""
    levels, share = np.geomspace(0.05, 1, 6), 0.3
    truth = gb.denoiser("mmse", family=LAW)

    def lossy(y, sigma):
        return truth(y, sigma) + share**0.5 * sigma * _signs(y)

    found = bits(gb.denoiser(lossy), gb.denoiser(lossy), 2000, sigmas=levels, images=400)
    expected = share * np.log(levels[-1] / levels[0]) / np.log(2)
    for measure, rows in found.items():
        assert (rows["low"] < expected + 1e-5).all(), measure
        assert (rows["high"] > expected - 1e-5).all(), measure
        np.testing.assert_allclose(rows["value"], expected, rtol=0.1)


def _signs(y):
    """The same for each image, of unit energy a pixel, and independent of what is in it."""
    generator = torch.Generator().manual_seed(5)
    return (2 * torch.randint(2, y.shape[1:], generator=generator) - 1).to(y)


@pytest.mark.parametrize("sampler", ["heun", "euler"])
@pytest.mark.parametrize("n", [1, 4, 30])
def test_samples_of_the_memoriser_are_training_images(sampler, n):
    memoriser = gb.denoiser(f"empirical:n={n},split=train-a", family=LAW)
    start = starts.gaussian(LAW.shape, range(16), 3.0)
    samples = make.sampler(sampler)(memoriser, start, falling_levels(3.0, 0.003, 18)).images
    own, other = (nearest(samples, [training(n, split)]) for split in ("train-a", "train-b"))
    assert (own.distance < 1e-10).all(), "each of them is one"
    assert closeness(own, other)[1].value == 1
    assert len(own.index.unique()) > (n > 1)


def test_a_distance_is_of_the_measured_images_alone():
    """The rows say of how many images they are, and more theories' images change no other measurement."""
    few, more = (pair("mmse", "wavelet", 4, theories=count) for count in (3, 6))
    assert set(few.from_theories(SIGMA)["images"]) == {3}
    assert set(more.from_theories(SIGMA)["images"]) == {6}
    pd.testing.assert_frame_equal(few.on_images(), more.on_images())


def test_samples_that_never_come_to_an_end_are_not_counted():
    rows, pictures = pair("mmse", "mmse", 3, samples=3, sampler="ascent:most=1").of_samples()
    assert rows["value"].isna().all()
    assert (rows["images"] == 0).all()
    assert {len(each) for each in pictures.values()} == {0}
