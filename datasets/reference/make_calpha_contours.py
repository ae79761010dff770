"""Recomputes ``calpha-contours.csv``, the stored brackets: python datasets/reference/make_calpha_contours.py

Stopping it loses at most the level in hand; running it again goes on. Delete the table to start afresh. One core, one
thread: about half an hour with constant backgrounds and two hours with Gaussian ones.
"""

from pathlib import Path

import torch

from gahb_bench.families.calpha_contours import CalphaContours
from gahb_bench.oracles.calpha_contours_tables import TABLE, compute_table

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2, and the ends 0.03 and 4
LEVELS = sorted([2 * 10 ** (-2.5 + i / 4) for i in range(13)] + [0.03, 4.0])
CONSTANT, GAUSSIAN = {"images": 128, "sweeps": 45}, {"images": 64, "sweeps": 24}
PLAN = [
    (CalphaContours(alpha=2.0, background="constant"), CONSTANT),
    (CalphaContours(alpha=2.0), GAUSSIAN),
    (CalphaContours(alpha=1.0, background="constant"), CONSTANT),
    (CalphaContours(alpha=3.0, background="constant"), CONSTANT),
    (CalphaContours(alpha=1.0), GAUSSIAN),
    (CalphaContours(alpha=3.0), GAUSSIAN),
]
# levels at which brackets of alpha = 2 were also measured by other programs
MORE = {"constant": [0.05, 0.1, 0.5, 1.0], "gaussian": [0.1, 1.2]}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for family, budget in PLAN:
        more = MORE[family.background] if family.alpha == 2 else []
        compute_table(family, sorted([*LEVELS, *more]), path=Path(__file__).parent / TABLE, **budget)
