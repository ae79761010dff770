"""The law of ``calpha-contours``: masks, spectra, independence of the cut, the paper's construction."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha_contours.law import CalphaContours, stripe_mask


def family(spec: str) -> CalphaContours:
    found = gb.family(spec)
    assert isinstance(found, CalphaContours)
    return found


@pytest.mark.parametrize(("size", "edge"), [(64, 0.7), (65, 0.7), (63, 1.1), (16, 0.7), (80, 3.0)])
def test_mask_is_its_formula(size: int, edge: float) -> None:
    contour = np.random.default_rng(0).uniform(-2 * size, 3 * size, size)
    d = (np.arange(size)[:, None] - contour + size / 4) % size - size / 4
    expected = ndtr(d / edge) - ndtr((d - size / 2) / edge)
    np.testing.assert_allclose(stripe_mask(contour, edge), expected, atol=1e-7)


@pytest.mark.parametrize("background", ["gaussian", "constant"])
def test_latents_make_the_image(background: str) -> None:
    law = family(f"calpha-contours:background={background},contrast=0.8,size=32,edge=0.9")
    batch = law.sample(range(4))
    mask = torch.from_numpy(np.stack([stripe_mask(c.numpy(), 0.9) for c in batch.latents["contour"]]))[:, None]
    f0, f1 = (batch.latents["backgrounds"][:, i : i + 1] for i in (0, 1))
    expected = 0.5 + (1 - mask) * (-0.4 + f0) + mask * (0.4 + f1)
    torch.testing.assert_close(batch.images, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(batch.latents["mask"], mask)


@pytest.mark.parametrize(
    "spec", ["calpha-contours", "calpha-contours:background=constant", "calpha-contours:law=paper"]
)
def test_an_image_depends_on_its_index_alone(spec: str) -> None:
    law = family(spec)
    together, alone = law.sample(range(5)), law.sample([3])
    assert torch.equal(together.images[3], alone.images[0])
    for name, latent in together.latents.items():
        assert torch.equal(latent[3], alone.latents[name][0])


def test_contours_and_backgrounds_have_their_spectra() -> None:
    law = family("calpha-contours:size=32,alpha=1,beta=2")
    count = 3000
    latents = law.sample(range(count)).latents
    contour = latents["contour"]
    power = torch.fft.fft(contour - contour.mean(1, keepdim=True), norm="ortho").abs().square().mean(0).numpy()
    # a mean of `count` exponential variables has the relative error 1/sqrt(count)
    np.testing.assert_allclose(power[1:16], law.contour_spectrum[1:16], rtol=5 / np.sqrt(count))
    assert law.contour_spectrum.sum() == pytest.approx(32 * (32 / 8) ** 2)
    assert law.contour_spectrum[4] / law.contour_spectrum[2] == pytest.approx(2.0**-3)
    fields = latents["backgrounds"].double()
    spectrum = law.background_spectrum
    power = torch.fft.fft2(fields, norm="ortho").abs().square().mean(0).numpy()
    strong = np.unravel_index(np.argsort(spectrum, axis=None)[-40:], spectrum.shape)
    for one in power:
        np.testing.assert_allclose(one[strong], spectrum[strong], rtol=6 * np.sqrt(2 / count))
    variance = float(fields.square().mean())
    assert variance == pytest.approx((0.5 / 4) ** 2, rel=0.05)
    cross = (fields[:, 0] * fields[:, 1]).mean((1, 2))
    assert abs(float(cross.mean() / cross.std())) < 4 / np.sqrt(count)


def test_the_stripe_is_anywhere() -> None:
    contour = family("calpha-contours:background=constant,size=32").sample(range(2000)).latents["contour"]
    place = (contour.mean(1) % 32).numpy()
    counts = np.histogram(place, bins=8, range=(0, 32))[0]
    assert ((counts - 250) ** 2 / 250).sum() < 30  # chi-square, 7 degrees of freedom: 1e-4


def test_the_papers_construction() -> None:
    law = family("calpha-contours:law=paper,size=40")
    batch = law.sample(range(50))
    mask = batch.latents["mask"]
    assert set(mask.unique().tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    backgrounds = batch.latents["backgrounds"]
    rebuilt = mask * backgrounds[:, :1] + (1 - mask) * backgrounds[:, 1:]
    torch.testing.assert_close(batch.images, rebuilt, atol=1e-6, rtol=0)
    low, high = backgrounds.amin((2, 3)), backgrounds.amax((2, 3))
    bright = high.argmax(1)
    index = torch.arange(50)
    torch.testing.assert_close(high[index, bright], torch.ones(50))
    torch.testing.assert_close(low[index, 1 - bright], torch.zeros(50))
    assert 10 < int(bright.sum()) < 40
    below = (torch.arange(40)[:, None] >= batch.latents["contour"][:, None, :]).float().mean((1, 2))
    torch.testing.assert_close(below, mask.mean((1, 2, 3)), atol=0.06, rtol=0)
    reference = law.reference([0.1, 0.2])
    assert reference.kind == "none"
    assert np.isnan(reference.mse).all()


@pytest.mark.parametrize("oracle", ["genie", "posterior-mean", "straightened"])
def test_no_oracle_for_the_papers_construction(oracle: str) -> None:
    with pytest.raises(UsageError, match="no optimum is known"):
        gb.denoiser(oracle, family="calpha-contours:law=paper")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("calpha-contours:edge=0.5", "edge=0.5 is not allowed"),
        ("calpha-contours:edge=3,size=32", "must stay apart"),
        ("calpha-contours:background=blue", "'gaussian' or 'constant'"),
        ("calpha-contours:gamma=1", "unknown parameter"),
    ],
)
def test_wrong_parameters_are_explained(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gb.family(spec)


def test_families_compare_by_their_laws_whatever_they_have_cached() -> None:
    one, two = family("calpha-contours:size=32"), family("calpha-contours:size=32")
    assert one.background_spectrum is not two.background_spectrum
    assert one == two
    assert hash(one) == hash(two)
    assert one != family("calpha-contours:size=33")
