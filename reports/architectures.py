"""reports/architectures.md: architectures on equal terms, each beside the optimum: python reports/architectures.py

    python -m gahb_bench train --plan reports/architectures.toml       trains them (15 minutes of one core each)
    python reports/architectures.py trained/architectures              keeps what is finished, then makes the page

Of each finished training settings, log and best weights (in half precision unless they are few) are kept in
reports/architectures/; the scores of all networks of a law stand in reports/architectures/runs/. A second go computes
only what is new.
"""

import json
import math
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from geometry import table as jacobians
from matplotlib.ticker import NullFormatter
from scipy import stats
from ship import rounded

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.core.spec import format_spec
from gahb_bench.families.calpha.local import LocalMmse
from gahb_bench.networks import weights
from gahb_bench.networks.recipe import read_recipe, shipped_for
from gahb_bench.reporting.figure.drawing import style
from gahb_bench.running import engine
from gahb_bench.running.geometry import measure_all
from gahb_bench.running.geometry_folder import read
from gahb_bench.running.plan import make_plan
from gahb_bench.training import plan as plans

HERE = Path(__file__).parent
FOLDER = HERE / "architectures"
IMAGES = 64
GEOMETRY_IMAGES, GEOMETRY_SIGMAS = 4, (0.1, 0.3)
MAIN = ("calpha:size=32", "calpha-contours:size=32", "disks:size=32", "hierarchy:depth=5")
MATCHED = {  # the law whose optimum has the form of the network
    "calpha:size=32": "mixture:components=1",
    "hierarchy:depth=5": "bp-unet",
    "besov:size=32": "shrinkage",
    "gmm:size=32": "mixture",
    "markov-contours:size=32": "chain",
}
NEAR_DB, FARTHEST = 0.1, 100
FIT = (0.1, 0.7)  # part of the steps in which a power law is fitted: after the warm-up, before the cosine's end
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


def keep(source: Path) -> None:
    """Take the finished trainings of a plan's folder into the project, rounded."""
    for folder in sorted(source.iterdir()):
        if not (folder / "last.safetensors").exists():
            continue
        last, best = read_recipe(folder / "last.safetensors"), folder / "best.safetensors"
        if last["step"] < last["settings"]["steps"]:
            continue
        target = FOLDER / folder.name
        target.mkdir(parents=True, exist_ok=True)
        weights.save(target / best.name, rounded(weights.read_tensors(best)), read_recipe(best))
        for name in ("training.json", "log.jsonl"):
            shutil.copyfile(folder / name, target / name)
        print(f"kept {folder.name}", flush=True)


def trained() -> list[Trained]:
    """All trainings that are kept, seed by seed."""
    found = [Trained(path.parent) for path in sorted(FOLDER.glob("*/best.safetensors"))]
    return sorted(found, key=lambda one: (one.seed, one.network))


def scored(family: str, those: list[Trained]) -> pd.DataFrame:
    """The summary of a run of all networks of a law, computed as far as it is not there: rows by denoiser spec."""
    law = gb.family(family)
    exact = ["mmse"] if law.reference(DEFAULT_SIGMAS).kind == "exact" or law.name == "hierarchy" else []
    local = [f"local-mmse:patch={field}" for field in fields(those)] if law.name == "calpha" else []
    old = [f"network:weights={name}" for name in shipped_for(law.spec)]
    plan = make_plan([law], [*exact, *local, *old, *(one.spec for one in those)], images=IMAGES)
    name = re.sub(r"[^\w=.]+", "-", family)
    outcome = engine.run(plan, FOLDER / "runs" / name, command="python reports/architectures.py")
    return outcome.summary.set_index("denoiser")


def fields(those: list[Trained]) -> list[int]:
    """The receptive fields of the `rf-cnn` among them."""
    found = [re.search(r"rf-cnn:.*?field=(\d+)", one.recipe["network"]) for one in those]
    default = [9 for one in those if one.network == "rf-cnn"]
    return sorted({int(match[1]) for match in found if match} | set(default))


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


def cell(law: Law, one: Trained) -> str:
    """Mean regret with its interval, worst regret, bits."""
    row = law.summary.loc[one.spec]
    half = (row["mean_regret_db_high"] - row["mean_regret_db_low"]) / 2
    bits = f"{row['excess_bits']:.3g} b" if math.isfinite(row["excess_bits"]) else DASH
    mean = f"{row['mean_regret_db']:.2f} ± {half:.2f}"
    bold = "**" if one is law.best([other for other in law.networks if other.seed == 0]) else ""
    return f"{bold}{mean}{bold} ({row['worst_regret_db']:.1f}; {bits})"


