"""reports/posterior.md: which posterior samplers are right if the denoiser is exact: python reports/posterior.py

About 6 minutes of one core; stopped, the same command goes on with the methods. `python reports/posterior.py page`
makes the page and its figures alone, from the tables in reports/posterior/.
"""

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import choosing
import numpy as np
import pandas as pd
import torch
from choosing import COLOURS, SIGMA, short, table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gahb_bench.core.denoiser import UNTUNED
from gahb_bench.reporting.figure.drawing import MADE_BY, style
from gahb_bench.reporting.figure.figures import PARAMETERS
from gahb_bench.reporting.posterior.content import DETECTED, FAR
from gahb_bench.running.posterior.carry_out import plan_posterior, posterior_all
from gahb_bench.running.posterior.folder import COLUMNS, EXACT

HERE = Path(__file__).parent
FOLDER = HERE / "posterior"
SCRATCH = HERE.parent / "build" / "posterior"  # finished parts, by which a stopped computation goes on
OPERATORS = ("mask:keep=0.5", "blur", "downsample")
SCORES = {
    "regret_db": "regret, dB",
    "variance_ratio": "variance ratio",
    "calibration_p": "calibration, p",
    "energy": "energy distance",
}
FAILED = "failed"  # in the place of a statistic, where a method failed
DASH = "–"


@dataclass(frozen=True)
class Effort:
    """How many images, samples of each, noise levels and particles."""

    images: int
    samples: int
    steps: int
    particles: int

    @property
    def methods(self) -> list[str]:
        """Specs of all methods."""
        plain = [f"{name}:steps={self.steps}" for name in ("dps", "pigdm", "diffpir")]
        ensemble = f"ensemble:particles={self.particles},steps={self.steps}"
        return [*plain, f"red-diff:steps={2 * self.steps}", "pnp", ensemble]


