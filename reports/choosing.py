"""The part of reports/posterior.md about choosing measurements, made with the rest: python reports/posterior.py"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import gahb_bench as gb
from gahb_bench.reporting.figure.drawing import style
from gahb_bench.reporting.figure.figures import PARAMETERS
from gahb_bench.sampling.choosing import Rule

SIGMA = 0.1
RANDOM = "at random"
DASH = "–"
COLOURS = ("#3173a8", "#c25b32", "#5a8f3c", "#8a5aa8", "#8a6d3b")


@dataclass(frozen=True)
class Choice:
    """Of how many images how many pixels are observed, and which ensemble of how many samples is asked where."""

    images: int
    pixels: int
    samples: int
    method: str | None = None  # a method whose samples, with the exact denoiser, are asked too

    @property
    def rules(self) -> dict[str, Rule]:
        """By the words that the page has for them."""
        found = {
            RANDOM: gb.sampling.at_random(),
            "exact variance": gb.sampling.where_unsure,
            f"{self.samples} exact samples": gb.sampling.by_exact_samples(self.samples),
        }
        if self.method is not None:
            rule = gb.sampling.by_samples(self.method, "mmse", self.samples)
            found[f"{self.samples} samples of {self.method}"] = rule
        return found


CHOICES = {
    "calpha:size=16": Choice(images=32, pixels=32, samples=8, method="diffpir:steps=20"),
    "disks:size=16": Choice(images=16, pixels=16, samples=4),
}


def chosen() -> pd.DataFrame:
    """The error of the exact posterior mean against the number of pixels observed, a row a rule and number."""
    return pd.concat([followed(family, choice) for family, choice in CHOICES.items()])


def followed(family: str, choice: Choice) -> pd.DataFrame:
    """Of one law: means over the images whose posterior is known throughout, and the ratio to random order."""
    law = gb.family(family)
    batch = law.sample(range(choice.images), split="test")
    seen = {}
    for name, rule in choice.rules.items():
        seen[name] = gb.sampling.observe(law, batch, SIGMA, rule, choice.pixels)
        print(f"observed {family} {name}", flush=True)
    known = torch.stack([each.error.isfinite().all(0) for each in seen.values()]).all(0)
    count = int(known.sum())
    random = seen[RANDOM].error[:, known]
    found = []
    for name, each in seen.items():
        error = each.error[:, known]
        ratio = error.mean(1) / random.mean(1)
        spread = (error - ratio[:, None] * random).std(1) / random.mean(1)
        columns: dict[str, Any] = {
            "family": law.spec,
            "rule": name,
            "images": count,
            "pixels": each.counts.numpy(),
            "error": error.mean(1).numpy(),
            "standard_error": (error.std(1) / count**0.5).numpy(),
            "variance": each.variance[:, known].mean(1).numpy(),
            "ratio": ratio.numpy(),
            "ratio_error": (spread / count**0.5).numpy(),
        }
        found.append(pd.DataFrame(columns))
    return pd.concat(found)


def settings(pixels: pd.DataFrame) -> str:
    """How many images and pixels there are of each law."""
    lines = []
    for family, own in CHOICES.items():
        law = gb.family(family)
        known = int(pixels.loc[pixels["family"] == law.spec, "images"].iloc[0])
        others = own.images - known
        left = f", and {others} whose posterior is not certified throughout and which are left out" if others else ""
        lines.append(f"- `{family}`: {known} images{left}; {own.pixels} of {math.prod(law.shape)} pixels")
    return "\n".join(lines)


def comparison(pixels: pd.DataFrame) -> str:
    """Errors on the way, the ratio to random order at the end, and where its last error is reached."""
    lines = [["law", "pixels by", "error at a quarter", "at half", "at the end", "over random", "random's end reached"]]
    for (family, rule), rows in pixels.groupby(["family", "rule"], sort=False):
        last = rows["pixels"].max()
        at = rows.set_index("pixels")
        cells = [
            f"{short(at.loc[n, 'error'])} ± {at.loc[n, 'standard_error']:.1g}" for n in (last // 4, last // 2, last)
        ]
        random = pixels[pixels["family"].eq(family) & pixels["rule"].eq(RANDOM)]
        goal = random.loc[random["pixels"].eq(last), "error"].iloc[0]
        reached = rows.loc[rows["error"] <= goal, "pixels"]
        ratio = DASH if rule == RANDOM else f"{at.loc[last, 'ratio']:.2f} ± {at.loc[last, 'ratio_error']:.2f}"
        first = f"{reached.min()} of {last}" if len(reached) else "not"
        lines.append([f"`{family}`", str(rule), *cells, ratio, first])
    return table(lines)


def draw(pixels: pd.DataFrame) -> Figure:
    """Error of the exact posterior mean against pixels observed, a panel a law; bands are one standard error."""
    families = list(pixels["family"].unique())
    with style({**PARAMETERS, "font.size": 8}):
        figure = Figure(figsize=(4.6 * len(families), 3.4), layout="constrained", dpi=130)
        FigureCanvasAgg(figure)
        for axes, family in zip(figure.subplots(1, len(families), squeeze=False)[0], families, strict=True):
            own = pixels[pixels["family"] == family]
            for colour, (rule, rows) in zip(COLOURS, own.groupby("rule", sort=False), strict=False):
                axes.plot(rows["pixels"], rows["error"], color=colour, lw=1.5, label=rule)
                low, high = (rows["error"] + sign * rows["standard_error"] for sign in (-1, 1))
                axes.fill_between(rows["pixels"], low, high, color=colour, alpha=0.15, lw=0)
            axes.set(yscale="log", xlabel="pixels observed", ylabel="squared error per pixel", title=family)
            axes.legend(fontsize=7)
    return figure


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def table(lines: list[list[str]]) -> str:
    """Cells as a table, the first line its head."""
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])
