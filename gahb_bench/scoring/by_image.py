"""Per-image errors as arrays, noise levels by images."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gahb_bench.core.images import FloatArray

MEASURES = ("mse", "excess")


@dataclass(frozen=True, eq=False)
class ByImage:
    """The errors of every denoiser on one family; ``tables`` are by denoiser and measure (``mse`` or ``excess``)."""

    images: list[int]
    tables: Mapping[str, Mapping[str, pd.DataFrame]]

    def at(self, denoiser: str, measure: str, sigmas: Iterable[float]) -> FloatArray:
        """Those of one denoiser at some noise levels, ``(levels, images)``; NaN where there is none."""
        levels = list(sigmas)
        if denoiser not in self.tables:
            return np.full((len(levels), len(self.images)), np.nan)
        table = self.tables[denoiser][measure]
        return table.reindex(index=levels, columns=self.images).to_numpy(dtype=np.float64)


def by_image(scores: pd.DataFrame, images: Iterable[int] | None = None) -> ByImage:
    """The errors on one family, from its rows of scores.parquet; of these images, or of all that are there."""
    good = scores[scores["status"] == "ok"]
    tables = {
        str(name): {measure: rows.pivot(index="sigma", columns="image", values=measure) for measure in MEASURES}
        for name, rows in good.groupby("denoiser", sort=False)
    }
    return ByImage(np.sort(scores["image"].unique()).tolist() if images is None else list(images), tables)