def matrix(laws: list[Law]) -> str:
    """Architectures by laws."""
    names = list(dict.fromkeys(one.network for law in laws for one in law.networks))
    parts = {name: [one for law in laws for one in law.networks if one.network == name] for name in names}
    matched = {spec.partition(":")[0] for spec in MATCHED.values()}
    names.sort(key=lambda name: (name.partition(":")[0] in matched, name))
    rows = [["architecture", "parameters", *(f"`{law.family}`" for law in laws)]]
    for name in names:
        counts = {one.recipe["parameters"] for one in parts[name]}
        cells = []
        for law in laws:
            one = next((one for one in law.networks if one.network == name and one.seed == 0), None)
            mark = " ◆" if one is not None and MATCHED.get(law.family) == name else ""
            cells.append(DASH if one is None else cell(law, one) + mark)
        rows.append([f"`{name}`", " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)})), *cells])
    return table([*rows, ["shipped", DASH, *(shipped(law) for law in laws)]])


def shipped(law: Law) -> str:
    """The regret of the networks that come with the package."""
    specs = [spec for spec in law.summary.index if spec.startswith("network:weights=") and "/" not in spec]
    return " / ".join(f"{law.regret(spec):.2f}" for spec in specs) or DASH


def budgets(laws: list[Law]) -> str:
    """What the budget bought: steps, images, time of a step, speed of scoring."""
    rows = [["architecture", "law", "core-minutes", "images seen", "images/s scored", "exponent error"]]
    for law in laws:
        for one in law.networks:
            row = law.summary.loc[one.spec]
            error = row["exponent"] - row["reference_exponent"]
            exponent = f"{error:+.3f} ± {row['exponent_error']:.3f}" if math.isfinite(error) else DASH
            seed = f", seed {one.seed}" if one.seed else ""
            images = f"{int(one.log['images'].iloc[-1]):,}"
            speed = f"{row['images_per_second']:.3g}"
            rows.append([f"`{one.network}`{seed}", f"`{law.family}`", f"{one.minutes:.1f}", images, speed, exponent])
    return table(rows)


def bias(laws: list[Law]) -> str:
    """What the right form is worth, against the best of the general architectures."""
    rows = [["law", "matched", "regret", "bits", "best general one", "regret", "bits", "the form is worth"]]
    for law in laws:
        name = MATCHED.get(law.family)
        one = next((one for one in law.networks if one.network == name), None)
        rival = law.best(law.general)
        if rival is None:
            continue
        known = (
            [DASH] * 3
            if one is None
            else [f"`{one.network}`, {one.recipe['parameters']:,} parameters", *regret_and_bits(law, one)]
        )
        worth = "no matched architecture is known: open" if name is None else DASH
        if one is not None:
            worth = f"{law.regret(rival.spec) - law.regret(one.spec):.2f} dB"
            ours, theirs = (law.summary.loc[each.spec, "excess_bits"] for each in (one, rival))
            worth += f", {theirs - ours:.3g} bits a pixel" if math.isfinite(theirs - ours) else ""
        rows.append([f"`{law.family}`", *known, f"`{rival.network}`", *regret_and_bits(law, rival), worth])
    return table(rows)


def regret_and_bits(law: Law, one: Trained) -> list[str]:
    bits = law.summary.loc[one.spec, "excess_bits"]
    return [f"{law.regret(one.spec):.3f} dB", f"{bits:.3g}" if math.isfinite(bits) else DASH]


@dataclass(frozen=True)
class PowerLaw:
    """regret ~ minutes^-rate, fitted to the validations between the warm-up and the end of the cosine."""

    rate: float
    error: float
    explained: float
    count: int

    @property
    def holds(self) -> bool:
        return self.count >= 6 and self.explained > 0.9 and self.rate > 2 * self.error


def power_law(one: Trained) -> PowerLaw:
    steps = one.recipe["settings"]["steps"]
    log = one.log.dropna(subset=["mean_regret_db"]) if "mean_regret_db" in one.log else one.log.iloc[:0]
    part = log[(log["step"] > FIT[0] * steps) & (log["step"] < FIT[1] * steps) & (log["mean_regret_db"] > 0)]
    if len(part) < 3:
        return PowerLaw(math.nan, math.nan, math.nan, len(part))
    fit = stats.linregress(np.log(part["minutes"]), np.log(part["mean_regret_db"]))
    margin = float(fit.stderr) * float(stats.t.ppf(0.975, len(part) - 2))
    return PowerLaw(-float(fit.slope), margin, float(fit.rvalue) ** 2, len(part))


def learning(laws: list[Law]) -> str:
    """Rates of learning, and what they would come to."""
    rows = [["law", "architecture", "at the end", "rate", "explained", f"minutes to {NEAR_DB:g} dB (extrapolated)"]]
    for law in laws:
        for one in law.networks:
            if one.seed or "mean_regret_db" not in one.log:
                continue
            final = float(one.log["mean_regret_db"].dropna().iloc[-1])
            found = power_law(one)
            rate = f"{found.rate:.2f} ± {found.error:.2f}" if found.holds else "no power law"
            explained = f"{found.explained:.2f}" if math.isfinite(found.explained) else DASH
            names = f"`{law.family}`", f"`{one.network}`"
            rows.append([*names, f"{final:.3f} dB", rate, explained, reach(one, final, found)])
    return table(rows)


def reach(one: Trained, final: float, found: PowerLaw) -> str:
    """Minutes to `NEAR_DB`: seen, or along the power law from the end, with the interval of its rate."""
    reached = one.log[one.log["mean_regret_db"] <= NEAR_DB]
    if len(reached):
        return f"{reached['minutes'].iloc[0]:.1f} (seen)"
    if not found.holds:
        return DASH
    rates = found.rate + found.error, found.rate - found.error
    if rates[1] <= 0 or np.log(final / NEAR_DB) > rates[1] * np.log(FARTHEST):
        return f"more than {FARTHEST} budgets"
    ends = [one.minutes * (final / NEAR_DB) ** (1 / rate) for rate in rates]
    return " to ".join(f"{end:.2g}" for end in ends)


def receptive(law: Law) -> str:
    """The regret of `rf-cnn` in two parts: the field's optimum over the whole one, and the network over the field's."""
    folder = FOLDER / "runs" / re.sub(r"[^\w=.]+", "-", law.family)
    scores = pd.read_parquet(folder / "scores.parquet")
    sigmas = np.asarray(DEFAULT_SIGMAS)
    best = gb.family(law.family).reference(sigmas).mse
    rows = [["field", "core-minutes", "σ", "regret", "of the architecture", "of the training", "below its optimum"]]
    for one in law.networks:
        match = re.match(r"rf-cnn(?:.*?field=(\d+))?", one.network)
        if match is None or one.seed:
            continue
        field = int(match[1] or 9)
        least = LocalMmse(patch=field).bind(gb.family(law.family)).risk(sigmas)
        for index in range(0, len(sigmas), 3):
            own, local = (grid(scores, spec, sigmas[index]) for spec in (one.spec, f"local-mmse:patch={field}"))
            difference = own - local
            error = difference.std(ddof=1) / math.sqrt(len(difference))
            part = 10 * math.log10(least[index] / best[index])
            training = 10 * math.log10(1 + max(difference.mean(), 0) / least[index])
            below = f"{-difference.mean() / error:.1f} s.e." if difference.mean() < 0 else "no"
            numbers = (f"{value:.2f}" for value in (part + training, part, training))
            rows.append([str(field), f"{one.minutes:.0f}", f"{sigmas[index]:.3g}", *numbers, below])
    return table(rows)


def grid(scores: pd.DataFrame, denoiser: str, sigma: float) -> np.ndarray:
    rows = scores[(scores["denoiser"] == denoiser) & np.isclose(scores["sigma"], sigma)]
    return rows.sort_values("image")["mse"].to_numpy()


def geometry(law: Law) -> str:
    """The Jacobians of the best and the worst general network of a law."""
    ranked = sorted(law.general, key=lambda one: law.regret(one.spec))
    if len(ranked) < 2:
        return ""
    pair = [ranked[0], ranked[-1]]
    exact = ["mmse"] if "mmse" in law.summary.index else []
    plan = make_plan([law.family], [*exact, *(one.spec for one in pair)], GEOMETRY_SIGMAS, GEOMETRY_IMAGES)
    folder = FOLDER / "geometry" / re.sub(r"[^\w=.]+", "-", law.family)
    measure_all(plan, folder, command="python reports/architectures.py")
    rows = read(folder).rows.replace({"denoiser": {one.spec: one.network for one in pair}})
    return f"`{law.family}`:\n\n{jacobians(rows, law.family)}\n"


def seeds(laws: list[Law]) -> str:
    """The spread between two trainings that differ by their seed."""
    found = []
    for law in laws:
        for one in (one for one in law.networks if one.seed):
            first = next(other for other in law.networks if other.network == one.network and other.seed == 0)
            pair = f"{law.regret(first.spec):.3f} and {law.regret(one.spec):.3f} dB"
            found.append(f"Two seeds of `{one.network}` on `{law.family}`: {pair}.")
    if not found:
        return "No architecture has been trained twice yet: how far trainings differ by luck is not known."
    return " ".join(found) + " So differences of this size between two architectures may be luck."


def draw(laws: list[Law], path: Path) -> None:
    """Curves of learning: a panel a law, regret against core-minutes and against images seen."""
    names = list(dict.fromkeys(one.network for law in laws for one in law.networks if one.seed == 0))
    colours = matplotlib.colormaps["tab20"]
    with style({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(2, len(laws), figsize=(2.6 * len(laws), 5.6), sharey="col", squeeze=False)
        for column, law in enumerate(laws):
            for row, (x, label) in enumerate((("minutes", "minutes of one core"), ("images", "images seen"))):
                axes = panels[row, column]
                for one in law.networks:
                    if one.seed or "mean_regret_db" not in one.log:
                        continue
                    log = one.log.dropna(subset=["mean_regret_db"])
                    place = names.index(one.network)
                    axes.plot(log[x], log["mean_regret_db"], color=colours(place % 20), label=one.network, lw=1.1)
                axes.set(xscale="log", yscale="log", xlabel=label)
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.axhline(NEAR_DB, color="0.6", lw=0.8, ls=":")
            panels[0, column].set_title(law.family, fontsize=8)
        panels[0, 0].set_ylabel("mean regret on split val, dB")
        panels[1, 0].set_ylabel("mean regret on split val, dB")
        handles: dict[str, Any] = {}
        for axes in panels[0]:
            handles |= {line.get_label(): line for line in axes.get_lines() if line.get_label() in names}
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=6, frameon=False)
        figure.tight_layout(rect=(0, 0.02 + 0.035 * -(-len(handles) // 6), 1, 1))
        figure.savefig(path, dpi=130, metadata={"Software": "gahb_bench"})
        plt.close(figure)


def table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


PAGE = """\
# Architectures on equal terms, each beside the optimum

Made by `python reports/architectures.py` from the trainings in `reports/architectures/`, which
`python -m gahb_bench train --plan reports/architectures.toml` makes: the same images in the same order, the same
schedule, the same minutes of one core. {done} of {planned} trainings are in.

## The matrix

Mean regret over noise levels in dB, with half of its 95 % interval over images, ({images} images of split test); in
brackets the worst over noise levels, and excess bits a pixel where the exact posterior mean is known at every level. ◆
marks the architecture that has the form of the law's optimum; bold is the best of a law.

{matrix}

{seeds}

## What is an inductive bias worth?

{bias}

## Curves of learning

![Mean regret against core-minutes and images seen](architectures/learning.png)

Mean regret on split val of the running average of the weights. A *rate* is the exponent b of regret ~ minutes^-b, with
its 95 % interval, fitted between {start:.0%} and {stop:.0%} of the steps, and stated where it explains at least 0.9 of
the variance; at the end the cosine brings more than any power law. Minutes beyond the budget are extrapolated along it.

{learning}

## A receptive field against its optimum

`rf-cnn` sees field x field pixels. What the best denoiser of that field loses on the optimum is the part of the
architecture (`local-mmse`, a closed form); the rest, on the same images, is the part of the training and of being
blind to σ. No network may be below the optimum of its own field by more than 3 standard errors.

{receptive}

## The best and the worst in their Jacobians

The general architectures with the least and the largest mean regret of each law, beside the optimum where its posterior
covariance is known; means over {geometry_images} images. [reports/geometry.md](geometry.md) says what the columns are.

{geometry}
## What the budget bought

{budgets}
"""


def main() -> None:
    torch.set_num_threads(1)
    for source in sys.argv[1:]:
        keep(Path(source))
    known = trained()
    order = [*MAIN, *(family for family in MATCHED if family not in MAIN)]
    order += [family for family in dict.fromkeys(one.family for one in known) if family not in order]
    laws = []
    for family in order:
        those = [one for one in known if one.family == family]
        if those:
            laws.append(Law(family, those, scored(family, those)))
            print(f"{family}: {len(those)} networks", flush=True)
    draw(laws, FOLDER / "learning.png")
    calpha = next(law for law in laws if law.family == "calpha:size=32")
    page = PAGE.format(
        done=len(known),
        planned=len(plans.read(HERE / "architectures.toml")),
        images=IMAGES,
        matrix=matrix(laws),
        seeds=seeds(laws),
        bias=bias(laws),
        start=FIT[0],
        stop=FIT[1],
        learning=learning(laws),
        receptive=receptive(calpha),
        geometry="\n".join(geometry(law) for law in laws if law.family in MAIN),
        geometry_images=GEOMETRY_IMAGES,
        budgets=budgets(laws),
    )
    (HERE / "architectures.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
