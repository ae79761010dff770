"""What the page of a study of generalisation says, without drawing it: means over both networks, and the nearest."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.reporting.study.words import sigma_labels
from gahb_bench.running.generalization.folder import TRUTH, Generalization

_TIE = 0.1  # dB; distances that differ by less are called equal
KINDS = {"train": "training images", "test": "test images"}  # in the names of measures, and in words
# Columns of the page's first table: measure, heading, what it is, digits.
QUANTITIES = (
    ("t_train", "t", "place between memoriser (0) and truth (1), on noisy training images", 2),
    ("train_regret_db", "train regret, dB", "10 log10(mse / mmse) on noisy training images: below 0 it memorises", 1),
    ("test_regret_db", "test regret, dB", "10 log10(1 + excess / mmse) on noisy test images", 1),
    ("model_variance", "model variance", "1: the two networks share nothing of their error, 0: all of it is shared", 2),
)
OF_ALL = (
    ("train_bits", "train bits", "bits a pixel lost over all σ on training images: below 0, saved by memorising", 3),
    ("test_bits", "test bits", "bits a pixel lost over all σ on test images", 3),
    ("sample_correlation", "correlation", "of the samples that both networks generate from the same seeds", 2),
    ("nearest_share", "nearer to own", "share of samples that are nearer to their training set than to the other", 2),
    ("nearest_ratio", "own / other", "squared distance to the nearest of the own training set, over the other's", 2),
    ("shifted_share", "nearer, moved", "nearer to own where training images may be moved, periodically", 2),
    ("shifted_ratio", "own / other, moved", "own / other in the same way: near 0 for copies that are moved", 2),
)


@dataclass(frozen=True)
class Nearest:
    """What the networks are nearest to at one n and noise level: ``names`` are equal within a tenth of a dB.

    distance, truth : dB beside the MMSE
    """

    n: int
    sigma: float
    names: tuple[str, ...]
    distance: float
    truth: float

    @property
    def words(self) -> str:
        """Such as ``memoriser = local, -13.2 dB``."""
        return f"{' = '.join(self.names)}, {self.distance:.1f} dB"


@dataclass(frozen=True)
class Content:
    """The numbers of a folder."""

    rows: pd.DataFrame
    pictures: dict[str, np.ndarray]
    study: dict[str, Any]
    command: str

    @cached_property
    def sizes(self) -> list[int]:
        """The n that are measured, increasing."""
        return sorted(int(n) for n in self.rows["n"].unique())

    @cached_property
    def sigmas(self) -> list[float]:
        """Noise levels, increasing."""
        return sorted(self.rows["sigma"].dropna().unique().tolist())

    @property
    def labels(self) -> dict[float, str]:
        """Noise levels in words."""
        return sigma_labels(self.sigmas)

    @cached_property
    def theories(self) -> list[str]:
        """The names of the theories that distances are measured from, the truth last; none if there are none."""
        found = list(dict.fromkeys(self.rows["theory"].dropna()))
        return [*(name for name in found if name != TRUTH), *(name for name in found if name == TRUTH)]

    @property
    def missing(self) -> list[int]:
        """The n of the study that are not measured yet."""
        return [n for n in self.study["sizes"] if n not in self.sizes]

    def of(self, measure: str, sigma: float | None = None) -> pd.DataFrame:
        """The rows of a measure at one noise level, or over all of them."""
        rows = self.rows[self.rows["measure"] == measure]
        return rows[rows["sigma"].isna() if sigma is None else rows["sigma"] == sigma]

    def mean(self, measure: str, n: int, sigma: float | None = None) -> float:
        """Mean over the two networks; NaN where it is not known."""
        rows = self.of(measure, sigma)
        return float(rows.loc[rows["n"] == n, "value"].mean())

    @cached_property
    def distances(self) -> pd.DataFrame:
        """Mean distance over the two networks in dB beside the MMSE: n, sigma, kind (of `KINDS`), theory (its name)."""
        rows = self.rows.dropna(subset=["theory"])
        named = rows.assign(kind=rows["measure"].str.split("_").str[1])
        return named.groupby(["kind", "n", "sigma", "theory"], sort=False)["value"].mean().reset_index()

    def distance(self, kind: str, n: int, sigma: float) -> dict[str, float]:
        """By the theory's name."""
        rows = self.distances
        rows = rows[(rows["kind"] == kind) & (rows["n"] == n) & (rows["sigma"] == sigma)]
        return dict(zip(rows["theory"], rows["value"], strict=True))

    def nearest(self, kind: str, n: int, sigma: float) -> Nearest | None:
        """What both networks are nearest to; None where no distance is measured."""
        found = self.distance(kind, n, sigma)
        if not found:
            return None
        least = min(found.values())
        names = tuple(name for name in self.theories if found.get(name, math.inf) < least + _TIE)
        return Nearest(n, sigma, names, least, found[TRUTH])

    @property
    def closing(self) -> list[str]:
        """For each n what the networks are nearest to at each noise level, on training and on test images."""
        return [sentence for n in self.sizes if (sentence := self._nearest_in_words(n))]

    def _nearest_in_words(self, n: int) -> str:
        told = []
        for kind, words in KINDS.items():
            found = {sigma: self.nearest(kind, n, sigma) for sigma in self.sigmas}
            runs = _runs([(self.labels[sigma], " = ".join(near.names)) for sigma, near in found.items() if near])
            if runs:
                told.append(f"on {words} to {', '.join(f'{names} (σ {levels})' for names, levels in runs)}")
        return f"n={n}: nearest {'; '.join(told)}" if told else ""

    def table(self, quantity: tuple[str, str, str, int]) -> list[tuple[int, list[str]]]:
        """A row an n, a cell a noise level."""
        measure, _, _, digits = quantity
        return [(n, [cell(self.mean(measure, n, sigma), digits) for sigma in self.sigmas]) for n in self.sizes]

    @property
    def summary(self) -> list[tuple[int, list[str]]]:
        """A row an n, a cell for each of `OF_ALL`."""
        return [(n, [cell(self.mean(measure, n), digits) for measure, _, _, digits in OF_ALL]) for n in self.sizes]


def content_of(made: Generalization) -> Content:
    """The numbers of a folder."""
    return Content(made.rows, made.pictures, made.study, made.command)


def cell(value: float, digits: int) -> str:
    """A number of a table."""
    return f"{round(value, digits) + 0.0:.{digits}f}" if math.isfinite(value) else "–"


def _runs(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Noise levels that follow each other with the same names, together: (names, levels)."""
    runs: list[tuple[str, list[str]]] = []
    for level, names in found:
        if runs and runs[-1][0] == names:
            runs[-1][1].append(level)
        else:
            runs.append((names, [level]))
    return [(names, levels[0] if len(levels) == 1 else f"{levels[0]} to {levels[-1]}") for names, levels in runs]
