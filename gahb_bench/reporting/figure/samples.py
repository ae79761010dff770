"""A gallery of a family's images, clean and noisy."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.reporting.figure.drawing import MADE_BY, colours, style

_MOST = 300  # pictures of a gallery


def png(family: Family, sigmas: Sequence[float], images: int = 6, seed: int = 0, split: str = "test") -> bytes:
    """The gallery of `draw_samples` as PNG."""
    with style({}):
        file = io.BytesIO()
        draw_samples(family, sigmas, images, seed, split).savefig(file, format="png", metadata=MADE_BY["png"])
    return file.getvalue()


def draw_samples(
    family: Family, sigmas: Sequence[float], images: int = 6, seed: int = 0, split: str = "test"
) -> Figure:
    """Images of a family in columns: the clean image on top, one row for each noise level below it.

    Three channels are shown as colours. Values are clipped to [0, 1] for display only; those of a law in units of its
    own to the range of its clean images. Images of one row are drawn as curves, over the clean one.

    Raises
    ------
    UsageError
        For more pictures than can be looked at.
    """
    if images * (1 + len(sigmas)) > _MOST:
        raise UsageError(
            f"a gallery of {images} images, clean and at {len(sigmas)} noise levels, has {images * (1 + len(sigmas))} "
            f"pictures: show at most {_MOST}. `generate` writes any number of images to a file."
        )
    batch = family.sample(range(images), seed=seed, split=split)
    z = unit_noise(batch)
    rows = [("clean", batch.images)]
    rows += [(_level(sigma, family), scale_noise(batch.images, z, sigma)) for sigma in sigmas]
    figure = Figure(figsize=(1.5 * images + 1.0, 1.5 * len(rows) + 0.6), layout="constrained", dpi=120)
    axes = figure.subplots(len(rows), images, squeeze=False)
    for line, (label, row) in zip(axes, rows, strict=True):
        for axis, image, clean in zip(line, row, batch.images, strict=True):
            if image.shape[1] == 1:
                _draw_signal(axis, image.numpy(), clean.numpy())
            else:
                _draw_image(axis, image.numpy(), (0.0, 1.0) if not family.own_units else _range(batch.images.numpy()))
        line[0].set_ylabel(label, fontsize=9)
    for column, index in enumerate(batch.indices):
        axes[0, column].set_title(f"image {index}", fontsize=9)
    figure.suptitle(f"{family.spec}   (seed {seed}, split {split})", fontsize=10)
    return figure


def _level(sigma: float, family: Family) -> str:
    return f"σ = {sigma:g}" if family.own_units else f"σ = {sigma:g}\n({255 * sigma:.3g} / 255)"


def _range(x: np.ndarray) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _draw_image(axis: Axes, image: np.ndarray, window: tuple[float, float]) -> None:
    low, high = window
    shown = ((image - low) / max(high - low, np.finfo(np.float32).tiny)).clip(0, 1).transpose(1, 2, 0)  # (h, w, c)
    shown = shown if shown.shape[-1] == 3 else shown[..., 0]
    axis.imshow(shown, cmap=colours("gray"), vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def _draw_signal(axis: Axes, image: np.ndarray, clean: np.ndarray) -> None:
    """The channels of an image of one row as curves, what is not clean as points over the clean one."""
    for channel, truth in zip(image[:, 0], clean[:, 0], strict=True):
        axis.plot(truth, color="black", linewidth=0.8)
        if not np.array_equal(channel, truth):
            axis.plot(channel, ".", color="tab:red", markersize=2.5)
    axis.set(xticks=[])
    axis.tick_params(labelsize=6)
