import numpy as np
import pytest
import pywt
import torch

from gahb_bench.core.errors import UsageError
from gahb_bench.denoisers.wavelet import RULES, Wavelet
from gahb_bench.transforms.wavelets import ORTHOGONAL, WaveletTransform


def _images(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.filterwarnings("ignore:Level value of")  # PyWavelets on short signals, which periodisation allows
@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4", "sym8", "coif3"])
@pytest.mark.parametrize(("height", "width", "levels"), [(64, 64, 3), (64, 64, 4), (32, 48, 3), (16, 8, 2)])
def test_equal_to_pywavelets_periodization(wavelet, height, width, levels):
    x = _images(2, 3, height, width)
    ours = WaveletTransform(wavelet, levels, height, width).forward(x)
    theirs = pywt.wavedec2(x.numpy(), wavelet, mode="periodization", level=levels, axes=(-2, -1))
    array, _ = pywt.coeffs_to_array(theirs, axes=(-2, -1))
    assert np.abs(ours.numpy() - array).max() < 1e-12


@pytest.mark.parametrize("wavelet", ORTHOGONAL)
def test_orthonormal(wavelet):
    """To the accuracy of PyWavelets' tabulated filters."""
    transform = WaveletTransform(wavelet, 2, 32, 32)
    x = _images(2, 1, 32, 32)
    coefficients = transform.forward(x)
    assert (transform.inverse(coefficients) - x).abs().max() < 1e-8
    assert coefficients.square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-8)


def test_all_shifts_are_the_shifts():
    x = _images(1, 1, 32, 32)
    transform = WaveletTransform("sym4", 3, 32, 32)
    coarse, details = transform.forward_all_shifts(x)
    assert (transform.inverse_all_shifts(coarse, details) - x).abs().max() < 1e-10
    shifted = transform.forward(x.roll((-3, -5), (-2, -1)))
    orientations = ["horizontal", "vertical", "diagonal"]
    for band in transform.subbands():
        step = 2**band.level
        block = shifted[..., band.rows, band.columns].roll((3 // step, 5 // step), (-2, -1))
        phase = details[band.level - 1][orientations.index(band.orientation)][..., 3 % step :: step, 5 % step :: step]
        assert (block - phase).abs().max() < 1e-12


@pytest.mark.parametrize("rule", RULES)
def test_every_shift_at_once_is_cycle_spinning(rule):
    x = _images(2, 1, 32, 32)
    spun = Wavelet(rule=rule, shifts=4, levels=2)(x, 0.7)
    assert (Wavelet(rule=rule, shifts="all", levels=2)(x, 0.7) - spun).abs().max() < 1e-10
    assert (Wavelet(rule=rule, shifts=0, levels=2)(x, 0.7) - spun).abs().max() > 1e-2


def test_hard_and_soft_by_hand():
    """One level of Haar on 4 x 4, thresholded by hand; universal threshold sigma sqrt(2 log 16)."""
    x = _images(1, 1, 4, 4)
    sigma = 0.4
    threshold = sigma * np.sqrt(2 * np.log(16))
    array, places = pywt.coeffs_to_array(pywt.wavedec2(x[0, 0].numpy(), "haar", mode="periodization", level=1))
    for rule in ("hard", "soft"):
        kept = pywt.threshold(array, threshold, rule)
        kept[:2, :2] = array[:2, :2]
        coefficients = pywt.array_to_coeffs(kept, places, output_format="wavedec2")
        expected = pywt.waverec2(coefficients, "haar", mode="periodization")
        ours = Wavelet(rule=rule, wavelet="haar", levels=1)(x, sigma)
        assert np.abs(ours[0, 0].numpy() - expected).max() < 1e-12


def test_sure_minimises_the_risk_estimate_by_brute_force():
    w = torch.from_numpy(3 * np.random.default_rng(2).standard_normal((5, 60)))
    shrunk = RULES["sure"](w, 0)
    grid = np.linspace(0, np.sqrt(2 * np.log(60)), 20001)
    for row, out in zip(w.numpy(), shrunk.numpy(), strict=True):
        counts = (np.abs(row)[None] <= grid[:, None]).sum(axis=1)
        risk = 60 - 2 * counts + np.minimum(row[None] ** 2, grid[:, None] ** 2).sum(axis=1)
        used = np.abs(np.abs(row) - np.abs(out)).max()
        ours = 60 - 2 * (np.abs(row) <= used + 1e-12).sum() + np.minimum(row**2, used**2).sum()
        assert ours <= risk.min() + 1e-6


def test_sure_falls_back_to_the_universal_threshold_on_sparse_blocks():
    w = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 4096)))
    w[0, 0] = 20
    shrunk = RULES["sure"](w, 0)
    assert shrunk[0, 0].item() == pytest.approx(20 - np.sqrt(2 * np.log(4096)))


def test_bayes_threshold():
    w = torch.from_numpy(2 * np.random.default_rng(0).standard_normal((1, 400)))
    threshold = 1 / np.sqrt((w**2).mean().item() - 1)
    expected = pywt.threshold(w.numpy(), threshold, "soft")
    assert np.abs(RULES["bayes"](w, 0).numpy() - expected).max() < 1e-12
    assert (RULES["bayes"](0.1 * w, 0) == 0).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("shifts=-1", "shifts=-1 is not allowed"),
        ("shifts=most", "shifts=most is not allowed"),
        ("wavelet=sim8", "did you mean 'sym8'"),
        ("wavelet=bior2.2", "unknown orthogonal wavelet"),
        ("rule=medium", "it should be 'hard', 'soft', 'sure' or 'bayes'"),
        ("levels=-1", "levels=-1 is not allowed"),
    ],
)
def test_bad_parameters(parameters, message):
    import gahb_bench as gb

    with pytest.raises(UsageError) as caught:
        gb.denoiser(f"wavelet:{parameters}")
    assert message in str(caught.value)
    assert not str(caught.value).endswith("..")


def test_too_many_levels():
    with pytest.raises(UsageError, match="too many"):
        Wavelet(levels=7)(_images(1, 1, 24, 24), 0.1)
    with pytest.raises(UsageError, match="divisible by 2\\^levels = 8"):
        WaveletTransform("haar", 3, 20, 16)


def test_differentiable():
    x = _images(1, 1, 16, 16).requires_grad_()
    Wavelet(rule="soft", levels=2)(x, 0.3).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
