"""From memorising to generalising: the measurements, where the answer is known."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.scoring.generalization import closeness, correlation, mean, model_variance, nearest, place

LAW = gb.family("calpha:size=8")
MMSE = gb.denoiser("mmse", family=LAW)
IMAGES = 24


def empirical(training):
    """The posterior mean under a training set (m, c, h, w)."""

    def denoise(y, sigma):
        distance = (y[:, None].double() - training[None].double()).square().flatten(2).sum(dim=2)
        weights = torch.softmax(-distance / (2 * sigma**2), dim=1)
        return torch.einsum("nm,mchw->nchw", weights, training.double()).to(y)

    return denoise


def estimates(split, count, sigma):
    """What memoriser and truth make of noisy images of a split, and the MMSE."""
    training = LAW.sample(range(count), split="train").images
    images = LAW.sample(range(IMAGES), split=split)
    y = gb.add_noise(images, sigma).double()
    return empirical(training)(y, sigma), MMSE(y, sigma), float(LAW.reference(sigma).mse[0])


@pytest.mark.parametrize("split", ["test", "train"])
@pytest.mark.parametrize(("count", "sigma"), [(IMAGES, 0.1), (IMAGES, 0.3), (100, 0.1)])
def test_the_memoriser_is_at_0_the_truth_at_1_and_a_blend_at_its_weight(split, count, sigma):
    memoriser, truth, mmse = estimates(split, count, sigma)
    for weight in (0.0, 1.0, 0.3, -0.5):
        blend = truth if weight == 1 else memoriser + weight * (truth - memoriser)
        found = place(blend, memoriser, truth, mmse)
        assert found.t.value == pytest.approx(weight, abs=1e-12)
        assert found.r.value == pytest.approx(0, abs=1e-12)
        assert (found.t.low, found.t.high) == pytest.approx((weight, weight), abs=1e-9), "no image is off"
        assert found.distance == pytest.approx(float((truth - memoriser).square().mean()))


def test_what_is_off_the_axis_is_r():
    """An error at right angles to the axis, image by image, with a fifth of its energy."""
    memoriser, truth, mmse = estimates("train", IMAGES, 0.3)
    axis = (truth - memoriser).flatten(1)
    off = torch.randn(axis.shape, generator=torch.Generator().manual_seed(0), dtype=axis.dtype)
    off -= (off * axis).sum(dim=1, keepdim=True) / axis.square().sum(dim=1, keepdim=True) * axis
    off *= (0.2 * axis.square().sum(dim=1, keepdim=True) / off.square().sum(dim=1, keepdim=True)).sqrt()
    found = place(memoriser + (0.6 * axis + off).reshape(truth.shape), memoriser, truth, mmse)
    assert found.t.value == pytest.approx(0.6)
    assert found.r.value == pytest.approx(0.2)


def test_the_interval_of_t_holds_a_weight_that_differs_from_image_to_image():
    """Of 200 sets of images with weights of mean 0.4, the interval misses it in about one of twenty."""
    generator = torch.Generator().manual_seed(1)
    missed = 0
    for _ in range(200):
        axis = torch.randn(IMAGES, 1, 4, 4, generator=generator)
        weight = 0.4 + 0.2 * torch.randn(IMAGES, 1, 1, 1, generator=generator)
        found = place(weight * axis, torch.zeros_like(axis), axis, 1.0)
        assert found.t.low < found.t.value < found.t.high
        missed += not found.t.low < 0.4 < found.t.high
    assert 2 <= missed <= 25


def test_nothing_is_stated_where_memoriser_and_truth_are_one():
    memoriser, truth, mmse = estimates("test", 20_000, 5.0)  # so much noise that both are near the mean
    found = place(truth, memoriser, truth, mmse)
    assert 0 < found.distance < 0.1 * mmse
    assert np.isnan([found.t.value, found.t.low, found.r.value, found.r.high]).all()
    near = memoriser + (truth - memoriser) * (0.1001 * mmse / found.distance) ** 0.5
    assert place(near, memoriser, near, mmse).t.value == pytest.approx(1), "just above a tenth it is stated"
    assert np.isnan(place(truth, truth, truth, mmse).t.value)


@pytest.mark.parametrize(("shared", "expected"), [(0.0, 1.0), (1.0, 0.5), (3.0, 0.1)])
def test_model_variance_is_the_part_of_the_error_that_is_not_shared(shared, expected):
    """Independent errors of unit variance beside a common bias: 1 / (1 + bias^2)."""
    generator = torch.Generator().manual_seed(2)
    truth = torch.randn(64, 1, 16, 16, generator=generator)
    bias = shared * torch.randn(1, 1, 16, 16, generator=generator)
    bias *= shared / bias.square().mean().sqrt() if shared else 1
    a, b = (truth + bias + torch.randn(truth.shape, generator=generator) for _ in range(2))
    found = model_variance(a, b, truth)
    assert found.value == pytest.approx(expected, rel=0.02)
    assert found.low < found.value < found.high
    assert found.low - 0.02 < expected < found.high + 0.02


def test_model_variance_of_a_common_bias_is_0_and_of_no_error_not_defined():
    truth = LAW.sample(range(4)).images
    assert model_variance(truth + 0.1, truth + 0.1, truth).value == 0
    assert model_variance(truth + 0.1, truth - 0.1, truth).value == pytest.approx(2)
    assert np.isnan(model_variance(truth, truth, truth).value)


def test_correlation_of_samples():
    images, others = (LAW.sample(range(4), seed=seed).images for seed in (0, 1))
    assert correlation(images, 3 * images - 1).value == pytest.approx(1)
    assert correlation(images, -images).value == pytest.approx(-1)
    brute = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(images, others, strict=True)]
    found = correlation(images, others)
    assert found.value == pytest.approx(np.mean(brute), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((mean(np.array(brute)).low, mean(np.array(brute)).high), abs=1e-6)
    images = images.clone()
    images[0], images[1] = 0.5, torch.nan
    left = correlation(images, others)
    assert left.images == 2
    assert left.value == pytest.approx(np.mean(brute[2:]), abs=1e-6)
    assert correlation(images[:2], others[:2]).images == 0


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_the_nearest_image_however_the_set_is_cut(cut):
    images = LAW.sample(range(30), split="train").images
    samples = LAW.sample(range(9)).images
    found = nearest(samples, images.split(cut))
    distance = (samples[:, None].double() - images[None].double()).square().flatten(2).mean(dim=2)
    assert found.index.tolist() == distance.argmin(dim=1).tolist()
    np.testing.assert_allclose(found.distance, distance.min(dim=1).values.numpy(), rtol=1e-10)
    with pytest.raises(UsageError, match="no image"):
        nearest(samples, [])


def test_the_nearest_image_at_any_shift():
    images = LAW.sample(range(5), split="train").images.double()
    samples = torch.cat([LAW.sample(range(4)).images.double(), images[3:4].roll((2, 7), (2, 3))])
    moved = torch.stack([images.roll((row, column), (2, 3)) for row in range(8) for column in range(8)])
    distance = (samples[:, None, None] - moved[None]).square().mean(dim=(3, 4, 5))  # sample, shift, image
    found = nearest(samples, images.split(2), shifted=True)
    np.testing.assert_allclose(found.distance, distance.amin(dim=(1, 2)).numpy(), atol=1e-14)
    for sample, index, shift, away in zip(samples, found.index, found.shift.tolist(), found.distance, strict=True):
        there = images[index].roll(shift, (1, 2))
        assert float((sample - there).square().mean()) == pytest.approx(away, abs=1e-14)
    assert (int(found.index[-1]), found.shift[-1].tolist()) == (3, [2, 7])
    assert (nearest(samples, [images]).shift == 0).all()


def test_samples_that_are_training_images_and_samples_of_the_law():
    training, held_out = (LAW.sample(range(50), split=split).images for split in ("train-a", "train-b"))
    copies = nearest(training[:20], [training]), nearest(training[:20], [held_out])
    assert copies[0].index.tolist() == list(range(20))
    ratio, share = closeness(*copies)
    assert (ratio.value, share.value) == (0, 1)
    samples = LAW.sample(range(400)).images
    ratio, share = closeness(nearest(samples, [training]), nearest(samples, [held_out]))
    assert ratio.value == pytest.approx(1, abs=0.15)
    assert share.value == pytest.approx(0.5, abs=0.15)
    assert share.low < share.value < share.high
    assert closeness(copies[0], copies[0])[1].value == 0.5


def test_estimates_of_other_images_are_refused():
    images = LAW.sample(range(3)).images
    for call in (lambda: place(images, images[:2], images, 1.0), lambda: correlation(images, images[:, :, :4])):
        with pytest.raises(UsageError, match="same noisy images"):
            call()
    with pytest.raises(UsageError, match="same noisy images"):
        model_variance(images[:1], images, images)
