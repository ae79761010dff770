"""Classical denoisers against the libraries, formulas and optima they must agree with."""

import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.fft
import torch
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_bregman, denoise_tv_chambolle

import gahb_bench as gb
from gahb_bench.core import registry
from gahb_bench.core.errors import MissingPackageError
from gahb_bench.denoisers.per_image import map_images
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.transforms.dct import average_patches, dct2, idct2


def calpha(size: int = 64, alpha: float = 2.0) -> Calpha:
    return Calpha.from_parameters({"size": size, "alpha": alpha})


def noisy(size: int = 32, count: int = 3, sigma: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    batch = gb.family(f"calpha:size={size},alpha=1").sample(range(count))
    return batch.images.double(), gb.add_noise(batch, sigma).double()


def test_tv_equals_scikit_image() -> None:
    _, y = noisy()
    sigma = torch.tensor([0.05, 0.1, 0.2])
    chambolle, bregman = (gb.denoiser(f"tv:weight=1.7,solver={s}")(y, sigma) for s in ("chambolle", "bregman"))
    for i, s in enumerate(sigma.double().tolist()):
        image = y[i, 0].numpy()
        np.testing.assert_array_equal(chambolle[i, 0].numpy(), denoise_tv_chambolle(image, weight=1.7 * s))
        expected = denoise_tv_bregman(image, weight=1 / (1.7 * s), max_num_iter=200, eps=2e-4 * s)
        np.testing.assert_array_equal(bregman[i, 0].numpy(), expected)


CHANNELWISE = [
    *(entry.name for entry in registry.entries("denoisers") if entry.knows == "nothing" and entry.name != "nlm"),
    *("tv:solver=bregman", "dct:weights=uniform", "curvelet:shifts=none"),
    *("wavelet:rule=sure", "wavelet:rule=bayes,shifts=all", "wavelet:shifts=3"),
]


@pytest.mark.parametrize("spec", CHANNELWISE)
def test_channels_are_denoised_one_by_one(spec: str) -> None:
    try:
        denoiser = gb.denoiser(spec)
    except MissingPackageError as error:
        pytest.skip(str(error))
    y = torch.rand(2, 3, 24, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 0.3])
    alone = torch.cat([denoiser(y[:, [channel]], sigma) for channel in range(3)], dim=1)
    assert torch.equal(denoiser(y, sigma), alone)


def test_channels_share_the_weights_of_nlm() -> None:
    _, y = noisy(24)
    denoiser = gb.denoiser("nlm:h=0.9")
    grey = denoiser(y, 0.1)
    assert torch.equal(denoiser(y.expand(-1, 3, -1, -1), 0.1), grey.expand(-1, 3, -1, -1))
    other = torch.cat([y, y.flip(0), y.flip(2)], dim=1)
    assert not torch.allclose(denoiser(other, 0.1)[:, :1], grey)


def test_nlm_equals_scikit_image() -> None:
    _, y = noisy()
    sigma = torch.tensor([0.05, 0.1, 0.2])
    x_hat = gb.denoiser("nlm:h=0.9,patch=5,distance=6")(y, sigma)
    for i, s in enumerate(sigma.double().tolist()):
        expected = denoise_nl_means(y[i, 0].numpy(), patch_size=5, patch_distance=6, h=0.9 * s, sigma=s)
        np.testing.assert_array_equal(x_hat[i, 0].numpy(), expected)


def test_nlm_is_the_formula_it_states() -> None:
    """Pixel by pixel, from the definition; what is left is scikit-image's approximate exponential."""
    _, y = noisy(16, 1, 0.15)
    image, patch, distance, h, sigma = y[0, 0].numpy(), 5, 3, 1.3, 0.15
    half, margin = patch // 2, patch // 2 + distance + 1
    padded = np.pad(image, margin, mode="reflect")

    def around(row: int, column: int) -> np.ndarray:
        return padded[row - half + 1 : row + half + 1, column - half + 1 : column + half + 1]

    expected = np.empty_like(image)
    for i, j in np.ndindex(image.shape):
        row, column, total, weights = i + margin, j + margin, 0.0, 0.0
        for p in range(row - distance, row + distance + 1):
            for q in range(column - distance, column + distance + 1):
                excess = ((around(row, column) - around(p, q)) ** 2).sum() - 2 * sigma**2 * (patch - 1) ** 2
                d = max(excess, 0) / (patch * h * sigma) ** 2
                w = np.exp(-d) if d <= 5 else 0.0
                total, weights = total + w * padded[p, q], weights + w
        expected[i, j] = total / weights
    x_hat = gb.denoiser(f"nlm:h={h},patch={patch},distance={distance}")(y, sigma)[0, 0].numpy()
    assert np.abs(x_hat - expected).max() < 0.03 * np.abs(image - expected).max()


