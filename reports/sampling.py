"""reports/sampling.md: questions about samplers, each with the truth beside it: python reports/sampling.py

Measures what is not in reports/sampling/*.csv (about 5 minutes of one core; delete a file to have it measured again),
then draws the figure and writes the page from these files alone.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sampling_page import page
from sampling_tables import APART, LAW, LEARNED_FINE, LEARNED_SAMPLES, LML, LONG, MIXTURE, NEAR, write_figure
from scipy.stats import chi2
from torch import Tensor

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images, per_pixel
from gahb_bench.core.statistics import Seen
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.samplers.starts import gaussian
from gahb_bench.sampling.exact import responses
from gahb_bench.sampling.samples import HIGH, draw, levels_within
from gahb_bench.sampling.trajectory import TrajectoryVariance, late
from gahb_bench.scoring.detection import Detection, detection
from gahb_bench.scoring.sample_statistics import sample_statistics

HERE = Path(__file__).parent
FOLDER = HERE / "sampling"
NETWORK = "calpha-32"

DETERMINISTIC = ("euler", "heun", "dpm2m")
STOCHASTIC = ("edm-sde", "euler-maruyama", "langevin:steps=4")
EXTRAPOLATING = ("gradient-estimation", "gradient-estimation:gamma=1.5")
MOMENTA = tuple(f"heavy-ball:beta={beta}" for beta in (0.6, 0.8, 0.9, 1.2, 1.5))

WRONG_BUDGETS = (20, 80, 320)
MISTOLD = 1.3  # the wrong denoiser takes the noise level for so many times what it is
WRONG = {"nowhere": (0.0, 0.0), "above 3": (3.0, np.inf), "1 to 3": (1.0, 3.0), "below 0.3": (0.0, 0.3)}

FLOWING = 64  # samples that are compared with the flow
DAMPINGS = (0.1, 0.25, 0.5, 1.0, 2.0, 8.0)
TELEPORTED = (5.0, 3.0, 2.0, 1.0)
FINE = 640  # evaluations of heun that stand for the flow where it has no closed form

NETWORK_HIGH, NETWORK_STEPS, NETWORK_SAMPLES = 3.0, 20, 256  # the network was trained up to sigma = 3.2
LEARNED = {  # networks that ship, and their laws
    "calpha-32": "calpha:size=32",
    "calpha-32-mixture": "calpha:size=32",
    "besov-32": "besov:size=32",
    "besov-32-shrinkage": "besov:size=32",
    "gmm-32-mixture": "gmm:size=32",
    "hierarchy-32": "hierarchy:depth=5",
    "hierarchy-32-bp-unet": "hierarchy:depth=5",
    "markov-contours-32-chain": "markov-contours:size=32",
}
LEARNED_BUDGETS = (6, 10, 20, 40, 80)
POINT_SAMPLES = 4096
WAYS = ("euler", "heun")
WINDOWS = (0.1, 0.02)  # noise levels from which down the variance of a trajectory is taken, beside parts of the levels
ADDRESS = ("denoiser", "sampler", "evaluations", "flag", "window")
FAR = 1e-6  # share of a mode's images that are farther from it than what is called far
TRAINING = 20_000  # points that the small network learns from
RATES = np.linspace(0, 1, 41)  # false positives at which the curve of the detector is kept


def exact_errors() -> pd.DataFrame:
    """The exact error of samplers with the exact denoiser on a Gaussian law."""
    rows = []
    for sampler in (*DETERMINISTIC, *STOCHASTIC, *EXTRAPOLATING, *MOMENTA):
        for start in ("exact", "gaussian"):
            for budget in LONG:
                try:
                    found = gb.sampling.exact_error(LAW, sampler, budget, start=start)
                except UsageError:  # the budget does not suffice
                    continue
                rows.append((sampler, start, budget, found.w2))
    return pd.DataFrame(rows, columns=["sampler", "start", "evaluations", "w2"])


def wrong_errors() -> pd.DataFrame:
    """The exact error, from exact starts, with a denoiser that is told a wrong noise level over a range of them."""
    variances = gb.family(LAW).optimum.gaussian().variances
    power, count = torch.unique(variances, return_counts=True)
    rows = []
    for sampler in (*DETERMINISTIC, *STOCHASTIC):
        way = make.sampler(sampler)
        for budget in WRONG_BUDGETS:
            levels = levels_within(way, budget)
            for where, (low, high) in WRONG.items():
                for factor in (MISTOLD, 1 / MISTOLD):
                    response, added = responses(way, power, levels, mistold(power, low, high, factor))
                    final = (response**2 * (power + levels[0] ** 2) + added).sqrt()
                    w2 = float(((final - power.sqrt()).square() * count).sum() / count.sum()) ** 0.5
                    rows.append((sampler, where, "over" if factor > 1 else "under", budget, w2))
    made = pd.DataFrame(rows, columns=["sampler", "where", "told", "evaluations", "w2"])
    return made[(made["where"] != "nowhere") | (made["told"] == "over")]


def mistold(power: Tensor, low: float, high: float, factor: float) -> Callable[[Images, Tensor], Images]:
    """The exact denoiser of modes of these variances, told ``factor sigma`` where low <= sigma < high."""

    def denoise(y: Images, sigma: Tensor) -> Images:
        told = per_pixel(torch.where((sigma >= low) & (sigma < high), factor * sigma, sigma), y)
        return power / (power + told**2) * y

    return denoise


def flow_errors() -> pd.DataFrame:
    """How far samples with the exact denoiser are from where the probability flow leads from the same noise."""
    law, mixture = gb.family(LAW), gb.family(MIXTURE)
    start = gaussian(law.shape, range(FLOWING), HIGH)
    fine = gb.sample("mmse", mixture, "heun", FINE, FLOWING)
    targets = {LAW: law.optimum.gaussian().flow(start.images, HIGH, 0.0), MIXTURE: fine.images.double()}
    samplers = ["euler", *EXTRAPOLATING, *(f"{LML}{value:g}" for value in DAMPINGS)]
    both = [*samplers, "heun", "dpm2m", "heavy-ball:beta=0.8", "heavy-ball:beta=1.5"]
    skipping = [f"teleport:of={of},sigma={sigma:g}" for of in ("heun", "dpm2m") for sigma in TELEPORTED]
    rows = []
    for spec, named in ((LAW, both), (MIXTURE, [*both, *skipping])):
        for sampler in named:
            for budget in LONG:
                found = gb.sample("mmse", spec, sampler, budget, FLOWING).images.double()
                away = (found - targets[spec]).flatten(1).square().mean(dim=1).sqrt()
                rows.append((spec, sampler, budget, float(away.median())))
    return pd.DataFrame(rows, columns=["family", "sampler", "evaluations", "median"])


def network_statistics() -> pd.DataFrame:
    """Statistics of samples of a shipped network and of the exact denoiser, from noisy images of the law."""
    law, rows = gb.family(LAW), []
    for denoiser in ("mmse", NETWORK):
        for sampler in ("euler", "heun", "edm-sde:high=3", "euler-maruyama"):
            per_step = 2 if sampler.startswith(("heun", "edm")) else 1
            levels = falling_levels(NETWORK_HIGH, 0.002, NETWORK_STEPS // per_step)
            drawn = gb.sample(denoiser, law, sampler, NETWORK_STEPS, NETWORK_SAMPLES, start="exact", levels=levels)
            found = sample_statistics(law, drawn.images)
            rows.append(found.assign(denoiser=denoiser, sampler=sampler))
    columns = ["denoiser", "sampler", "statistic", "value", "floor", "p_value"]
    return pd.concat(rows, ignore_index=True)[columns]


def learned_errors() -> pd.DataFrame:
    """Median distance of samples to those of the exact denoiser at many evaluations, from the same noisy images."""
    rows = []
    for network, spec in LEARNED.items():
        law = gb.family(spec)

        def drawn(denoiser: str, budget: int, law: Family = law) -> Tensor:
            levels = falling_levels(NETWORK_HIGH, 0.002, budget // 2)
            found = gb.sample(denoiser, law, "heun", budget, LEARNED_SAMPLES, start="exact", levels=levels)
            return found.images.flatten(1)

        exact = drawn("mmse", LEARNED_FINE)
        for denoiser in ("mmse", network):
            for budget in LEARNED_BUDGETS:
                away = (drawn(denoiser, budget) - exact).square().mean(dim=1).sqrt()
                rows.append((spec, network, denoiser, budget, float(away.median())))
    return pd.DataFrame(rows, columns=["family", "network", "denoiser", "evaluations", "median"])


def point_modes() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Samples between modes, with the exact score and with a small network's, and how well they are detected."""
    made = [points_of(gb.family(spec)) for spec in (APART, NEAR)]
    rows, curves = (pd.concat(tables, ignore_index=True) for tables in zip(*made, strict=True))
    return rows, curves


