"""Images of one row as pictures: curves, one a channel."""

import numpy as np
from PIL import Image, ImageDraw

from gahb_bench.running.thumbnails import Pixels

WIDTH, HEIGHT = 192, 96  # pixels of a picture
_MARGIN = 5
_INK, _PAPER, _ZERO = (30, 30, 30), (255, 255, 255), (190, 190, 190)
_CHANNELS = ((200, 40, 40), (30, 140, 60), (40, 70, 200))


def is_signal(shape: tuple[int, ...]) -> bool:
    """Whether images ``(c, h, w)`` have one row, of more than a few pixels."""
    return shape[1] == 1 and shape[2] > 2


def curves(x: Pixels, shown: tuple[float, float]) -> Image.Image:
    """A signal ``(c, 1, w)`` drawn between two values, cut beyond them; a grey line at 0 where that is between them."""
    low, high = shown
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)

    def height(values: Pixels) -> Pixels:
        part = np.clip((values.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny), -0.1, 1.1)
        return HEIGHT - _MARGIN - part * (HEIGHT - 2 * _MARGIN)

    if low < 0 < high:
        zero = float(height(np.zeros(1))[0])
        draw.line([(0, zero), (WIDTH, zero)], fill=_ZERO)
    columns = np.linspace(_MARGIN, WIDTH - _MARGIN, x.shape[2])
    for channel, colour in zip(x[:, 0], _CHANNELS if len(x) == 3 else [_INK] * len(x), strict=True):
        draw.line(list(zip(columns.tolist(), height(channel).tolist(), strict=True)), fill=colour, width=2)
    return image.quantize(16)