def test_chambolle_reaches_the_minimiser_of_its_energy() -> None:
    """Against an independent primal-dual iteration (Chambolle & Pock 2011) on the same energy."""
    _, y = noisy(16, 1)
    image, weight = y[0, 0].numpy(), 0.15

    def gradient(u: np.ndarray) -> np.ndarray:
        g = np.zeros((2, *u.shape))
        g[0, :-1], g[1, :, :-1] = np.diff(u, axis=0), np.diff(u, axis=1)
        return g

    def adjoint(p: np.ndarray) -> np.ndarray:
        u = np.zeros(p.shape[1:])
        u[:-1] -= p[0, :-1]
        u[1:] += p[0, :-1]
        u[:, :-1] -= p[1, :, :-1]
        u[:, 1:] += p[1, :, :-1]
        return u

    def energy(u: np.ndarray) -> float:
        return float(((u - image) ** 2).sum() / 2 + weight * np.sqrt((gradient(u) ** 2).sum(axis=0)).sum())

    u, bar, p, step = image.copy(), image.copy(), np.zeros((2, *image.shape)), 1 / np.sqrt(8)
    for _ in range(3000):
        p = p + step * gradient(bar)
        p = p / np.maximum(np.sqrt((p**2).sum(axis=0)) / weight, 1)
        new = (u - step * adjoint(p) + step * image) / (1 + step)
        u, bar = new, 2 * new - u
    x_hat = gb.denoiser(f"tv:weight={weight / 0.1},tolerance=1e-12,iterations=50000")(y, 0.1)[0, 0].numpy()
    assert energy(x_hat) == pytest.approx(energy(u), rel=1e-4)
    assert np.abs(x_hat - u).max() < 0.02 * image.std()
    early = gb.denoiser(f"tv:weight={weight / 0.1}")(y, 0.1)[0, 0].numpy()
    assert energy(early) > 1.005 * energy(u)  # the default tolerance stops before the minimiser, as the docstring says


def test_threads_keep_order_and_bits() -> None:
    _, y = noisy(16, 7)
    sigma = torch.linspace(0.05, 0.3, 7, dtype=torch.float64)
    denoiser = gb.denoiser("tv")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = denoiser(y, sigma)
        torch.set_num_threads(3)
        together = denoiser(y, sigma)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone, together)
    assert torch.equal(torch.cat([denoiser(y[i : i + 1], float(sigma[i])) for i in range(7)]), alone)
    seen = map_images(lambda image, s, v: image + s + v, y, sigma, 2 * sigma)
    assert torch.equal(seen, y + sigma.reshape(-1, 1, 1, 1) + (2 * sigma).reshape(-1, 1, 1, 1))


def test_bm3d_is_called_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in records what the package would get: each channel, sigma itself, the profile."""
    calls = []
    stand_in = ModuleType("bm3d")

    def bm3d(z: np.ndarray, sigma_psd: float, profile: str = "np") -> np.ndarray:
        calls.append((z.shape, sigma_psd, profile))
        return z / 2

    monkeypatch.setattr(stand_in, "bm3d", bm3d, raising=False)
    monkeypatch.setitem(sys.modules, "bm3d", stand_in)
    y = torch.rand(2, 3, 8, 9)
    x_hat = gb.denoiser("bm3d:profile=lc")(y, torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(x_hat, y / 2)
    assert [call[0] for call in calls] == [(8, 9)] * 6
    assert [call[1] for call in calls] == pytest.approx([0.1] * 3 + [0.2] * 3)
    assert {call[2] for call in calls} == {"lc"}


@pytest.mark.parametrize(
    ("name", "package", "words"), [("bm3d", "bm3d", "non-commercial"), ("curvelet", "curvelets", "MIT")]
)
def test_missing_packages_are_named_with_their_licence(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, words: str
) -> None:
    for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"'{package}'.*pip install") as error:
        gb.denoiser(name)
    assert words in str(error.value)


def test_blur_equals_a_periodic_gaussian_filter() -> None:
    _, y = noisy()
    expected = np.stack([gaussian_filter(image, 1.5, mode="wrap", truncate=8) for image in y[:, 0].numpy()])
    np.testing.assert_allclose(gb.denoiser("gaussian-blur:width=1.5")(y, 0.1)[:, 0].numpy(), expected, atol=1e-6)


def test_dct_of_whole_images_equals_scipy() -> None:
    x = torch.from_numpy(np.random.default_rng(0).random((2, 1, 12, 7)))
    np.testing.assert_allclose(dct2(x).numpy(), scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"), atol=1e-13)
    torch.testing.assert_close(idct2(dct2(x)), x)


@pytest.mark.parametrize("weights", ["sparse", "uniform"])
def test_dct_is_the_formula_it_states(weights: str) -> None:
    """Patch by patch, with scipy's transform."""
    y = torch.from_numpy(np.random.default_rng(0).random((1, 1, 9, 11)))
    image, patch, threshold = y[0, 0].numpy(), 4, 0.2
    total, count = np.zeros_like(image), np.zeros_like(image)
    for i, j in np.ndindex(image.shape):
        place = np.ix_((i + np.arange(patch)) % 9, (j + np.arange(patch)) % 11)
        w = scipy.fft.dctn(image[place], norm="ortho")
        keep = np.abs(w) > threshold
        keep[0, 0] = True
        a = 1 / keep.sum() if weights == "sparse" else 1.0
        total[place] += a * scipy.fft.idctn(w * keep, norm="ortho")
        count[place] += a
    x_hat = gb.denoiser(f"dct:patch={patch},threshold=2,weights={weights}")(y, threshold / 2)
    np.testing.assert_allclose(x_hat[0, 0].numpy(), total / count, atol=1e-12)


