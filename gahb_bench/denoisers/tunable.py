"""Denoisers with one parameter that is tuned: by hand, by a table made on the validation split, or by a rule."""

import hashlib
import json
import os
import tomllib
from abc import abstractmethod
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.denoiser import Denoiser, Facts
from gahb_bench.core.errors import UsageError
from gahb_bench.core.spec import format_spec

FOLDER_VARIABLE = "GAHB_BENCH_TUNED"
_SHIPPED = tuple(Path(__file__).resolve().parents[up] / "datasets" / "tuned" for up in (1, 2))  # wheel, checkout


@dataclass(frozen=True)
class TunedTable:
    """The best value of one parameter of one denoiser on one family, by noise level, and how it was found.

    denoiser : canonical spec, the tuned parameter left out.
    value : the best value at each noise level in ``sigma`` (ascending); ``mse`` is what it reached.
    at_edge : whether the best value lies at an end of the range that was searched.
    """

    denoiser: str
    family: str
    parameter: str
    sigma: tuple[float, ...]
    value: tuple[float, ...]
    mse: tuple[float, ...]
    at_edge: tuple[bool, ...]
    split: str
    seed: int
    images: int
    method: str
    packages: tuple[str, ...]

    def at(self, sigma: Tensor) -> Tensor:
        """Value at other noise levels: linear in log value over log sigma, constant outside the table."""
        log_sigma = np.log(sigma.detach().cpu().numpy())
        value = np.exp(np.interp(log_sigma, np.log(self.sigma), np.log(self.value)))
        return torch.from_numpy(np.asarray(value)).to(sigma.device)

    @property
    def digest(self) -> str:
        """Hash of what the numbers depend on."""
        return hashlib.sha256(json.dumps([self.parameter, self.sigma, self.value]).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "TunedTable":
        """From one ``[[tuned]]`` entry of a file."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        """As one ``[[tuned]]`` entry of a file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


class Tunable(Denoiser):
    """A denoiser with one tuned parameter, 0 by default.

    Its value is, in this order: the one given by hand (> 0); the tuned table of this very family and denoiser,
    interpolated in log sigma; a rule that depends on sigma alone. It never depends on the images to be denoised.

    A subclass names the parameter (``tuned``), the range in which it is searched, and states the rule.
    """

    tuned: ClassVar[str]
    search: ClassVar[tuple[float, float]]

    @abstractmethod
    def rule(self, sigma: Tensor) -> Tensor:
        """The value for a family without a table, from the noise level alone."""

    def setting(self, sigma: Tensor) -> Tensor:
        """The value used at each noise level, float64 ``(n,)``."""
        given = float(getattr(self, self.tuned))
        if given > 0:
            return torch.full_like(sigma, given)
        table = self.table()
        return self.rule(sigma) if table is None else table.at(sigma)

    def table(self) -> TunedTable | None:
        """The tuned table of this denoiser and its family, or None where there is none."""
        if self._family is None:
            return None
        for folder in tuned_folders():
            found = read_tables(folder, self.name).get((self.untuned_spec, self._family.spec))
            if found is not None:
                return found
        return None

    @property
    def untuned_spec(self) -> str:
        """Canonical spec with the tuned parameter left out."""
        return format_spec(self.name, {key: value for key, value in self.changed.items() if key != self.tuned})

    @property
    def facts(self) -> Facts:
        """Hash of the tuned table in use, and one number fitted (at each noise level) where there is one."""
        if getattr(self, self.tuned) > 0:
            return Facts()
        table = self.table()
        return Facts(fitted=0) if table is None else Facts(digest=table.digest, fitted=1)

    @property
    def provenance(self) -> str:
        """Where the value of the tuned parameter comes from, in words."""
        if getattr(self, self.tuned) > 0:
            return f"{self.tuned} given by hand"
        table = self.table()
        if table is None:
            return f"{self.tuned} by a rule in sigma alone"
        return f"{self.tuned} tuned on {table.images} images of split {table.split}, seed {table.seed}"


def tuned_folders() -> list[Path]:
    """Where tuned tables are looked for: the folder named by GAHB_BENCH_TUNED, if any, then the shipped one."""
    own = os.environ.get(FOLDER_VARIABLE, "")
    return [*([Path(own)] if own else []), next((path for path in _SHIPPED if path.is_dir()), _SHIPPED[-1])]


def read_tables(folder: Path, name: str) -> dict[tuple[str, str], TunedTable]:
    """The tables of one denoiser in one folder, by (denoiser without the tuned parameter, family).

    Raises
    ------
    UsageError
        If the file is there but is not a table.
    """
    path = folder / f"{name}.toml"
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return {}
    return _parse(path, changed)


@cache
def _parse(path: Path, changed: int) -> dict[tuple[str, str], TunedTable]:
    del changed  # part of the key: a file that was written again is read again
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["tuned"]
        tables = [TunedTable.from_dict(entry) for entry in entries]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a file of tuned tables ({error}): tune again, or remove it.") from None
    return {(table.denoiser, table.family): table for table in tables}
