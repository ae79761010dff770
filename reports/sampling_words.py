"""What reports/sampling.md says of the tables in reports/sampling/, in words."""

import numpy as np
import pandas as pd
from sampling_tables import APART, CONCENTRATION, DETECTED, LAW, LML, LONG, NEAR, WINDOWS, number, value

from gahb_bench.core.spec import parse

WAYS = ("euler", "heun", "euler-maruyama")
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
        "**Yes, and so do too few evaluations.** With the exact score and `heun` "
        f"{of('mmse', 'heun', 10)} are between modes at 10 evaluations, {of('mmse', 'heun', 10, 'far')} far from "
        f"all, and {of('mmse', 'heun', 160)} and {of('mmse', 'heun', 160, 'far')} at 160, as of exact images but for "
        f"chance; with `euler` {of('mmse', 'euler', 10)} and {of('mmse', 'euler', 160)} are between modes. The network "
        f"leaves {of('network', 'heun', 160, 'far')} far from all at 160 ({of('network', 'euler', 160, 'far')} by "
        f"`euler`, {of('network', 'euler-maruyama', 160, 'far')} by `euler-maruyama`), hardly less than at 40 "
        f"({of('network', 'heun', 40, 'far')}): these are the score's."
    )


def detector_said(rows: pd.DataFrame, curves: pd.DataFrame) -> str:
    """What the detector detects, of the network's samples."""
    here = rows[(rows["evaluations"] == DETECTED_AT) & (rows["denoiser"] == "network")]
    curves = curves[(curves["family"] == APART) & (curves["denoiser"] == "network") & (curves["flag"] == "far")]

    def of(sampler: str, window: str, family: str = APART, flag: str = "far") -> str:
        return f"{value(here, 'area', family=family, sampler=sampler, window=window, flag=flag):.2f}"

    def found(price: float) -> str:
        shares = (value(curves, "true", sampler=each, window="quarter", false=price) for each in WAYS)
        return "{:.0%}, {:.0%} and {:.0%}".format(*shares)

    begins = [value(here, "sigma", family=APART, sampler="heun", window=window, flag="far") for window in WINDOWS]
    near = here[(here["family"] == NEAR) & (here["sampler"] == "heun")]
    outside, far = (value(near, "share", flag=flag, window="quarter") for flag in ("between", "far"))
    early, late = ([of(sampler, window) for sampler in WAYS] for window in ("half", "quarter"))
    return (
        "**Yes in the last quarter of the steps, best with noise; not before.** In the lower half of the levels (for "
        f"`heun` from σ = {begins[0]:.2g}), when modes 0.25 apart are still to be chosen, the variance is that of the "
        f"choice: areas of {early[0]} (`{WAYS[0]}`), {early[1]} (`{WAYS[1]}`) and {early[2]} (`{WAYS[2]}`). In the "
        f"last quarter (from σ = {begins[1]:.2g}) they are {late[0]}, {late[1]} and {late[2]}: at the price of 5 % of "
        f"the other samples {found(0.05)} of those far from all are found, at that of 20 % {found(0.2)}. Aithal et al. "
        "remove over 95 % at the price of 4 %, with noise in every step, a network and modes of their own. Of the "
        "exact score it finds the outlying images that the law has itself, since there an estimate moves the more the "
        f"farther it is from its mode. On `{NEAR}` itself, whose modes are 8.3 deviations apart, there is little to be "
        f"found: {outside:.1%} of the network's samples by `heun` are between modes but {far:.2%} far from all; they "
        "are the rims of clouds that are too wide, and the variance does not tell them from the others "
        f"({of('heun', 'quarter', NEAR, 'between')})."
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
