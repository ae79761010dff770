"""reports/coverage.md: how often the printed 95 % intervals hold what they are of, by simulation.

    OMP_NUM_THREADS=1 python reports/coverage.py

A large pool of images is scored once; its means stand for the truth. Then many runs on 16, 64 and 128 images are drawn
from the pool, and each is summarised as ``run`` does. About a quarter of an hour of one core.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.scoring.intervals import FEW, effective_number

COVERAGE = Path(__file__).with_name("coverage.md")
CASES = (  # law, what is scored, images of the pool
    ("calpha:size=16", "gaussian-blur", 8192),
    ("besov:size=16", "wavelet", 8192),
    ("gmm:variant=points", "wiener-data", 32768),
)
COUNTS = (16, 64, 128)  # images of a run
RUNS = 300
BY_LEVEL = {"mse": "mse", "excess": "excess", "regret, dB": "regret_db"}
OVER_LEVELS = {"mean regret, dB": "mean_regret_db", "excess bits": "excess_bits"}
PAGE = """\
# Do the intervals cover?

An interval that is printed as 95 % should hold the true value in 95 of 100 runs. Here it is counted: {runs} runs each
on 16, 64 and 128 images, drawn from a pool whose means stand for the truth, at the {levels} default noise levels
(`python reports/coverage.py`). The standard error of a percentage is about 1.3 for one number a run, and less over all
noise levels. `calpha` is light-tailed: all images are about as hard. `besov` is heavier, and `gmm:variant=points` as
heavy as they come: above sigma = 0.1 one image in twenty, near the border between two modes, carries nearly all of the
error, and a run that drew none of them cannot know.

{table}

*over all levels*: of all intervals of this kind; *worst level*: at the level where fewest hold; *unmarked*: of those
that are not marked † on the page (fewer than {few:g} images, in effect, carry the error). An exponent is printed with
its standard error: counted is twice that on either side.
"""


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for case in CASES for row in coverage(*case)]
    lines = [
        f"| {' | '.join(map(str, row))} |" for row in (list(rows[0]), ["---"] * len(rows[0]), *map(dict.values, rows))
    ]
    page = PAGE.format(runs=RUNS, levels=len(DEFAULT_SIGMAS), few=FEW, table="\n".join(lines))
    COVERAGE.write_text(page, encoding="utf-8")


def coverage(law: str, denoiser: str, pool: int, counts: tuple[int, ...] = COUNTS, runs: int = RUNS) -> list[dict]:
    """A row for each printed interval and number of images, in percent."""
    scores = gb.score(law, ["mmse", denoiser], DEFAULT_SIGMAS, images=pool)
    truth_by_level, truth = _of(gb.curves(scores), denoiser), _of(gb.summary(scores), denoiser).iloc[0]
    by_image = dict(list(scores.groupby("image")))
    names = list(by_image)
    draw = np.random.default_rng(0)
    rows = []
    for images in counts:
        holds: dict[str, list] = {name: [] for name in (*BY_LEVEL, *OVER_LEVELS, "exponent")}
        marked = []
        for _ in range(runs):
            sample = pd.concat([by_image[names[i]] for i in draw.choice(len(names), images, replace=False)])
            curve, line = _of(gb.curves(sample), denoiser), _of(gb.summary(sample), denoiser).iloc[0]
            for name, column in BY_LEVEL.items():
                holds[name].append(truth_by_level[column].between(curve[f"{column}_low"], curve[f"{column}_high"]))
            for name, column in OVER_LEVELS.items():
                holds[name].append(line[f"{column}_low"] <= truth[column] <= line[f"{column}_high"])
            t = abs(line["exponent"] - truth["exponent"]) / line["exponent_error"]
            holds["exponent"].append(t <= 2)
            excess = sample[sample["denoiser"] == denoiser].pivot(index="sigma", columns="image", values="excess")
            marked.append(effective_number(excess.to_numpy(dtype=float)) < FEW)
        for name, found in holds.items():
            about = {"law": f"`{law}`", "denoiser": f"`{denoiser}`", "interval": name, "images": images}
            rows.append(about | _counted(found, marked))
    return rows


def _counted(found: list, marked: list) -> dict[str, str]:
    held, unsure = np.array(found, dtype=float), np.array(marked)
    if held.ndim == 1:
        return {"over all levels, %": f"{100 * held.mean():.1f}", "worst level, %": "", "unmarked, %": ""}
    sure = held[~unsure]
    return {
        "over all levels, %": f"{100 * held.mean():.1f}",
        "worst level, %": f"{100 * held.mean(axis=0).min():.1f}",
        "unmarked, %": f"{100 * sure.mean():.1f}" if sure.size else "",
    }


def _of(table: pd.DataFrame, denoiser: str) -> pd.DataFrame:
    return table[table["denoiser"] == denoiser].reset_index(drop=True)


if __name__ == "__main__":
    main()
