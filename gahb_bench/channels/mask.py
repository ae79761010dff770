"""The operator that shows some pixels and hides the others."""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images
from gahb_bench.core.memory import cached
from gahb_bench.core.operator import Operator, Shape, refuse_shape, variances

Pattern = Literal["random", "block", "columns"]


class Mask(Operator):
    """Some pixels of an image, the same of all images (inpainting): A A' = I on them, norm 1.

        (A x)_p = M_p x_p,   M_p in {0, 1}
        pattern=random    round(keep h w) pixels, drawn without replacement
        pattern=block     all but a square of round(sqrt((1 - keep) h w)) pixels, somewhere in the image
        pattern=columns   round(keep w) whole columns, drawn without replacement

    At least one pixel (column) is measured, and the channels of a pixel all or none. A draw depends on ``key`` and on
    the size of the images, so that a mask that keeps more shows what one that keeps less shows, and more (not
    ``block``). Masks of one's own, of each image another if so wished, are `given`.

    Examples
    --------
    >>> x = torch.ones(2, 1, 4, 4)
    >>> Mask(keep=0.5).apply(x).sum(dim=(1, 2, 3))
    tensor([8., 8.])
    """

    name: ClassVar = "mask"
    source: ClassVar = "definition"

    pattern: Pattern = Field("random", description="which pixels: anywhere, all but a square, or whole columns")
    keep: float = Field(0.5, gt=0, le=1, description="share of the pixels that are measured")
    key: int = Field(0, ge=0, description="which draw of the pixels")
    _pixels: Tensor | None = PrivateAttr(default=None)

    @property
    def spec(self) -> str:
        """Canonical spec; that of given pixels says so."""
        return super().spec if self._pixels is None else "mask (given pixels)"

    def given(self, pixels: Tensor) -> "Mask":
        """The mask that shows these pixels.

        Parameters
        ----------
        pixels : Tensor, shape (1 or n, c, h, w), of ones and zeros or booleans
            The same of all images, or of each image another.

        Raises
        ------
        UsageError
            If it has another shape or other values.
        """
        if pixels.ndim != 4 or not bool(((pixels == 0) | (pixels == 1)).all()):
            raise UsageError(
                f"pixels to show are a tensor (1 or n, c, h, w) of ones and zeros, not {pixels.dtype} "
                f"{tuple(pixels.shape)} of other values."
            )
        same = self.model_copy()
        same._pixels = pixels
        return same

    def mask(self, like: Images) -> Tensor:
        """Which pixels it shows of such images, ``(1 or n, c, h, w)`` of ones and zeros in their type."""
        if self._pixels is None:
            pixels = _drawn(self.pattern, self.keep, self.key, *like.shape[2:]).expand(1, *like.shape[1:])
        else:
            pixels = self._pixels
            if pixels.shape[1:] != like.shape[1:] or pixels.shape[0] not in (1, like.shape[0]):
                raise UsageError(
                    f"the pixels given are {tuple(pixels.shape)}, and the images {tuple(like.shape)}: give a mask of "
                    "their shape, one for all images or one for each."
                )
        return pixels.to(like)

    def check_shape(self, shape: Shape) -> None:
        if self._pixels is not None and tuple(self._pixels.shape[1:]) != shape:
            raise refuse_shape(self, shape, f"the pixels given are {tuple(self._pixels.shape)}; give those of them")

    def select(self, positions: list[int]) -> "Mask":
        return self if self._pixels is None or len(self._pixels) == 1 else self.given(self._pixels[positions])

    def count(self, shape: Shape) -> Tensor:
        return (
            self.mask(torch.empty(1 if self._pixels is None else len(self._pixels), *shape)).sum(dim=(1, 2, 3)).long()
        )

    def apply(self, x: Images) -> Images:
        return self.mask(x) * x

    def adjoint(self, r: Images) -> Images:
        return self.apply(r)

    def pseudoinverse(self, r: Images) -> Images:
        return self.apply(r)

    def restrict(self, r: Images) -> Images:
        return self.apply(r)

    def solve(self, r: Images, noise_variance: float | Tensor, prior_variance: float | Tensor) -> Images:
        return self.mask(r) * r / (variances(prior_variance, r) + variances(noise_variance, r))


@cached(16)
def _drawn(pattern: Pattern, keep: float, key: int, height: int, width: int) -> Tensor:
    """Ones and zeros, float64 ``(1, 1, h, w)``."""
    stream = rng.generator("mask", pattern, height, width, key)
    shown = np.zeros((height, width))
    if pattern == "random":
        shown.ravel()[stream.permutation(shown.size)[: max(round(keep * shown.size), 1)]] = 1
    elif pattern == "columns":
        shown[:, stream.permutation(width)[: max(round(keep * width), 1)]] = 1
    else:
        side = min(round(((1 - keep) * shown.size) ** 0.5), height, width)
        row, column = stream.integers(height - side + 1), stream.integers(width - side + 1)
        shown[:] = 1
        shown[row : row + side, column : column + side] = 0
        if not shown.any():
            shown[0, 0] = 1
    return torch.from_numpy(shown)[None, None]
