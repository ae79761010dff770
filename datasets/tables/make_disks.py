"""Computes the shipped curves of ``disks`` (d = 5, edge 1): sizes 64, 32, 80, 21 noise levels, 2,048 images a level.

    OMP_NUM_THREADS=1 python datasets/tables/make_disks.py

Every level is kept when it is finished, so the script can be killed and run again. About an hour of one core.
"""

import torch

from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.reference import RULE, TABLE_IMAGES, compute
from gahb_bench.tables import store

SIZES = (64, 32, 80)
EIGHTHS = (  # of a decade, for all sizes, one group after the other
    range(-20, 5, 2),  # the default levels of a run
    range(6, 9, 2),  # beyond
    range(1, 8, 2),  # between, where the curve bends from d sigma^2 / N^2 to the prior variance
    range(-3, 0, 2),
)


def main() -> None:
    torch.set_num_threads(1)
    path = store.shipped("curves")
    for eighths in EIGHTHS:
        for family in (Disks.from_parameters({"size": size}) for size in SIZES):
            levels = [10 ** (eighth / 8) for eighth in eighths]
            for sigma in store.missing_levels(path, family.spec, levels, rule=RULE):
                rows = compute(family, sigma, TABLE_IMAGES)
                store.add(path, rows)
                print(store.by_level(rows).assign(family=family.spec).to_string(), flush=True)


if __name__ == "__main__":
    main()
