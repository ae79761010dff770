"""Computes the shipped curves of ``disks`` (d = 5, edge 1): sizes 64, 32, 80, 15 noise levels, 2,048 images a level.

    OMP_NUM_THREADS=1 python datasets/tables/make_disks.py

Every level is kept when it is finished, so the script can be killed and run again. About 40 minutes of one core.
"""

import torch

from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.reference import RULE, TABLE_IMAGES, compute
from gahb_bench.tables import store

SIZES = (64, 32, 80)
QUARTERS = (range(-10, 3), range(3, 5))  # of a decade: the default levels of a run first, for all sizes, then beyond


def main() -> None:
    torch.set_num_threads(1)
    path = store.shipped("curves")
    for quarters in QUARTERS:
        for family in (Disks.from_parameters({"size": size}) for size in SIZES):
            levels = [10 ** (quarter / 4) for quarter in quarters]
            for sigma in store.missing_levels(path, family.spec, levels, rule=RULE):
                rows = compute(family, sigma, TABLE_IMAGES)
                store.add(path, rows)
                print(store.by_level(rows).assign(family=family.spec).to_string(), flush=True)


if __name__ == "__main__":
    main()
