"""reports/claims.md: the paper's claims, at the size of the shipped networks, from the numbers of the baseline.

python reports/claims.py
"""

import math
from pathlib import Path

import pandas as pd
from tables import total

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.networks.recipe import read_recipe, shipped
from gahb_bench.reporting.report import merged, write_figure
from gahb_bench.scoring.exponent import Fit

NEAR = 0.5  # dB of mean regret below which a network is called near-optimal
IMAGES = 128
HERE = Path(__file__).parent
SAME = 0.05  # difference of exponents that is called none
BASELINE = HERE / "baseline"
RIVALS = ("wavelet:shifts=all", "tv", "curvelet")
CLAIMS = {
    "calpha-32": "near-optimal on C^alpha images, with the optimal exponent",
    "contours-32": "near-optimal on C^alpha images with C^alpha contours",
    "disks-32": "clearly sub-optimal on a low-dimensional manifold, whose best basis is not harmonic",
    "shuffled-calpha-32": "sub-optimal on shuffled pixels, where the best basis is not harmonic either",
}
PAGE = """\
# The paper's claims, at a size that two processor cores can train

Kadkhodaie, Guth, Simoncelli and Mallat (ICLR 2024, [arXiv:2310.02557](https://arxiv.org/abs/2310.02557)) conclude that
denoising networks are near-optimal where the best basis is a geometry-adaptive harmonic one, and only there. This page
puts numbers on that, with the networks that are shipped here; it is made by `python reports/claims.py` ({images} images
of split test, {levels} noise levels from σ = {low:.2g} to {high:.2g}).

{table}

![Mean squared error and regret on three laws](claims.png)

*The shipped networks (teal) beside the optimum (black, or the bracket that holds it) and classical methods; on disks
none is near it. {pictured} images of the baseline.*

Regret is the distance to the optimum in dB, over all noise levels; for contours the optimum is known up to a bracket,
and the regret is to its geometric middle. Exponents are slopes of log MSE against log σ over σ in [0.01, 1], with the
standard error over images; *optimum here* is the same fit through the optimum at this image size, *asymptotic* what
theory says for large images and small noise. Compare a network with the optimum here: at 32 x 32 pixels the optimum
itself does not reach the asymptotic rate.

## What it says

{words}

## In which basis do they shrink?

{bases}

Means over {bases_images} images; from `reports/geometry/`, where [reports/geometry.md](geometry.md) has all of it, with
pictures.

## What is smaller than in the paper

- Images are 32 x 32, not 80 x 80.
- The networks have {parameters:.2f} million parameters, not 7.6 million, and saw {seen} images, a new one at each draw.
- They are told sigma and have biases and group norms (`edm-unet`); those of the paper are blind and bias-free U-Nets.
- One regularity, alpha = 2; the C^alpha images are Gaussian fields, whose optimum is known, not filtered uniform noise,
  and the contours are those of `calpha-contours`, not the paper's own construction, whose optimum is unknown.
- One training each, with one seed: the spread between trainings is not in the errors.
- A mean regret below {near:g} dB is called near-optimal here.
"""


def main() -> None:
    """Write the page."""
    recipes = {name: read_recipe(shipped()[name]) for name in CLAIMS}
    rows = ["| claim | images | mean regret | worst regret | exponent | optimum here | asymptotic |", "|" + "---|" * 7]
    words = []
    for name, claim in CLAIMS.items():
        family, denoiser = recipes[name]["family"], f"network:weights={name}"
        exact = gb.family(family).reference(DEFAULT_SIGMAS).kind == "exact"
        scores = gb.score(family, [denoiser, *(["mmse"] if exact else [])], DEFAULT_SIGMAS, images=IMAGES)
        curve = gb.curves(scores).query("denoiser == @denoiser")
        fit = gb.exponent(scores, family, denoiser)
        worst = curve.loc[curve["regret_db"].idxmax()]
        cells = [claim, f"`{family}`", f"{curve['regret_db'].mean():.2f} dB"]
        cells.append(f"{worst['regret_db']:.2f} dB at σ = {worst['sigma']:.2g}")
        cells.append(f"{fit.value:.3f} ± {fit.standard_error:.3f}")
        cells += [f"{fit.reference:.3f}", "–" if fit.asymptotic is None else f"{fit.asymptotic:.3f}"]
        rows.append("| " + " | ".join(cells) + " |")
        words.append(f"- `{family}`: {verdict(curve, fit)}")
    first = recipes["calpha-32"]
    seen = [total(recipe, "step") * recipe["settings"]["batch"] for recipe in recipes.values()]
    page = PAGE.format(
        near=NEAR,
        pictured=int(pd.read_csv(BASELINE / "curves.csv")["images"].max()),
        images=IMAGES,
        levels=len(DEFAULT_SIGMAS),
        low=min(DEFAULT_SIGMAS),
        high=max(DEFAULT_SIGMAS),
        table="\n".join(rows),
        words="\n".join(words),
        bases="\n".join(bases()),
        bases_images=_geometry("disks")["image"].nunique(),
        parameters=first["parameters"] / 1e6,
        seen=f"{min(seen):,} to {max(seen):,}",
    )
    (HERE / "claims.md").write_text(page, encoding="utf-8")
    families = [recipe["family"] for recipe in list(recipes.values())[:3]]
    shown = ["mmse", *(f"network:weights={name}" for name in list(recipes)[:3]), *RIVALS]
    write_figure(merged([BASELINE], families, shown), HERE / "claims.png", "double")


