"""Computes the shipped curves of ``markov-contours``, its exact MMSE: python datasets/tables/make_markov_contours.py

Resumable; one core, one thread: about a minute for alpha = 1/2 and half an hour for alpha = 3/2.
"""

import torch

from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.families.markov_contours.optimum import RULE, compute
from gahb_bench.tables import store

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2
LEVELS = [2 * 10 ** (-2.5 + i / 4) for i in range(13)]
# levels at which the MMSE was also measured by other programs
MORE = [0.05, 0.1, 0.3, 1.0, 3.0, 8.0]
PLAN = [
    (MarkovContours.from_parameters({"contrast": 1.0}), sorted(LEVELS + MORE), 512),
    (MarkovContours.from_parameters({"alpha": 1.5, "contrast": 1.0}), LEVELS, 128),
]


def main() -> None:
    torch.set_num_threads(1)
    path = store.shipped("curves")
    for family, levels, images in PLAN:
        for level in store.missing_levels(path, family.spec, levels, rule=RULE):
            rows = compute(family, level, images)
            store.add(path, rows)
            print(store.by_level(rows).assign(family=family.spec).to_string(), flush=True)


if __name__ == "__main__":
    main()
