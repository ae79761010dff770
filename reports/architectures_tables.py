"""The tables of reports/architectures.md."""

import math
import re
from operator import itemgetter

import numpy as np
import pandas as pd
from architectures_kept import DASH, FOLDER, MATCHED, Law, Trained, table

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.families.calpha.local import LocalMmse


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


def receptive(law: Law) -> str:
    """The regret of `rf-cnn` in two parts: the field's optimum over the whole one, and the network over the field's."""
    folder = FOLDER / "runs" / re.sub(r"[^\w=.]+", "-", law.family)
    scores = pd.read_parquet(folder / "scores.parquet")
    sigmas = np.asarray(DEFAULT_SIGMAS)
    best = gb.family(law.family).reference(sigmas).mse
    rows = [["field", "core-minutes", "σ", "regret", "of the architecture", "of the training", "below its optimum"]]
    found = [(re.match(r"rf-cnn(?:.*?field=(\d+))?", one.network), one) for one in law.networks if not one.seed]
    for field, one in sorted(((int(match[1] or 9), one) for match, one in found if match), key=itemgetter(0)):
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
