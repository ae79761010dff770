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
PLAN = [
    (CalphaContours(alpha=2.0, background="constant"), 256),
    (CalphaContours(alpha=2.0), 64),
    (CalphaContours(alpha=1.0, background="constant"), 256),
    (CalphaContours(alpha=3.0, background="constant"), 256),
    (CalphaContours(alpha=1.0), 64),
    (CalphaContours(alpha=3.0), 64),
]
# laws whose brackets are also stored at levels measured elsewhere, for comparison
MORE = {2.0: [0.05, 0.1, 0.5, 1.0, 1.2]}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for family, images in PLAN:
        levels = sorted([*LEVELS, *MORE.get(family.alpha, [])])
        # with Gaussian backgrounds large noise is cheap, and its risks vary more between images
        cheap = [level for level in levels if level > 0.3] if family.background == "gaussian" else []
        path = Path(__file__).parent / TABLE
        compute_table(family, [level for level in levels if level not in cheap], images, path)
        compute_table(family, cheap, 2 * images, path)
