"""A gallery of a family's images, clean and noisy."""

import io
from collections.abc import Sequence

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

    Three channels are shown as colours. Values are clipped to [0, 1] for display only.

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
    rows += [(f"σ = {sigma:g}\n({255 * sigma:.3g} / 255)", scale_noise(batch.images, z, sigma)) for sigma in sigmas]
    figure = Figure(figsize=(1.5 * images + 1.0, 1.5 * len(rows) + 0.6), layout="constrained", dpi=120)
    axes = figure.subplots(len(rows), images, squeeze=False)
    for line, (label, row) in zip(axes, rows, strict=True):
        for axis, image in zip(line, row, strict=True):
            shown = image.numpy().clip(0, 1).transpose(1, 2, 0)  # (h, w, c)
            shown = shown if shown.shape[-1] == 3 else shown[..., 0]
            axis.imshow(shown, cmap=colours("gray"), vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=9)
    for column, index in enumerate(batch.indices):
        axes[0, column].set_title(f"image {index}", fontsize=9)
    figure.suptitle(f"{family.spec}   (seed {seed}, split {split})", fontsize=10)
    return figure
