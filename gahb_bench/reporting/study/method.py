"""One denoiser on one family: its curve, its regret, its exponent, its images."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.images import FloatArray
from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.merge import Planned, Study
from gahb_bench.reporting.study.style import Style
from gahb_bench.scoring.bits import Bits
from gahb_bench.scoring.by_image import ByImage
from gahb_bench.scoring.exponent import Fit
from gahb_bench.scoring.intervals import FEW, effective_number
from gahb_bench.scoring.losses import image_losses
from gahb_bench.scoring.mean_regret import MeanRegret
from gahb_bench.scoring.summary import Summary, Worst

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

    ``summary`` is what its scores come to over all noise levels. ``errors`` holds its per-image MSE at the section's
    noise levels, ``(levels, images)``, NaN where there is none; ``image_db`` what each image loses, in dB
    (`image_losses`); ``carried`` at how many images, effectively, its error lies: the excess where the regret is
    direct, the MSE elsewhere (`effective_number`).
    """

    planned: Planned
    style: Style
    curve: pd.DataFrame
    troubles: tuple[Trouble, ...]
    summary: Summary
    errors: FloatArray
    image_db: FloatArray
    carried: dict[float, float]

    @property
    def spec(self) -> str:
        return self.planned.plan.spec

    @property
    def knows(self) -> str:
        return self.planned.plan.knows

    @property
    def label(self) -> str:
        """Its name with nothing invisible in it; of a parameter that was not tuned it says so."""
        return words.named(self.spec, self.planned.plan.untuned)

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
    def fit(self) -> Fit | None:
        return self.summary.exponent

    @property
    def no_fit(self) -> str:
        """Why there is no exponent."""
        return words.sentence(self.summary.no_exponent)

    @property
    def seconds(self) -> float:
        return self.summary.seconds

    @property
    def regret(self) -> MeanRegret:
        """Its mean over noise levels."""
        return self.summary.regret

    @property
    def bits(self) -> Bits:
        return self.summary.bits

    @property
    def bits_by_level(self) -> list[tuple[float, float]]:
        """The noise levels, and the share of its excess bits that is lost about each; empty where none are."""
        found = self.bits.by_level
        return [(s, b / self.bits.value) for s, b in zip(self.curve["sigma"], found, strict=True)] if sum(found) else []

    @property
    def kinds(self) -> tuple[str, ...]:
        """What kinds of regret it has (`gahb_bench.curves`), in the order of noise levels."""
        return tuple(kind for kind in dict.fromkeys(self.curve["regret_kind"]) if kind)

    @property
    def unsure(self) -> list[float]:
        """The noise levels where few images carry its error, so that its intervals are unsure."""
        return [sigma for sigma, number in self.carried.items() if number < FEW]

    @property
    def mean_regret(self) -> float:
        """Mean over noise levels of the regret in dB; NaN without any."""
        return self.regret.value

    @property
    def levels(self) -> int:
        """At how many noise levels it has a regret."""
        return self.summary.levels

    @property
    def worst(self) -> Worst | None:
        """The largest regret, and where it is; None without any."""
        return self.summary.worst

    @property
    def worst_regret(self) -> float:
        """The largest regret in dB; NaN without any."""
        return float("nan") if self.worst is None else self.worst.value

    def at(self, sigma: float) -> dict[str, Any] | None:
        """The row of one noise level, or None where there is no number."""
        found = self.curve[np.isclose(self.curve["sigma"], sigma, rtol=1e-9, atol=0)]
        return found.iloc[0].to_dict() if len(found) else None


def make_method(
    study: Study, planned: Planned, summary: Summary, errors: ByImage, best: str | None, looks: dict[str, Style]
) -> Method:
    """One denoiser of a study.

    Parameters
    ----------
    errors : of all of them
    best : the denoiser that attains the reference; None where there is none
    looks : by denoiser
    """
    spec, sigmas = planned.plan.spec, study.sigmas
    rows = study.curves[study.curves["denoiser"] == spec].sort_values("sigma")
    good = rows[(rows["status"] == "ok") & np.isfinite(rows["mse"])]
    good = good.assign(**{name: good[name].where(np.isfinite(good[name])) for name in _REGRET})
    mine = study.scores[study.scores["denoiser"] == spec]
    troubles = tuple(
        Trouble(spec, sigma, _reason(study, spec, sigma, mine))
        for sigma in planned.sigmas
        if not np.isclose(good["sigma"], sigma, rtol=1e-9, atol=0).any()
    )
    stated = study.curves.drop_duplicates("sigma").set_index("sigma")["reference_mse"].reindex(sigmas)
    direct = (good.set_index("sigma")["regret_kind"].reindex(sigmas) == "direct").to_numpy()
    mse, excess = (errors.at(spec, measure, sigmas) for measure in ("mse", "excess"))
    paired = None if best is None else errors.at(best, "mse", sigmas)
    carried = effective_number(np.where(direct[:, None], excess, mse))
    return Method(
        planned=planned,
        style=looks[spec],
        curve=good,
        troubles=troubles,
        summary=summary,
        errors=mse,
        image_db=image_losses(mse, paired, stated.to_numpy(dtype=np.float64), excess, direct),
        carried=dict(zip(sigmas, carried.tolist(), strict=True)),
    )


def _reason(study: Study, denoiser: str, sigma: float, scores: pd.DataFrame) -> str:
    """Why a cell has no number: as the run recorded it, or that it was not computed."""
    for failure in study.failures:
        if failure.denoiser == denoiser and np.isclose(failure.sigma, sigma, rtol=1e-9):
            return words.sentence(failure.reason)
    failed = scores[np.isclose(scores["sigma"], sigma, rtol=1e-9, atol=0) & (scores["status"] != "ok")]
    return words.sentence(failed["reason"].iloc[0]) if len(failed) else "not computed"
