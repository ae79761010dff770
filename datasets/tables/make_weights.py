"""Tunes the methods of reports/posterior.md on split ``val``: python datasets/tables/make_weights.py [FAMILY ...]

Every weight is kept when it is found, and those that are there are left as they are; about 15 minutes of one core. With
families, only these.
"""

import sys

import torch

from gahb_bench import make
from gahb_bench.core.errors import DenoiserError
from gahb_bench.core.inverse import WeightedMethod
from gahb_bench.sampling.tuning import tune
from gahb_bench.sampling.weights import RULE, subject
from gahb_bench.tables import store

SIGMA = 0.1
OPERATORS = ("mask", "blur", "downsample")
STEPS = {"calpha:size=16": 50, "gmm:components=4,size=16": 50, "disks:size=16": 20}  # noise levels, as in the report
IMAGES = {"disks:size=16": 8}  # of split val; 16 of the others


def main(families: list[str]) -> None:
    torch.set_num_threads(1)
    path = store.shipped("weights")
    for family in families or STEPS:
        steps = STEPS[family]
        methods = ["pnp", f"diffpir:steps={steps}", f"red-diff:steps={2 * steps}"]
        methods += [f"pigdm:steps={steps}", f"dps:steps={steps}"]  # the dear ones last
        for spec in methods:
            for operator in OPERATORS:
                problem = make.problem(operator, family)
                method = make.posterior_method(spec)
                assert isinstance(method, WeightedMethod)
                known = store.read(path).get((problem.family.spec, subject(method, problem)))
                if known is not None and (known["rule"] == RULE).any():
                    continue
                try:
                    rows = tune(method, problem, SIGMA, images=IMAGES.get(family, 16))
                except DenoiserError as error:
                    print(family, operator, spec, error, flush=True)
                    continue
                store.add(path, rows)
                print(family, operator, spec, *rows["value"].round(4), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
