"""One denoiser on one family: its curve, its regret, its exponent, its images."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray
from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.merge import Planned, Study
from gahb_bench.reporting.study.style import Style
from gahb_bench.scoring.exponent import Fit, fit
from gahb_bench.scoring.losses import image_losses
from gahb_bench.scoring.mean_regret import MeanRegret
from gahb_bench.scoring.summary import FIT_RANGE, image_errors, regret_over_levels

_REGRET = ("regret_db", "regret_db_low", "regret_db_high")  # infinite where the optimum makes no error: no number
HONEST = ("nothing", "training set")  # what is known to those that see only the noisy image


@dataclass(frozen=True)
class Trouble:
    """A cell without a number, and why."""

    denoiser: str
    sigma: float
    reason: str


@dataclass(frozen=True, eq=False)
class Method:
    """One denoiser on one family. ``curve`` holds its good cells, rows of curves.csv sorted by noise level.

    ``errors`` holds its per-image MSE at the section's noise levels, ``(levels, images)``, NaN where there is none;
    ``image_db`` the same in dB above the optimum (`image_losses`). ``regret`` is its mean over noise levels.
    """

    planned: Planned
    style: Style
    curve: pd.DataFrame
    troubles: tuple[Trouble, ...]
    fit: Fit | None
    no_fit: str
    seconds: float
    errors: FloatArray
    image_db: FloatArray
    regret: MeanRegret

    @property
    def spec(self) -> str:
        return self.planned.plan.spec

    @property
    def knows(self) -> str:
        return self.planned.plan.knows

    @property
    def label(self) -> str:
        """Its name with nothing invisible in it."""
        return words.visible(self.spec)

    @property
    def honest(self) -> bool:
        """Whether it sees only y (and training images): then its regret can be compared with others'."""
        return self.knows in HONEST

    @property
    def ideal(self) -> bool:
        """Whether it has seen the image or its latents: an ideal that no denoiser can be compared with."""
        return self.knows in ("latents", "image")

    @property
    def exponent_error(self) -> float:
        """The fitted exponent minus that of the same fit through the reference; NaN where either is unknown."""
        return float("nan") if self.fit is None else self.fit.value - self.fit.reference

    @cached_property
    def drawn(self) -> pd.DataFrame:
        """``curve`` with a row of NaN for each cell without a number, so that no line runs through it."""
        levels = sorted({*self.curve["sigma"], *(trouble.sigma for trouble in self.troubles)})
        return self.curve.set_index("sigma").reindex(levels).reset_index()

    @property
    def mean_regret(self) -> float:
        """Mean over noise levels of the regret in dB; NaN without any."""
        return self.regret.value

    @property
    def levels(self) -> int:
        """At how many noise levels it has a regret."""
        return int(self.curve["regret_db"].notna().sum())

    @property
    def worst(self) -> tuple[float, float]:
        """The largest regret in dB, and the noise level where it is; NaN without any."""
        values = self.curve.dropna(subset=["regret_db"])
        if values.empty:
            return float("nan"), float("nan")
        row = values.loc[values["regret_db"].idxmax()]
        return float(row["regret_db"]), float(row["sigma"])

    def at(self, sigma: float) -> dict[str, Any] | None:
        """The row of one noise level, or None where there is no number."""
        found = self.curve[np.isclose(self.curve["sigma"], sigma, rtol=1e-9, atol=0)]
        return found.iloc[0].to_dict() if len(found) else None


def make_method(
    study: Study,
    planned: Planned,
    errors: FloatArray,
    paired: FloatArray | None,
    looks: dict[str, Style],
) -> Method:
    """One denoiser of a study.

    Parameters
    ----------
    errors : its per-image MSE at the study's noise levels, ``(levels, images)``
    paired : that of the denoiser which attains the reference; None where there is none
    looks : by denoiser
    """
    spec = planned.plan.spec
    rows = study.curves[study.curves["denoiser"] == spec].sort_values("sigma")
    good = rows[(rows["status"] == "ok") & np.isfinite(rows["mse"])]
    good = good.assign(**{name: good[name].where(np.isfinite(good[name])) for name in _REGRET})
    mine = study.scores[study.scores["denoiser"] == spec]
    troubles = tuple(
        Trouble(spec, sigma, _reason(study, spec, sigma, mine))
        for sigma in planned.sigmas
        if not np.isclose(good["sigma"], sigma, rtol=1e-9, atol=0).any()
    )
    fitted, no_fit = None, ""
    try:
        fitted = fit(mine, study.reference, *FIT_RANGE)
    except UsageError as error:
        no_fit = words.sentence(error)
    stated = study.curves.drop_duplicates("sigma").set_index("sigma")["reference_mse"].reindex(study.sigmas)
    levels = [study.sigmas.index(sigma) for sigma in good["sigma"]]
    excess = image_errors(study.scores, spec, study.sigmas, range(study.images), "excess")
    return Method(
        planned=planned,
        style=looks[spec],
        curve=good,
        troubles=troubles,
        fit=fitted,
        no_fit=no_fit,
        seconds=float(mine["seconds"].mean()),
        errors=errors,
        image_db=image_losses(errors, paired, stated.to_numpy(dtype=np.float64)),
        regret=regret_over_levels(
            good, errors[levels], None if paired is None else paired[levels], study.reference, excess[levels]
        ),
    )


def _reason(study: Study, denoiser: str, sigma: float, scores: pd.DataFrame) -> str:
    """Why a cell has no number: as the run recorded it, or that it was not computed."""
    for failure in study.failures:
        if failure.denoiser == denoiser and np.isclose(failure.sigma, sigma, rtol=1e-9):
            return words.sentence(failure.reason)
    failed = scores[np.isclose(scores["sigma"], sigma, rtol=1e-9, atol=0) & (scores["status"] != "ok")]
    return words.sentence(failed["reason"].iloc[0]) if len(failed) else "not computed"