def test_patches_as_large_as_the_image_and_larger() -> None:
    y = torch.rand(2, 1, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(average_patches(y, (5, 8), lambda w: (w, torch.ones_like(w[:, :1]))), y)
    assert torch.isfinite(gb.denoiser("dct")(y, 0.1)).all()


SEES_ONLY_Y = [
    e.name for e in registry.entries("denoisers") if e.knows == "nothing" and e.name not in ("bm3d", "identity")
]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_every_method_is_above_the_optimum(alpha: float) -> None:
    law = calpha(alpha=alpha)
    names = [*SEES_ONLY_Y, "wiener-data", "wavelet:shifts=all", "tv:solver=bregman", "curvelet:shifts=none"]
    table = gb.score(law, ["mmse", *names], np.geomspace(0.00316, 3.16, 7), images=24)
    assert (table.status == "ok").all()
    wide = table.pivot_table(index=["sigma", "image"], columns="denoiser", values="mse")
    excess = wide.drop(columns="mmse").sub(wide["mmse"], axis=0).groupby("sigma")
    z = excess.mean() / excess.sem()
    assert z.min().min() > -3
    assert (z.drop(columns="wiener-data") > 0).all().all()


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_translation_invariance_gains_half_a_decibel(sigma: float) -> None:
    mse = gb.score("calpha", ["wavelet", "wavelet:shifts=all"], sigma, images=32).groupby("denoiser").mse.mean()
    assert 10 * np.log10(mse["wavelet"] / mse["wavelet:shifts=all"]) > 0.5


@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_local_mmse_is_below_every_local_method_of_its_support(sigma: float) -> None:
    """Support 7: DCT patches of side 4 overlap to 7; means and medians of the 7 x 7 pixels, and of fewer."""
    law = calpha(size=32)

    def around(y: torch.Tensor, side: int) -> torch.Tensor:
        steps = range(-(side // 2), side // 2 + 1)
        return torch.stack([y.roll((a, b), (-2, -1)) for a in steps for b in steps])

    def box3(y: torch.Tensor, sigma: object) -> torch.Tensor:
        return around(y, 3).mean(dim=0)

    def box5(y: torch.Tensor, sigma: object) -> torch.Tensor:
        return around(y, 5).mean(dim=0)

    def box7(y: torch.Tensor, sigma: object) -> torch.Tensor:
        return around(y, 7).mean(dim=0)

    def median7(y: torch.Tensor, sigma: object) -> torch.Tensor:
        return around(y, 7).median(dim=0).values

    others = ["local-mmse:patch=5", "dct:patch=4", "dct:patch=4,weights=uniform", box3, box5, box7, median7]
    table = gb.score(law, ["local-mmse", *others], sigma, images=64)
    wide = table.pivot_table(index="image", columns="denoiser", values="mse")
    excess = wide.drop(columns="local-mmse").sub(wide["local-mmse"], axis=0)
    assert excess.shape[1] == len(others)
    assert (excess.mean() > 3 * excess.sem()).all()