LAWS = {
    "calpha:size=16": Effort(images=32, samples=9, steps=50, particles=32),
    "gmm:components=4,size=16": Effort(images=32, samples=9, steps=50, particles=32),
    "disks:size=16": Effort(images=16, samples=5, steps=20, particles=8),
}


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    if sys.argv[1:] != ["page"]:
        scored().to_csv(FOLDER / "methods.csv", index=False, float_format="%.6g")
        choosing.chosen().to_csv(FOLDER / "choosing.csv", index=False, float_format="%.6g")
    methods, pixels = tables()
    draw_methods(methods).savefig(FOLDER / "methods.png", metadata=MADE_BY["png"])
    choosing.draw(pixels).savefig(FOLDER / "choosing.png", metadata=MADE_BY["png"])
    (HERE / "posterior.md").write_text(page(methods, pixels), encoding="utf-8")


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The committed numbers: of methods, and of pixels chosen."""
    methods = pd.read_csv(FOLDER / "methods.csv", keep_default_na=False, na_values={name: [""] for name in _NUMBERS})
    return methods, pd.read_csv(FOLDER / "choosing.csv")


_NUMBERS = ("value", "standard_error", "due", "exact")


def scored() -> pd.DataFrame:
    """All methods with the exact denoiser, and the exact sampler: a row a statistic, as in ``posterior.csv``."""
    found = []
    for family, effort in LAWS.items():
        for operator in OPERATORS:
            plan = plan_posterior(family, operator, effort.methods, ["mmse"], SIGMA, effort.samples, effort.images)
            place = SCRATCH / f"{family.partition(':')[0]}-{operator.partition(':')[0]}"
            made = posterior_all(plan, place, command="python reports/posterior.py")
            first = made.rows.iloc[[0]][["family", "problem", "sigma", "samples", "images"]]
            rows = [made.rows.assign(reason="")]
            rows += [first.assign(**vars(each), evaluations=0, statistic=FAILED) for each in made.failures]
            found += [each.assign(weight=each["method"].map(plan.record["weights"]).fillna("")) for each in rows]
            print(f"scored {family} {operator}", flush=True)
    return pd.concat(found)[[*(name for name in COLUMNS if name != "seconds"), "weight", "reason"]]


def page(methods: pd.DataFrame, pixels: pd.DataFrame) -> str:
    """The page as text."""
    return PAGE.format(
        sigma=SIGMA,
        efforts="\n".join(
            f"- `{family}`: {own.images} images, {own.samples} samples of each, `{'`, `'.join(own.methods)}`"
            for family, own in LAWS.items()
        ),
        verdict=verdict(methods),
        sections="\n".join(section(methods, family) for family in methods["family"].unique()),
        choices=choosing.settings(pixels),
        choosing=choosing.comparison(pixels),
        far=f"{FAR:g}",
        detected=f"{DETECTED:g}",
    )


def right(row: pd.Series) -> bool:
    """Whether a statistic is what exact samples would have: within four standard errors, or a p-value of 0.001."""
    if row["statistic"] == "calibration_p":
        return bool(row["value"] >= DETECTED)
    return bool(abs(row["value"] - row["due"]) <= FAR * row["standard_error"] + 1e-9)


def verdict(methods: pd.DataFrame) -> str:
    """Of each method, in how many of the problems each score is right, and all of them; and what that comes to."""
    problems = methods.groupby(["family", "problem"]).ngroups
    own = methods[methods["statistic"].isin(SCORES)].copy()
    own["name"] = [spec.partition(":")[0] for spec in own["method"]]
    own["right"] = [right(row) for _, row in own.iterrows()]
    lines, always, drawing = [["method", *SCORES.values(), "all four"]], 0, 0
    for name, rows in own.groupby("name", sort=False):
        by_problem = rows.pivot(index=["family", "problem"], columns="statistic", values="right")
        cells = [f"{int(by_problem[score].sum())} of {problems}" if score in by_problem else DASH for score in SCORES]
        whole = DASH
        if DASH not in cells:
            count = int(by_problem.all(axis=1).sum())
            whole = f"{count} of {problems}"
            drawing += name != EXACT
            always += name != EXACT and count == problems
        lines.append([_name(str(name)), *cells, whole])
    told = f"Of {drawing} methods that draw samples {always or 'none'} {'is' if always < 2 else 'are'} right"
    return f"{told} in every problem and by all four scores.\n\n{table(lines)}"


def section(methods: pd.DataFrame, family: str) -> str:
    """One law: a row an operator and method."""
    lines = [["operator", "method", "weight", *SCORES.values(), "evaluations"]]
    for (problem, method), rows in methods[methods["family"] == family].groupby(["problem", "method"], sort=False):
        found = rows.set_index("statistic", drop=False)
        cells = [_cell(found.loc[score]) if score in found.index else DASH for score in SCORES]
        evaluations = FAILED if FAILED in found.index else f"{found['evaluations'].iloc[0]:,}"
        weight = _weight(str(method), str(rows["weight"].iloc[0]))
        lines.append([f"`{problem}`", _name(str(method)), weight, *cells, evaluations])
    due = methods.loc[methods["family"].eq(family) & methods["statistic"].eq("regret_db"), "due"].max()
    failed = methods[methods["family"].eq(family) & methods["statistic"].eq(FAILED)]
    told = "".join(
        f"\n{_name(row['method'])} with `{row['problem']}` failed: {row['reason']}\n" for _, row in failed.iterrows()
    )
    return f"### {family}\n\nA regret of {due:.2f} dB is due, as the samples are few.\n\n{table(lines)}\n{told}"


def draw_methods(methods: pd.DataFrame) -> Figure:
    """Variance ratio and regret of each method, a column a law, a mark an operator; bars are two standard errors."""
    families = list(methods["family"].unique())
    names = list(dict.fromkeys(spec.partition(":")[0] for spec in methods["method"]))
    with style({**PARAMETERS, "font.size": 8}):
        figure = Figure(figsize=(9.6, 5.2), layout="constrained", dpi=130)
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, len(families), squeeze=False, sharex="col")
        for column, family in enumerate(families):
            own = methods[methods["family"] == family]
            for line, statistic in enumerate(("variance_ratio", "regret_db")):
                axes = panels[line][column]
                for shift, (problem, rows) in enumerate(
                    own[own["statistic"] == statistic].groupby("problem", sort=False)
                ):
                    at = np.array([names.index(spec.partition(":")[0]) for spec in rows["method"]]) + 0.2 * (shift - 1)
                    axes.errorbar(
                        at, rows["value"], 2 * rows["standard_error"], fmt="osD"[shift], ms=4, lw=1,
                        color=COLOURS[shift], label=problem,
                    )  # fmt: skip
                axes.set_yscale("log" if line == 0 else "symlog", **({} if line == 0 else {"linthresh": 1}))
                axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
                axes.set_xlim(-0.6, len(names) - 0.4)
            panels[0][column].axhline(1, color="#555c66", lw=1, ls="--")
            panels[1][column].axhline(
                own["due"].where(own["statistic"] == "regret_db").max(), color="#555c66", lw=1, ls="--"
            )
            panels[0][column].set_title(family)
        panels[0][0].set_ylabel("variance ratio")
        panels[1][0].set_ylabel("regret of the mean, dB")
        panels[0][0].legend(fontsize=7)
    return figure


def _name(method: str) -> str:
    return "exact sampler" if method == EXACT else f"`{method.partition(':')[0]}`"


def _weight(method: str, words: str) -> str:
    """The weight that a spec gives, and whether it was not tuned."""
    found = re.search(r"weight=([^,]+)", method)
    if found is None:
        return DASH
    return f"{found[1]}, {UNTUNED}" if words.startswith(UNTUNED) else found[1]


def _cell(row: pd.Series) -> str:
    """A value with its standard error, bold where it is not right."""
    error = "" if math.isnan(row["standard_error"]) else f" ± {row['standard_error']:.1g}"
    text = f"{short(row['value'])}{error}"
    return text if right(row) else f"**{text}**"


PAGE = """\
# Are posterior samples right, when the denoiser is?

