"""Images beside each other."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Batch, Images
from gahb_bench.plot.axes import axes_for
from gahb_bench.reporting.figure.figures import escaped

_GAP = 0.06  # between the pictures of a gallery, of their width
_PICTURE = 1.1  # inches
_LETTER = 0.1  # inches, at most on average, of a name
_COLUMNS = 6


def gallery(
    images: Batch | Images | Mapping[str, Batch | Images],
    count: int = 12,
    ax: Axes | None = None,
    *,
    columns: int | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Axes:
    """Images beside each other: the first of a batch, or a row for each name, clipped to ``limits`` for display only.

    Parameters
    ----------
    images : Batch, or Tensor of shape (n, c, h, w) with c = 1 (grey) or 3 (colours); or several such by name
    count : the most that are shown (of each name)
    ax : where to draw; by default a new figure
    columns : pictures in a row, at most 6 by default; of names, each is a row
    limits : values shown as black and as white, image units

    Raises
    ------
    UsageError
        If these are no images, none, or of different sizes.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> batch = gb.family("calpha:size=16").sample(range(4))
    >>> axes = gallery({"clean": batch, "noisy": gb.add_noise(batch, 0.2)})
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['clean', 'noisy']
    """
    for what, number in {"count": count, "columns": _COLUMNS if columns is None else columns}.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UsageError(f"{what}={number!r} is not allowed: it is a number of images, at least 1.")
    if not limits[0] < limits[1]:
        raise UsageError(f"limits={limits!r} are not allowed: the value shown as black, and a larger one, as white.")
    named = images if isinstance(images, Mapping) else {"": images}
    shown = [_pictures(each, count, limits) for each in named.values()]
    if len({pictures.shape[1:] for pictures in shown}) != 1:
        raise UsageError("the images of a gallery are of one size, and at least one: give such.")
    if not isinstance(images, Mapping):
        across = min(len(shown[0]), columns or _COLUMNS)
        shown = [shown[0][start : start + across] for start in range(0, len(shown[0]), across)]
    mosaic, middles = _mosaic(shown)
    size = _PICTURE * max(map(len, shown)), _PICTURE * len(shown)
    beside = max(len(str(name)) for name in named) * _LETTER + 0.1
    with axes_for(ax, (size[0] + beside, size[1] + 0.1)) as (axes, _):
        axes.imshow(mosaic, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        if isinstance(images, Mapping):
            axes.set_yticks(middles, [escaped(str(name)) for name in named])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return axes


def _pictures(images: object, count: int, limits: tuple[float, float]) -> np.ndarray:
    """The first images as numbers in [0, 1], ``(n, h, w, 3)``."""
    given = images.images if isinstance(images, Batch) else images
    if not isinstance(given, Tensor) or given.ndim != 4 or given.shape[1] not in (1, 3) or not len(given):
        what = f"a tensor {tuple(given.shape)}" if isinstance(given, Tensor) else repr(type(given).__name__)
        raise UsageError(f"a gallery is of a Batch, or of images (n, c, h, w) of 1 or 3 channels, not of {what}.")
    low, high = limits
    shown = ((given[:count].detach().cpu().double() - low) / (high - low)).clamp(0, 1)
    return torch.nan_to_num(shown).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def _mosaic(rows: list[np.ndarray]) -> tuple[np.ndarray, list[float]]:
    """One picture ``(h, w, 4)``, transparent between the pictures, and the middles of its rows."""
    height, width = rows[0].shape[1:3]
    gap = max(1, round(_GAP * width))
    across = max(map(len, rows))
    mosaic = np.zeros((len(rows) * (height + gap) - gap, across * (width + gap) - gap, 4))
    for line, row in enumerate(rows):
        for place, picture in enumerate(row):
            top, left = line * (height + gap), place * (width + gap)
            mosaic[top : top + height, left : left + width, :3] = picture
            mosaic[top : top + height, left : left + width, 3] = 1
    return mosaic, [line * (height + gap) + (height - 1) / 2 for line in range(len(rows))]