def points_of(law: Family) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of one law."""
    trained = perceptron(law.sample(range(TRAINING), split="train").images.flatten(1))
    denoisers = {"mmse": gb.denoiser("mmse", law), "network": gb.denoiser(trained, law, sigma_as="tensor")}
    nothing = {"family": law.spec, "window": "", **dict.fromkeys(("sigma", "area", "error"), np.nan)}
    exact = outside(law, law.sample(range(POINT_SAMPLES)).images)
    rows: list[dict[str, object]] = [
        nothing | {"denoiser": "exact images", "evaluations": 0, "flag": flag, "share": flags.mean()}
        for flag, flags in exact.items()
    ]
    curves = []
    for (name, denoiser), sampler, budget in product(denoisers.items(), (*WAYS, "euler-maruyama"), (10, 40, 160)):
        way = make.sampler(sampler)
        levels = levels_within(way, budget)
        begins = {"half": float(levels[len(levels) // 2]), "quarter": late(levels)}
        begins |= {f"{window:g}": window for window in WINDOWS}
        variances = {
            window: TrajectoryVariance(torch.zeros(POINT_SAMPLES, *law.shape), sigma)
            for window, sigma in begins.items()
        }
        watch = partial(_watch, list(variances.values()))
        drawn = draw(denoiser, law, way, levels, range(POINT_SAMPLES), observe=watch)
        for (flag, flags), (window, variance) in product(outside(law, drawn.images).items(), variances.items()):
            scores = variance.value.numpy()
            able = 0 < flags.sum() < len(flags) and not np.isnan(scores).any()
            found = detection(scores, flags) if able else None
            address = dict(zip(ADDRESS, (name, sampler, budget, flag, window), strict=True))
            measured = {"area": found.area, "error": found.error} if found else {}
            rows.append(nothing | address | {"sigma": begins[window], "share": flags.mean()} | measured)
            if found and budget == 160:
                curves.append(curve(found).assign(family=law.spec, **address))
    columns = ["family", *ADDRESS, "share", "sigma", "area", "error"]
    return pd.DataFrame(rows)[columns], pd.concat(curves, ignore_index=True)[["family", *ADDRESS, "false", "true"]]


def _watch(those: list[TrajectoryVariance], which: Tensor | None, sigma: Tensor, x_hat: Images) -> None:
    for each in those:
        each(which, sigma, x_hat)


def outside(law: Family, images: Images) -> dict[str, np.ndarray]:
    """Which samples lie between modes by the law's own statistic, and which are far from all of them, (n,) bool."""
    described = law.sample_statistics.describe(Seen(images.double(), images.double(), 0.0))
    far = described["distance"] > chi2(images[0].numel()).isf(FAR)
    return {"between": np.asarray(described["outside"]) > 0, "far": far}


