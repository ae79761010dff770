"""Computes the shipped brackets of ``calpha-contours``: python datasets/tables/make_calpha_contours.py [SPEC ...]

Level by level, resumable; with specs, only those laws of the plan. ``--again LEVEL`` also makes anew what another
method made, from the noise level LEVEL on, in contrasts: rows say which method they are of, so this is resumable too.
For any other law, ``python -m gahb_bench reference --family SPEC``.
"""

import argparse
import math
import time

import torch

from gahb_bench import make
from gahb_bench.families.calpha_contours.compute import RULE, compute, provenance, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.tables import store

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2, and the ends 0.03 and 4
LEVELS: list[float] = sorted([*(2 * 10 ** (-2.5 + i / 4) for i in range(13)), 0.03, 4.0])
IMAGES = {(32, "constant"): 128, (32, "gaussian"): 128, (80, "constant"): 16, (80, "gaussian"): 32}  # a level; else 64
PLAN = [
    unit_contrast(CalphaContours.from_parameters({"alpha": alpha, "size": size, "background": background}))
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laws", nargs="*", metavar="SPEC", help="laws of the plan, of any contrast; default all")
    parser.add_argument("--again", type=float, default=math.inf, metavar="LEVEL", help="least level to make anew")
    parser.add_argument("--dry-run", action="store_true", help="say what is left to compute; compute nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for law in _chosen(parser, arguments.laws):
        for sigma in todo(law, arguments.again):
            if arguments.dry_run:
                print(f"{law.spec}, sigma/contrast = {sigma:.4g}")
            else:
                _make(law, sigma)


def todo(law: CalphaContours, again: float) -> list[float]:
    """The noise levels of a law that are to be made, the largest first."""
    path, more = store.shipped("curves"), MORE.get((law.alpha, law.size, law.background), [])
    levels = sorted(LEVELS + more, reverse=True)
    made_by = {level: provenance(law, level) if level >= again else None for level in levels}
    return [s for s in levels if store.missing_levels(path, law.spec, [s], rule=RULE, provenance=made_by[s])]


def _make(law: CalphaContours, sigma: float) -> None:
    began = time.monotonic()
    rows = compute(law, sigma, IMAGES.get((law.size, law.background), 64))
    store.add(store.shipped("curves"), rows)
    found = store.by_level(rows).iloc[0]
    print(f"{law.spec}, sigma/contrast = {sigma:.4g}: {found['lower']:.4g} to {found['upper']:.4g}", end=" ")
    print(f"({time.monotonic() - began:.0f} s)", flush=True)


def _chosen(parser: argparse.ArgumentParser, specs: list[str]) -> list[CalphaContours]:
    """The laws of the plan that are named, or all of them."""
    named = [make.family(spec) for spec in specs]
    laws = [unit_contrast(law) for law in named if isinstance(law, CalphaContours)]
    if len(laws) < len(named) or any(law not in PLAN for law in laws):
        parser.error("not in the plan; for any other law: python -m gahb_bench reference --family SPEC")
    return laws or PLAN


if __name__ == "__main__":
    main()
