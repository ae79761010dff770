"""Write ``sampled.json`` beside this file: ``python datasets/reference/make_sampled.py [SPEC ...]``.

Mean posterior variances of the exact posterior means, for the families and noise levels that a run shows by default,
with more images than are used on demand. With specs, only those rows are made again.
"""

import json
import math
import sys
from pathlib import Path

import torch

from gahb_bench import make
from gahb_bench.running.levels import DEFAULT_SIGMAS
from gahb_bench.tables.sampled import measure

TABLE = Path(__file__).with_name("sampled.json")
IMAGES = {
    "gmm:size=32": 2048,
    "gmm": 1024,
    "hierarchy:depth=5": 512,
    "hierarchy": 256,
    "hierarchy:depth=5,rules=grammar": 512,
    "hierarchy:rules=grammar": 256,
}
LEAST_SIGMA = {"gmm": 0.3, "hierarchy": 0.0}  # below, nothing is left to sample: the part in closed form is all


def main(specs: list[str]) -> None:
    torch.set_num_threads(1)
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    for spec in specs or IMAGES:
        family = make.family(spec)
        module = make.oracle_module(family.name)
        assert module is not None
        rows = []
        for sigma in (level for level in DEFAULT_SIGMAS if level >= LEAST_SIGMA[family.name]):
            mse, error, exponent, effective = measure(family.spec, sigma, module.parts(family.spec), IMAGES[spec])
            row = {"sigma": sigma, "mse": mse, "standard_error": error, "effective": effective}
            rows.append({**row, "exponent": None if math.isnan(exponent) else exponent, "images": IMAGES[spec]})
        table[family.spec] = rows
        TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