def curve(found: Detection) -> pd.DataFrame:
    """True positives at fixed shares of false ones."""
    return pd.DataFrame({"false": RATES, "true": np.interp(RATES, found.false, found.true)})


def perceptron(points: Tensor) -> Callable[[Images, Tensor], Images]:
    """A denoiser of points in the plane: three hidden layers, trained on these points, preconditioned as usual.

    The law of the noise levels is uniform in log sigma from 0.002 to 10; each has the same weight.
    """
    steps, batch, width = 6000, 512, 64
    spread = float(points.std())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [torch.nn.Linear(3, width), torch.nn.ReLU()]
        for _ in range(2):
            layers += [torch.nn.Linear(width, width), torch.nn.ReLU()]
        module = torch.nn.Sequential(*layers, torch.nn.Linear(width, 2))

    def denoise(y: Tensor, sigma: Tensor) -> Tensor:
        total = (sigma**2 + spread**2).sqrt()
        seen = torch.cat([(y - 0.5) / total, sigma.log() / 4], dim=1)
        return 0.5 + (spread / total) ** 2 * (y - 0.5) + sigma * spread / total * module(seen)

    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    stream = rng.generator("report of sampling", "training")
    for _ in range(steps):
        x = points[torch.from_numpy(stream.integers(len(points), size=batch))]
        sigma = torch.from_numpy(np.exp(stream.uniform(np.log(0.002), np.log(10), (batch, 1)))).float()
        y = x + sigma * torch.from_numpy(stream.standard_normal(x.shape)).float()
        weight = 1 / sigma**2 + 1 / spread**2
        loss = (weight * (denoise(y, sigma) - x) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    def denoiser(y: Images, sigma: Tensor) -> Images:
        with torch.no_grad():
            return denoise(y.flatten(1), sigma[:, None]).reshape(y.shape)

    return denoiser


MEASURED: dict[str, Callable[[], pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]]] = {
    "exact": exact_errors,
    "wrong": wrong_errors,
    "flow": flow_errors,
    "network": network_statistics,
    "learned": learned_errors,
    "modes": point_modes,
}


def measure() -> None:
    """Measure what is not there."""
    FOLDER.mkdir(exist_ok=True)
    for name, measured in MEASURED.items():
        if (FOLDER / f"{name}.csv").exists():
            continue
        made = measured()
        tables = {name: made} if isinstance(made, pd.DataFrame) else dict(zip((name, "roc"), made, strict=True))
        for each, table in tables.items():
            table.to_csv(FOLDER / f"{each}.csv", index=False, float_format="%.6g")
        print(f"measured {name}", flush=True)


def read() -> dict[str, pd.DataFrame]:
    """The tables, by name."""
    return {name: pd.read_csv(FOLDER / f"{name}.csv") for name in (*MEASURED, "roc")}


def main() -> None:
    torch.set_num_threads(1)
    measure()
    tables = read()
    write_figure(tables, FOLDER / "errors.png")
    (HERE / "sampling.md").write_text(page(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
