"""The trainings that reports/architectures/ keeps, and the laws with their scores."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from gahb_bench.core.spec import format_spec
from gahb_bench.networks.recipe import read_recipe

HERE = Path(__file__).parent
FOLDER = HERE / "architectures"
MATCHED = {  # the law whose optimum has the form of the network
    "calpha:size=32": "mixture:components=1",
    "hierarchy:depth=5": "bp-unet",
    "besov:size=32": "shrinkage",
    "gmm:size=32": "mixture",
    "markov-contours:size=32": "chain",
}
DASH = "–"


@dataclass(frozen=True)
class Trained:
    """One finished training."""

    folder: Path

    @cached_property
    def recipe(self) -> dict[str, Any]:
        return read_recipe(self.folder / "best.safetensors")

    @cached_property
    def log(self) -> pd.DataFrame:
        lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        log = pd.DataFrame([json.loads(line) for line in lines])
        log["images"] = log["step"] * self.recipe["settings"]["batch"]
        log["minutes"] = log["core_seconds"] / 60
        return log

    @property
    def family(self) -> str:
        return self.recipe["family"]

    @property
    def seed(self) -> int:
        return self.recipe["settings"]["seed"]

    @property
    def network(self) -> str:
        """Its spec, without what is the same for all."""
        spec = re.sub(r"[,:]padding=circular", "", self.recipe["network"])
        return spec if ":" in spec else spec.replace(",", ":", 1)

    @property
    def spec(self) -> str:
        """As a denoiser, by a path that is the same everywhere."""
        return format_spec("network", {"weights": str((self.folder / "best.safetensors").relative_to(HERE.parent))})

    @property
    def minutes(self) -> float:
        return float(self.log["minutes"].iloc[-1])


@dataclass(frozen=True)
class Law:
    """A law with its networks and their scores."""

    family: str
    networks: list[Trained]
    summary: pd.DataFrame

    def best(self, among: list[Trained]) -> Trained | None:
        """The one with the least mean regret."""
        return min(among, key=lambda one: self.regret(one.spec), default=None)

    def regret(self, spec: str) -> float:
        return float(self.summary.loc[spec, "mean_regret_db"])

    @property
    def general(self) -> list[Trained]:
        """The networks that are not matched to any law."""
        names = {spec.partition(":")[0] for spec in MATCHED.values()}
        return [one for one in self.networks if one.network.partition(":")[0] not in names and one.seed == 0]


def table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
