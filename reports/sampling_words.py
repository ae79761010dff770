"""What reports/sampling.md says of the tables in reports/sampling/, in words."""

import numpy as np
import pandas as pd
from sampling_tables import CONCENTRATION, DETECTED, LAW, LML, LONG, number, value

from gahb_bench.core.spec import parse

DETECTED_AT = 160
DENOISERS = ("calpha-32", "mmse")  # the network, and the exact one


def network_said(rows: pd.DataFrame) -> str:
    """What the shipped network makes of noise that is added."""
    learned = rows[rows["denoiser"] != "mmse"]

    def of(sampler: str, statistic: str = "mode variances") -> str:
        values = (value(rows, "value", denoiser=each, sampler=sampler, statistic=statistic) for each in DENOISERS)
        return " and ".join(map(number, values))

    told = learned[(learned["statistic"] == "energy distance") & (learned["p_value"] < DETECTED)]["sampler"]
    only = ", ".join(f"`{sampler}`" for sampler in told) or "none"
    return (
        "**With this network noise at low levels harms.** Errors of mode variances with the network and with the "
        f"exact denoiser are {of('heun')} for `heun`, {of('edm-sde:high=3')} for `edm-sde`, which adds no noise "
        f"below σ = 0.05, and {of('euler-maruyama')} for `euler-maruyama`, which adds it down to the last step: the "
        f"network leaves it there. By the energy distance, which sees whole images, told apart from the law: {only}. "
        "With the other samplers the network adds less to the statistics than 20 evaluations leave of "
        "discretisation, which the power spectrum detects with the exact denoiser too."
    )


def needed(rows: pd.DataFrame, sampler: str, distance: float) -> float:
    """Evaluations that a sampler needs to come so near, between budgets by a power law; NaN where none suffices."""
    own = rows[rows["sampler"] == sampler].sort_values("median")
    found = np.interp(np.log(distance), np.log(own["median"]), np.log(own["evaluations"]), left=np.nan, right=np.nan)
    return float(np.exp(found))


def teleport_said(rows: pd.DataFrame) -> str:
    """What skipping levels is worth: evaluations of the same sampler without it that come as near."""
    lines = []
    for of in ("heun", "dpm2m"):
        parts = []
        for sampler in dict.fromkeys(rows["sampler"]):
            spec = parse(sampler)
            if spec.parameters.get("of") == of:
                near = {each: value(rows, "median", sampler=sampler, evaluations=each) for each in LONG}
                own = [(budget, needed(rows, of, distance)) for budget, distance in near.items()]
                gained = [f"{budget} are worth {worth:.0f}" for budget, worth in own if worth > 1.1 * budget]
                parts.append(f"σ = {spec.parameters['sigma']}: " + (", ".join(gained) or "nothing is gained"))
        lines.append(
            f"- `{of}`, evaluations with teleportation and those without that come as near: " + "; ".join(parts) + "."
        )
    floor = {
        sigma: number(value(rows, "median", sampler=f"teleport:of=dpm2m,sigma={sigma}", evaluations=LONG[-1]))
        for sigma in ("5", "3", "2", "1")
    }
    left = ", ".join(f"{distance} from σ = {sigma}" for sigma, distance in floor.items())
    return (
        "\n".join(lines) + f"\n\nWhat the Gaussian gets wrong stays: at 80 evaluations a distance of {left}. The "
        "means of the 16 modes are 0.2 x 32 = 6.4 apart from their centre, so that the law no longer looks Gaussian "
        "at noise levels of that size: **teleportation pays for very few evaluations and high levels, and nowhere "
        "else.**"
    )


def damping_said(rows: pd.DataFrame) -> str:
    """Which damping is which extrapolation."""

    def of(sampler: str, budget: int) -> str:
        return number(value(rows, "median", sampler=sampler, evaluations=budget))

    return (
        "**Much, as it is the extrapolation.** With kappa = 1/2 small steps go as those of `gradient-estimation` "
        f"with gamma = 1 + 1 / (2 damping): damping 0.5 has {of(LML + '0.5', 10)} at 10 evaluations of `{LAW}`, "
        f"gamma = 2 {of('gradient-estimation', 10)}; damping 1 has {of(LML + '1', 10)}, gamma = 1.5 "
        f"{of('gradient-estimation:gamma=1.5', 10)}. Much damping is `euler` ({of(LML + '8', 10)} beside "
        f"{of('euler', 10)}), little overshoots: with 0.1 the distance is {of(LML + '0.1', 10)}."
    )


def modes_said(rows: pd.DataFrame) -> str:
    """Samples between modes: of the sampler, and of the network."""
    shares = rows.drop_duplicates(["denoiser", "sampler", "evaluations", "flag"])

    def of(denoiser: str, sampler: str, budget: int, flag: str = "between") -> str:
        return f"{value(shares, 'share', denoiser=denoiser, sampler=sampler, evaluations=budget, flag=flag):.2%}"

    return (
        "**Too few evaluations hallucinate more than the score.** With the exact score and `heun` "
        f"{of('mmse', 'heun', 10)} are between modes at 10 evaluations, {of('mmse', 'heun', 10, 'far')} far from "
        f"all, and {of('mmse', 'heun', 160)} at 160, as of exact images but for chance; with `euler` "
        f"{of('mmse', 'euler', 10)} and {of('mmse', 'euler', 160)}. With the network {of('network', 'heun', 160)} "
        f"are left at 160, but {of('network', 'heun', 160, 'far')} are far from all: its modes are too wide or "
        "displaced, and it hardly interpolates between them. More evaluations do not help it."
    )


def detector_said(rows: pd.DataFrame) -> str:
    """What the detector detects, by `heun`."""
    here = rows[(rows["evaluations"] == DETECTED_AT) & (rows["flag"] == "between") & (rows["sampler"] == "heun")]
    first, late = here["window"].max(), 0.05

    def of(denoiser: str, window: float) -> str:
        return f"{value(here, 'area', denoiser=denoiser, window=window):.2f}"

    return (
        f"**Not as a rule.** In the lower half of the levels (for `heun` from σ = {first:.2g}, when modes 0.25 apart "
        "are still to be chosen) the variance is that of the choice, and is smaller for samples between modes: "
        f"areas of {of('mmse', first)} with the exact score and {of('network', first)} with the network. From σ = "
        f"{late:g} down it finds the few outlying samples of the exact score ({of('mmse', late)}), since there an "
        "estimate moves the more the farther it is from its mode; of those that the network made by `heun` it tells "
        f"none ({of('network', late)})."
    )


def concentration_said(rows: pd.DataFrame) -> str:
    """Which samples have other laws of these functions."""

    def of(sampler: str, statistic: str) -> str:
        return number(value(rows, "value", denoiser=DENOISERS[0], sampler=sampler, statistic=statistic))

    here = rows[rows["statistic"].isin(CONCENTRATION) & (rows["p_value"] < DETECTED)]
    told = dict.fromkeys(
        f"`{denoiser}` by `{sampler}`" for denoiser, sampler in zip(here["denoiser"], here["sampler"], strict=True)
    )
    return (
        f"Told apart from the law: {', '.join(told) or 'none'}. Samples of `{DENOISERS[0]}` by `heun` concentrate as "
        f"images of the law do, with {of('heun', CONCENTRATION[1])} and {of('heun', CONCENTRATION[3])} of the "
        "extremes that are due. By `euler-maruyama` their total variation has another law altogether (distance "
        f"{of('euler-maruyama', CONCENTRATION[2])} of at most 1): they are all too rough."
    )
