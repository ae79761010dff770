"""Tuned parameters of denoisers: the best value by noise level, kept in the store."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gahb_bench.tables import store

RULE = 1  # of `gahb_bench.tuning.tune`: raised when what it finds changes
_ABOUT = ("mse", "at_edge")  # quantities that are no parameter


@dataclass(frozen=True)
class TunedTable:
    """The best value of one parameter of one denoiser on one family, by noise level, and how it was found.

    denoiser : canonical spec, the tuned parameter left out.
    value : the best value at each noise level in ``sigma`` (ascending); ``mse`` is what it reached.
    at_edge : whether the best value lies at an end of the range that was searched.
    images, seed : of the split ``val``; the fewest images, and the seed of the first level, where levels differ.
    provenance : the methods, and the packages, in words.
    lost : noise levels at which the workers that tuned it were lost again and again, and how; it is not kept.
    """

    denoiser: str
    family: str
    parameter: str
    sigma: tuple[float, ...]
    value: tuple[float, ...]
    mse: tuple[float, ...]
    at_edge: tuple[bool, ...]
    images: int
    seed: int
    provenance: str
    lost: tuple[tuple[float, str], ...] = ()

    def at(self, sigma: Tensor) -> Tensor:
        """Value at other noise levels: linear in log value over log sigma, constant outside the table."""
        log_sigma = np.log([float(level) for level in sigma])  # one by one: under torch.func there is no array
        value = np.exp(np.interp(log_sigma, np.log(self.sigma), np.log(self.value)))
        return torch.from_numpy(np.asarray(value)).to(sigma.device)

    @property
    def digest(self) -> str:
        """Hash of what the numbers depend on."""
        return hashlib.sha256(json.dumps([self.parameter, self.sigma, self.value]).encode()).hexdigest()[:16]

    @classmethod
    def from_rows(cls, rows: pd.DataFrame) -> "TunedTable":
        """From the rows of one denoiser and family in the store."""
        levels, first = store.by_level(rows), rows.iloc[0]
        parameter = next(name for name in rows["quantity"] if name not in _ABOUT)
        return cls(
            denoiser=str(first["denoiser"]),
            family=str(first["family"]),
            parameter=str(parameter),
            sigma=tuple(levels.index.tolist()),
            value=tuple(levels[parameter].tolist()),
            mse=tuple(levels["mse"].tolist()),
            at_edge=tuple(levels["at_edge"].astype(bool).tolist()),
            images=int(rows["images"].min()),
            seed=int(first["seed"]),
            provenance="; and ".join(rows["provenance"].unique()),
        )

    def as_rows(self) -> pd.DataFrame:
        """As rows of the store."""
        found = zip(self.sigma, self.value, self.mse, self.at_edge, strict=True)
        rows = [
            store.make_rows(
                self.family,
                sigma,
                {self.parameter: value, "mse": mse, "at_edge": float(edge)},
                denoiser=self.denoiser,
                images=self.images,
                seed=self.seed,
                rule=RULE,
                provenance=self.provenance,
            )
            for sigma, value, mse, edge in found
        ]
        return pd.concat(rows, ignore_index=True)


def find(denoiser: str, family: str) -> TunedTable | None:
    """The tuned table of a denoiser (its parameter left out of the spec) on a family.

    The user's own noise levels stand beside those of the package, and in their place where they are the same.
    """
    found = store.find("tuned", family, denoiser, rule=RULE)
    if not found:
        return None
    first, *others = found
    for rows in others:
        first = pd.concat([first, rows[~_at_levels_of(rows, first)]], ignore_index=True)
    return TunedTable.from_rows(first.sort_values("sigma", kind="stable", ignore_index=True))


def _at_levels_of(rows: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Which rows have a noise level that others have."""
    levels = others["sigma"].unique()
    return np.isclose(rows["sigma"].to_numpy()[:, None], levels, rtol=store.ON_A_LEVEL, atol=0).any(axis=1)


def keep(table: TunedTable) -> Path | None:
    """Keep a table in the user's store: its noise levels take the place of the same ones there, others stay.

    Return the file; where it cannot be written, warn, and return None.
    """
    return store.keep("tuned", table.as_rows())


def tables(path: Path) -> list[TunedTable]:
    """All the tables of one file."""
    return [TunedTable.from_rows(rows) for rows in store.read(path).values()]