def verdict(curve: pd.DataFrame, fit: Fit) -> str:
    """What the numbers say, in words chosen by the numbers."""
    mean, most = (10 ** (value / 10) for value in (curve["regret_db"].mean(), curve["regret_db"].max()))
    small = 10 ** (curve[curve["sigma"] <= 0.1]["regret_db"].mean() / 10)
    if curve["regret_db"].mean() < NEAR:
        near = f"near-optimal, {mean - 1:.0%} above the optimum on average and {most - 1:.0%} at most"
    else:
        near = f"sub-optimal, {mean:.1f} times the optimal error on average, {small:.1f} times for σ up to 0.1"
    away = fit.value - fit.reference
    same = abs(away) < SAME
    return f"{near}; its exponent is {f'within {SAME:g} of the optimum' if same else f'off by {away:+.2f}'}."


def bases() -> list[str]:
    """What the Jacobians say of the networks on contours and on disks, from the tables of reports/geometry.py."""
    contours, disks = _geometry("contours"), _geometry("disks")
    law = gb.family(contours["family"].iloc[0])
    said = []
    for sigma in _levels(contours):
        network, genie = (_means(contours, name, sigma) for name in ("network:weights=contours-32", "genie"))
        true = law.shape[1] * law.shape[2] * law.reference(sigma).mse[0] / sigma**2
        said.append(
            f"- Contours, σ = {sigma:g}: the network keeps {network['dimension']:.0f} dimensions, the genie, told "
            f"the contour, {genie['dimension']:.0f}; tr J is {network['trace']:.0f}, that of the optimum {true:.0f} on "
            f"average. Of the energy of its 16 leading eigenvectors {network['straightened_harmonic']:.0%} lies in 10 "
            f"waves along the straightened contour, {network['harmonic']:.0%} in 10 plain waves (genie: "
            f"{genie['straightened_harmonic']:.0%} and {genie['harmonic']:.0%}); asymmetry {network['asymmetry']:.2f}."
        )
    for sigma in _levels(disks):
        network, truth = (_means(disks, name, sigma) for name in ("network:weights=disks-32", "mmse"))
        mmse = gb.family(disks["family"].iloc[0]).reference(sigma).mse[0]
        wrong = (network["error_symmetric"] + network["error_antisymmetric"]) / mmse
        costs = [10 * math.log10(1 + part) for part in (wrong, network["excess"] / mmse)]
        said.append(
            f"- Disks, σ = {sigma:g}: the network keeps {network['dimension']:.1f} dimensions where the truth has "
            f"{truth['dimension']:.1f}, {network['wasted']:.1f} of them outside the true space, of which it holds "
            f"{network['captured']:.0%}. Its wrong answer to the noise, |J - J*|, costs {costs[0]:.1f} dB; in all it "
            f"loses {costs[1]:.1f} dB on these images. Asymmetry {network['asymmetry']:.2f}: it is not close to the "
            "gradient of anything."
        )
    return said


def _geometry(name: str) -> pd.DataFrame:
    return pd.read_csv(HERE / "geometry" / name / "geometry.csv")


def _levels(rows: pd.DataFrame) -> list[float]:
    return sorted(rows["sigma"].unique())


def _means(rows: pd.DataFrame, denoiser: str, sigma: float) -> pd.Series:
    return rows[(rows["denoiser"] == denoiser) & (rows["sigma"] == sigma)].mean(numeric_only=True)


if __name__ == "__main__":
    main()
