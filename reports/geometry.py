"""reports/geometry/: the bases in which the shipped networks shrink, beside the true ones: python reports/geometry.py

About 15 minutes of one core; stopped, the same command goes on. Tables and figures of each law stand in a folder of its
own, and reports/geometry.md says what they say.
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import gahb_bench as gb
from gahb_bench.reporting.geometry.content import interval
from gahb_bench.reporting.geometry.report import write_report
from gahb_bench.running.geometry.carry_out import measure_all
from gahb_bench.running.geometry.folder import read
from gahb_bench.running.plan import make_plan

FOLDER = Path(__file__).parent / "geometry"
SIGMAS = (0.03, 0.1, 0.3, 1.0)
IMAGES = 8
LAWS = {  # by folder: the law, what is shown beside the network, the network, what its eigenvectors are compared with
    "calpha": ("calpha:size=32", ["mmse", "wavelet:rule=bayes,shifts=all"], "calpha-32"),
    "contours": ("calpha-contours:size=32", ["genie"], "contours-32"),
    "disks": ("disks:size=32", ["mmse"], "disks-32"),
}
PAGE = """\
# In which basis do the shipped networks shrink?

At a noisy image y a denoiser acts like its Jacobian J = dD/dy. For the exact posterior mean J = Cov(x|y)/σ²: the
true adaptive basis is its eigenvectors. Made by `python reports/geometry.py`: {images} images of split test, 32 x 32;
numbers are means over images with half of their 95 % intervals; `geometry.csv` has a row an image.

{sections}
## How to read it

- *tr J* is the number of dimensions that are kept, in effect. On average over images that of the optimum is
  `d mmse / σ²`, known also where its Jacobian is not (contours: from the bracket), under *true tr J*.
- *dimensions* are eigenvalues of S = (J + J')/2 above 1/2. *Overlap* is the share of the true leading eigenspace inside
  the denoiser's own leading eigenspace of the same dimension; *wasted* are dimensions that are kept outside it.
- *S error* and *curl* are `σ² |S - S*|² / d` and that of the antisymmetric part, over the MMSE: to first order what a
  wrong answer to the noise costs; *excess* is all that is lost, over the MMSE.
- *asymmetry* is |J - J'| / |J|: 0 for the gradient of a function, as every posterior mean is.
- *outside 10*, *outside 50*: share of the energy of x - 1/2 outside the first 10 and 50 vectors of a basis
  (geometric mean).
- *harmonic*: share of the energy of the 16 leading eigenvectors in their 10 largest Fourier coefficients;
  *straightened*: the same along columns that are shifted so that the true contour lies flat. A vector that is a few
  waves along the contour has most of its energy there.
"""


def main() -> None:
    torch.set_num_threads(1)
    sections = []
    for name, (spec, beside, network) in LAWS.items():
        plan = make_plan([spec], [*beside, network], SIGMAS, IMAGES)
        measure_all(plan, FOLDER / name, command="python reports/geometry.py", progress=_say)
        write_report(FOLDER / name)
        sections.append(_section(name, spec))
    text = PAGE.format(images=IMAGES, sections="\n".join(sections))
    (FOLDER.parent / "geometry.md").write_text(text)


def _say(done: int, total: int) -> None:
    print(f"{done} of {total}", flush=True)


def _section(name: str, spec: str) -> str:
    made = read(FOLDER / name)
    return (
        f"## {spec}\n\n" + table(made.rows, spec) + f"\n\n{_adapted(made.bases)}{_harmonic(made.rows)}"
        f"\n![Overlap and dimensions against the noise level](geometry/{name}/overlap.png)\n"
        f"![Spectra](geometry/{name}/spectra.png)\n"
        f"![Leading eigenvectors at σ = 0.1](geometry/{name}/eigenvectors-0.1.png)\n"
        f"![Energy outside the first vectors of each basis](geometry/{name}/adaptivity.png)\n"
    )


def table(rows: pd.DataFrame, spec: str) -> str:
    """The Jacobians of denoisers on a law, beside what is known of the optimum's: a row a noise level and denoiser."""
    law = gb.family(spec)
    d, sigmas = math.prod(law.shape), np.sort(rows["sigma"].unique())
    reference = law.reference(sigmas)
    head = ("σ", "denoiser", "tr J", "true tr J", "dimensions", "true", "overlap", "wasted", "S error", "curl")
    lines = [_line([*head, "excess", "asymmetry"]), _line(["---"] * (len(head) + 2))]
    for sigma, mmse in zip(sigmas, reference.mse, strict=True):
        for denoiser in rows["denoiser"].unique():
            own = rows[(rows["denoiser"] == denoiser) & (rows["sigma"] == sigma)]
            scaled = {column: own[column] / mmse for column in ("error_symmetric", "error_antisymmetric", "excess")}
            cells = [
                _cell(own["trace"], 1),
                f"{d * mmse / sigma**2:.1f}",
                _cell(own["dimension"], 1),
                _cell(own["true_dimension"], 1),
                _cell(own["overlap"], 2),
                _cell(own["wasted"], 1),
                *(_cell(values, 2) for values in scaled.values()),
                _cell(own["asymmetry"], 2),
            ]
            lines.append(_line([f"{sigma:g}", f"`{denoiser.removeprefix('network:weights=')}`", *cells]))
    return "\n".join(lines)


def _adapted(bases: pd.DataFrame) -> str:
    """Energy outside the first 10 and 50 vectors at sigma = 0.1, by basis."""
    here = bases[np.isclose(bases["sigma"], 0.1)]
    lines = [_line(["basis (σ = 0.1)", "outside 10", "outside 50", "ideal risk / σ²"]), _line(["---"] * 4)]
    for (denoiser, basis), own in here.groupby(["denoiser", "basis"], sort=False):
        cells = []
        for count in (10, 50):
            near = own.loc[(own["vectors"] - count).abs().groupby(own["image"]).idxmin()]
            cells.append(f"{np.exp(np.log((1 - near['captured']).clip(lower=1e-12)).mean()):.2g}")
        risk = own.groupby("image")["risk"].first().mean() / 0.1**2
        name = f"eigenvectors of `{str(basis).removeprefix('network:weights=')}`" if denoiser else str(basis)
        lines.append(_line([name, *cells, f"{risk:.3f}"]))
    return "\n".join(lines) + "\n"


def _harmonic(rows: pd.DataFrame) -> str:
    if rows["straightened_harmonic"].isna().all():
        return ""
    lines = [_line(["σ", "denoiser", "harmonic", "straightened"]), _line(["---"] * 4)]
    for (sigma, denoiser), own in rows.groupby(["sigma", "denoiser"], sort=False):
        name = f"`{str(denoiser).removeprefix('network:weights=')}`"
        cells = [_cell(own[column], 2) for column in ("harmonic", "straightened_harmonic")]
        lines.append(_line([f"{sigma:g}", name, *cells]))
    return "\n" + "\n".join(lines) + "\n"


def _cell(values: pd.Series, digits: int) -> str:
    mean, low, high = interval(values.to_numpy(dtype=np.float64))
    if not math.isfinite(mean):
        return "–"
    half = (high - low) / 2
    shown = f"{round(mean, digits) + 0.0:.{digits}f}"
    return f"{shown} ± {half:.{digits}f}" if math.isfinite(half) and round(half, digits) > 0 else shown


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
