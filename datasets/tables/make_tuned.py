"""Tunes the shipped denoisers on the shipped laws: python datasets/tables/make_tuned.py [FAMILY ...]

Every table is kept when it is finished, and those that are there are left as they are. With families, only these.
"""

import sys

import torch

from gahb_bench import make
from gahb_bench.tables import store
from gahb_bench.tuning import tune

DENOISERS = ("gaussian-blur", "tv", "tv:solver=bregman", "curvelet", "curvelet:shifts=none", "dct", "nlm")
FAMILIES = ("calpha", "calpha:alpha=1", "calpha:alpha=3")


def main(families: list[str]) -> None:
    torch.set_num_threads(1)
    path = store.shipped("tuned")
    for family in families or FAMILIES:
        law = make.family(family)
        for denoiser in DENOISERS:
            if (law.spec, denoiser) not in store.read(path):
                table = tune(make.tunable(denoiser, law), law)
                store.add(path, table.as_rows(), replace=store.SUBJECT)
                print(law.spec, denoiser, table.value, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
