"""Recomputes ``calpha-contours.csv``, the stored brackets: python datasets/reference/make_calpha_contours.py

Stopping it loses at most the level in hand; running it again goes on. Delete the table to start afresh. One core, one
thread: about half an hour with constant backgrounds and two hours with Gaussian ones; the small images, on which
networks are trained, a quarter of an hour.
"""

from pathlib import Path

import torch

from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.tables import TABLE, compute_table

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2, and the ends 0.03 and 4
LEVELS: list[float] = sorted([*(2 * 10 ** (-2.5 + i / 4) for i in range(13)), 0.03, 4.0])
IMAGES = {(64, "constant"): 128, (64, "gaussian"): 64, (32, "constant"): 256, (32, "gaussian"): 256}  # a level
SWEEPS = {"constant": 45, "gaussian": 24}  # of each chain
PLAN = [
    (2.0, 64, "constant"),
    (2.0, 64, "gaussian"),
    (1.0, 64, "constant"),
    (3.0, 64, "constant"),
    (1.0, 64, "gaussian"),
    (3.0, 64, "gaussian"),
    (2.0, 32, "gaussian"),
    (2.0, 32, "constant"),
]
# levels at which brackets of alpha = 2 were also measured by other programs
MORE: dict[tuple[float, int, str], list[float]] = {
    (2.0, 64, "constant"): [0.05, 0.1, 0.5, 1.0],
    (2.0, 64, "gaussian"): [0.1, 1.2],
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for alpha, size, background in PLAN:
        family = CalphaContours.from_parameters({"alpha": alpha, "size": size, "background": background})
        levels = sorted(LEVELS + MORE.get((alpha, size, background), []), reverse=True)  # large noise is quick
        table = Path(__file__).parent / TABLE
        compute_table(family, levels, IMAGES[size, background], table, sweeps=SWEEPS[background])
