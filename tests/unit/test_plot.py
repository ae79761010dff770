"""Figures for notebooks: what is drawn are the numbers; a user's settings and axes stay as they are."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.reporting.study.style import COLOURS, INK, NIGHT

LAW = "calpha:size=8"
SIGMAS = [0.03, 0.1, 0.3]


@pytest.fixture(autouse=True)
def fresh():
    with mpl.rc_context(), mpl.rc_context({"backend": "agg"}):
        plt.switch_backend("agg")
        mpl.rcdefaults()
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def scores():
    return gb.score(LAW, ["identity", "mmse", "wavelet"], SIGMAS, images=8)


@pytest.fixture(scope="module")
def spectra():
    law = gb.family(LAW)
    y = gb.add_noise(law.sample(range(2)), 0.1).double()
    made = {name: gb.denoiser(name, law) for name in ("mmse", "identity")}
    return {name: gb.geometry.eigenpairs(gb.geometry.jacobian(each, y, 0.1)) for name, each in made.items()}


def lines_of(axes):
    """What is drawn with a legend entry, by label: handles of the legend have the looks of the lines."""
    legend = axes.get_legend()
    return dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))


def drawn(axes, colour):
    """The points of the line of a colour."""
    (line,) = [
        each for each in axes.lines if to_hex(each.get_color()) == colour and each.get_marker() not in ("", "None")
    ]
    return line.get_xydata()


def pixels(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    return np.asarray(Image.open(content).convert("RGB")).astype(float) / 255


def contrast(first, second):
    """Of two colours, as WCAG 2.1 defines it."""
    levels = []
    for colour in (first, second):
        parts = np.array(to_rgb(colour))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        levels.append(0.05 + linear @ [0.2126, 0.7152, 0.0722])
    return max(levels) / min(levels)


@pytest.mark.parametrize("what", ["mse", "regret"])
def test_curves_are_the_numbers_of_the_table(scores, what):
    axes = gb.plot.curves(scores, what)
    table = gb.curves(scores)
    column = {"mse": "mse", "regret": "regret_db"}[what]
    for name, colour in (("identity", COLOURS["grey"].light), ("mmse", INK.light)):
        rows = table[table["denoiser"] == name].sort_values("sigma")
        assert np.allclose(drawn(axes, colour), rows[["sigma", column]].to_numpy())
    reference = next(line for line in axes.lines if line.get_linewidth() == 2.2)
    expected = gb.family(LAW).reference(SIGMAS).mse if what == "mse" else np.zeros(len(SIGMAS))
    assert np.allclose(reference.get_ydata(), expected)
    assert list(lines_of(axes)) == ["optimum (MMSE)", "mmse", "identity", "wavelet"]  # in the order of what they know
    assert axes.get_xscale() == "log"
    bands = axes.collections
    assert len(bands) == 3  # an interval each
    rows = table[table["denoiser"] == "mmse"].sort_values("sigma")
    low, high = rows[f"{column}_low"], rows[f"{column}_high"]
    extents = [(band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()) for band in bands]
    assert any(np.allclose(found, (low.min(), high.max())) for found in extents)


def test_curves_take_scores_curves_and_what_a_run_gives(scores):
    from_scores, from_curves = gb.plot.curves(scores), gb.plot.curves(gb.curves(scores))
    for first, second in zip(from_scores.lines, from_curves.lines, strict=True):
        assert np.array_equal(first.get_xydata(), second.get_xydata(), equal_nan=True)


def test_methods_look_as_on_the_page(scores, tmp_path):
    from gahb_bench.reporting.study.content import content
    from gahb_bench.running.folder import read

    done = gb.run(LAW, ["identity", "mmse", "wavelet"], SIGMAS, images=4, out=tmp_path / "run", progress=False)
    (section,) = content(read(done.folder)).sections
    shown = lines_of(gb.plot.curves(done.curves))
    for method in section.methods:
        assert shown[method.label].get_color() == method.style.colour.light


def test_a_bracket_is_a_band_and_an_unknown_optimum_is_said():
    bracket = gb.score("calpha-contours:size=32", ["identity"], [0.1, 0.3], images=2)
    axes = gb.plot.curves(bracket)
    assert "bracket that holds the MMSE" in lines_of(axes)
    table = gb.curves(bracket)
    ends = table[["reference_low", "reference_high"]].to_numpy()
    heights = [path.vertices[:, 1] for band in axes.collections for path in band.get_paths()]
    assert any(np.isclose(found.min(), ends.min()) and np.isclose(found.max(), ends.max()) for found in heights)
    unknown = table.assign(reference_kind="none", reference_mse=np.nan, reference_low=np.nan, reference_high=np.nan)
    axes = gb.plot.curves(unknown, "regret")
    assert "no reference is known" in axes.texts[0].get_text()
    assert list(lines_of(gb.plot.curves(unknown))) == ["identity"]


def test_failed_cells_leave_a_gap(scores):
    table = gb.curves(scores)
    gone = (table["denoiser"] == "identity") & (table["sigma"] == 0.1)
    table.loc[gone, [name for name in table if name.startswith(("mse", "regret_db"))]] = np.nan
    assert np.isnan(drawn(gb.plot.curves(table), COLOURS["grey"].light)[1, 1])


def test_a_law_of_a_notebook_is_handed_over():
    from gahb_bench.families.calpha.law import Calpha

    class Mine(Calpha):
        listed = False

    law = Mine(size=8, alpha=3)
    table = gb.score(law, ["identity"], [0.1], images=2)
    assert list(lines_of(gb.plot.curves(table, families=[law]))) == ["optimum (MMSE)", "identity"]


def test_the_spectrum_of_the_oracle_is_its_gain_in_each_mode(spectra):
    """For a Gaussian law S is diagonal in Fourier, lambda / (lambda + sigma^2); there sum of them is the trace."""
    axes = gb.plot.spectrum(spectra)
    mine = next(line for line in axes.lines if line.get_label() == "mmse")
    law = gb.family(LAW)
    power = law.sample(range(20000)).images.double() - 0.5
    power = torch.fft.fft2(power, norm="ortho").abs().square().mean(dim=0).flatten()
    gain = (power / (power + 0.01)).sort(descending=True).values
    assert np.allclose(mine.get_ydata(), gain, atol=0.02)
    assert np.allclose(next(line for line in axes.lines if line.get_label() == "identity").get_ydata(), 1)
    assert (mine.get_color(), mine.get_linewidth()) == (INK.light, 2.2)
    assert np.array_equal(mine.get_xdata(), np.arange(1, 65))


def test_the_spectrum_of_a_table_is_the_mean_over_images(spectra):
    rows = [
        {"family": LAW, "denoiser": name, "sigma": sigma, "image": image, "index": index, "eigenvalue": float(value)}
        for sigma in (0.1, 0.3)
        for name, found in spectra.items()
        for image, values in enumerate(found.values * (1 if sigma == 0.1 else 0.5))
        for index, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    axes, same = (
        gb.plot.spectrum(table, sigma=0.1),
        gb.plot.spectrum({name: each.values for name, each in spectra.items()}),
    )
    for first, second in zip(axes.lines, same.lines, strict=True):
        assert np.allclose(first.get_ydata(), second.get_ydata())
    with pytest.raises(UsageError, match=r"a figure is of one sigma, and it holds those of 0\.1, 0\.3"):
        gb.plot.spectrum(table)
    with pytest.raises(UsageError, match="there is no such row"):
        gb.plot.spectrum(table, sigma=0.2)


def test_a_gallery_shows_the_pixels():
    images = torch.rand(5, 1, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
    axes = gb.plot.gallery(images, 4, columns=2)
    (mosaic,) = [each.get_array() for each in axes.images]
    assert mosaic.shape == (2 * 4 + 1, 2 * 6 + 1, 4)
    corners = [(0, 0), (0, 7), (5, 0), (5, 7)]
    for (top, left), image in zip(corners, images, strict=False):
        shown = mosaic[top : top + 4, left : left + 6]
        assert np.allclose(shown[..., :3], np.repeat(image[0].clamp(0, 1).numpy()[..., None], 3, axis=-1))
        assert (shown[..., 3] == 1).all()
    assert (mosaic[4] == 0).all()
    wide = gb.plot.gallery(images, 1, limits=(-0.5, 1.5)).images[0].get_array()
    assert np.allclose(wide[..., 0], (images[0, 0] + 0.5) / 2, atol=1e-6)


def test_a_gallery_has_colours_and_names():
    batch = gb.family(f"coloured:of=({LAW})").sample(range(3))
    axes = gb.plot.gallery({"clean": batch, "$noisy": gb.add_noise(batch, 0.1)}, 2)
    mosaic = axes.images[0].get_array()
    assert np.allclose(mosaic[:8, :8, :3], batch.images[0].permute(1, 2, 0).clamp(0, 1))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clean", r"\$noisy"]
    assert list(axes.get_yticks()) == [3.5, 12.5]


FIGURES = {
    "curves": lambda scores, spectra, **where: gb.plot.curves(scores, **where),
    "regret": lambda scores, spectra, **where: gb.plot.curves(scores, "regret", **where),
    "spectrum": lambda scores, spectra, **where: gb.plot.spectrum(spectra, **where),
    "gallery": lambda scores, spectra, **where: gb.plot.gallery({"x": torch.rand(2, 1, 4, 4)}, **where),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("dark", [False, True])
def test_settings_stay_as_they_are_and_letters_can_be_read(figure, dark, scores, spectra, monkeypatch):
    if dark:
        plt.style.use("dark_background")
    mpl.rcParams.update({"font.size": 31, "lines.linewidth": 9, "axes.prop_cycle": mpl.cycler(color=["#ff0000"])})
    before = dict(mpl.rcParams)
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("shown"))
    axes = FIGURES[figure](scores, spectra)
    assert dict(mpl.rcParams) == before
    page = NIGHT if dark else "#ffffff"
    assert to_hex(axes.get_facecolor()) == page
    axes.set_xlim(1e-3, 1e3)  # ticks made only now, under the user's settings
    picture = pixels(axes.figure)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, axes.title]:
        assert contrast(label.get_color(), page) > 4.5
        assert label.get_fontsize() < 15
    assert not (np.abs(picture - [1, 0, 0]) < 0.02).all(axis=-1).any()
    assert np.abs(picture[0, 0] - to_rgb(page)).max() < 0.02


@pytest.mark.parametrize("figure", FIGURES)
def test_axes_of_the_user_are_drawn_into(figure, scores, spectra):
    plt.style.use("dark_background")
    _, (left, right) = plt.subplots(1, 2)
    right.plot([0, 1])
    count = len(plt.get_fignums())
    axes = FIGURES[figure](scores, spectra, ax=left)
    assert axes is left
    assert len(plt.get_fignums()) == count
    assert len(right.lines) == 1
    assert to_hex(left.get_facecolor()) == "#000000"
    for line in left.lines:
        assert contrast(line.get_color(), "#000000") >= 3
    if left.get_legend() is not None:
        assert all(contrast(text.get_color(), "#000000") > 4.5 for text in left.get_legend().get_texts())


@pytest.mark.parametrize(("face", "expected"), [("white", "light"), ("#203040", "dark"), ("none", "light")])
def test_transparent_axes_are_as_their_figure(face, expected, scores):
    _, axes = plt.subplots(facecolor=face)
    axes.set_facecolor("none")
    gb.plot.curves(scores, ax=axes)
    assert INK.on(expected) in [line.get_color() for line in axes.lines]


def test_a_legend_can_be_left_out(scores, spectra):
    assert gb.plot.curves(scores, legend=False).get_legend() is None
    assert gb.plot.spectrum(spectra, legend=False).get_legend() is None
