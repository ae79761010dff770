"""Computes the shipped brackets of ``calpha-contours`` by simulation: python datasets/tables/make_calpha_contours.py

Level by level, resumable: about a quarter of an hour of one core for a curve at 32 pixels, up to an hour at 64 and two
at 80. For any other law, ``python -m gahb_bench reference --family SPEC``.
"""

import time

import torch

from gahb_bench.families.calpha_contours.compute import RULE, compute, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.tables import store

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2, and the ends 0.03 and 4
LEVELS: list[float] = sorted([*(2 * 10 ** (-2.5 + i / 4) for i in range(13)), 0.03, 4.0])
IMAGES = {(32, "constant"): 128, (32, "gaussian"): 128, (80, "constant"): 32, (80, "gaussian"): 32}  # a level; else 64
PLAN = [
    (alpha, size, background)
    for size in (64, 32, 80)
    for alpha in (2.0, 1.0, 3.0)
    for background in ("constant", "gaussian")
]
# levels at which brackets of alpha = 2 were also measured by other programs
MORE: dict[tuple[float, int, str], list[float]] = {
    (2.0, 64, "constant"): [0.05, 0.1, 0.5, 1.0],
    (2.0, 64, "gaussian"): [0.1, 1.2],
}


def main() -> None:
    torch.set_num_threads(1)
    path = store.shipped("curves")
    for alpha, size, background in PLAN:
        law = unit_contrast(CalphaContours.from_parameters({"alpha": alpha, "size": size, "background": background}))
        levels = sorted(LEVELS + MORE.get((alpha, size, background), []), reverse=True)
        for sigma in store.missing_levels(path, law.spec, levels, rule=RULE):
            began = time.monotonic()
            rows = compute(law, sigma, IMAGES.get((size, background), 64))
            store.add(path, rows)
            found = store.by_level(rows).iloc[0]
            print(f"{law.spec}, sigma/contrast = {sigma:.4g}: {found['lower']:.4g} to {found['upper']:.4g}", end=" ")
            print(f"({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
