"""Computes the shipped levels of ``gmm``, ``hierarchy`` and ``levy``: python datasets/tables/make_sampled.py [SPEC ...]

Mean posterior variances of the exact posterior means, at the noise levels that a run shows by default, with more images
than are used on demand. Resumable. With specs, only those laws.
"""

import sys

import torch

from gahb_bench import make
from gahb_bench.core.levels import DEFAULT_SIGMAS, OWN_UNITS_SIGMAS
from gahb_bench.tables import store
from gahb_bench.tables.sampled import RULE, measure

IMAGES = {
    "gmm:size=32": 2048,
    "gmm": 1024,
    "hierarchy:depth=5": 512,
    "hierarchy": 256,
    "hierarchy:depth=5,rules=grammar": 512,
    "hierarchy:rules=grammar": 256,
    "levy": 1024,
    "levy:jumps=student": 1024,
    "levy:df=3,jumps=student": 1024,
    "levy:jumps=bernoulli-laplace": 1024,
}
LEAST_SIGMA = {
    "gmm": 0.3,
    "hierarchy": 0.0,
    "levy": 0.0,
}  # below, nothing is left to sample: the part in closed form is all


def main(specs: list[str]) -> None:
    torch.set_num_threads(1)
    path = store.shipped("levels")
    for spec in specs or IMAGES:
        family = make.family(spec)
        levels = [level for level in DEFAULT_SIGMAS if level >= LEAST_SIGMA[family.name]]
        if family.own_units:
            levels = sorted({*levels, *OWN_UNITS_SIGMAS})
        for sigma in store.missing_levels(path, family.spec, levels, rule=RULE):
            store.add(path, measure(family, sigma, IMAGES[family.spec]))


if __name__ == "__main__":
    main(sys.argv[1:])