Images are measured, y = A x + σ z, σ = {sigma}, and methods that know the law by a denoiser alone draw posterior
samples. The denoiser is the exact posterior mean, so that what is wrong is the method's. The exact posterior is
known, and the exact sampler is scored beside them on the same images, with as many samples. Made by `python
reports/posterior.py` (about 6 minutes of one core) from nothing but the laws; the numbers stand in
`reports/posterior/methods.csv` and `choosing.csv`.

{efforts}

The weight of a method is tuned for each law and operator on measurements of split val, with the exact denoiser, by the
energy score of its samples against the truth (`python datasets/tables/make_weights.py`); where it is the published one
the tables say *untuned*. More noise levels may do better, above all on disks, where few are affordable. Images are of
split test, 16 x 16, and few, so that small faults do not show: a score that is called right is one that is not found
wrong.

## In how many problems is a method right?

{verdict}

- *regret* of the mean of the samples to the exact posterior mean, `10 log10(1 + excess / mmse)`; *variance ratio*, of
  the samples to the posterior; *energy distance* to exact posterior samples, without bias: each within {far} standard
  errors of what exact samples have. A regret below that is no merit: such samples vary too little.
- *calibration*: the truth's ranks among the samples in ten random projections are uniform, p at least {detected};
  of so few images it sees gross faults only.
- `pnp` makes one estimate of each image and no samples.

![Variance ratio and regret of each method, by law and operator](posterior/methods.png)

## Law by law

Numbers with their standard errors over images; bold where found wrong; evaluations of the denoiser for an image with
all its samples. The exact denoiser of disks is NaN where its quadrature is not certified, as it may be far from its
images: a method that meets that fails, and is counted as not right.

{sections}
## Which pixels to observe?

Pixels are observed one after the other, with noise of σ = {sigma}: where the exact posterior variance is largest; at
random; or where samples differ most, of the exact posterior or of a method with the exact denoiser. The error is that
of the exact posterior mean given what was observed, so that rules differ by what they choose alone. On disks no
method is asked: with few noise levels it meets images at which the exact denoiser is not certified.

{choices}

{choosing}

*Over random*: ratio of the mean errors at the end, on the same images. *Random's end reached*: after how many pixels
the mean error is that of all pixels in random order.

![Error against the number of pixels observed](posterior/choosing.png)
"""


if __name__ == "__main__":
    main()
