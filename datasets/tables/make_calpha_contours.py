"""Computes brackets of ``calpha-contours`` by simulation: python datasets/tables/make_calpha_contours.py [SPEC ...]

With specs, 64 images a level at sigma/contrast = 0.03 ... 4, for the user's own table (its contrast plays no part);
without, the shipped curves: about half an hour of one core with constant backgrounds and two hours with Gaussian ones;
the small images, on which networks are trained, a quarter of an hour. Stopping it loses at most the level in hand;
running it again goes on.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha_contours.compute import compute_curve
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.make import family as make_family
from gahb_bench.tables import store

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2, and the ends 0.03 and 4
LEVELS: list[float] = sorted([*(2 * 10 ** (-2.5 + i / 4) for i in range(13)), 0.03, 4.0])
IMAGES = {(64, "constant"): 128, (64, "gaussian"): 64, (32, "constant"): 256, (32, "gaussian"): 256}  # a level
SWEEPS = {"constant": 45, "gaussian": 24}  # of each chain
PLAN = [
    (2.0, 64, "constant"),
    (2.0, 64, "gaussian"),
    (1.0, 64, "constant"),
    (3.0, 64, "constant"),
    (1.0, 64, "gaussian"),
    (3.0, 64, "gaussian"),
    (2.0, 32, "gaussian"),
    (2.0, 32, "constant"),
]
# levels at which brackets of alpha = 2 were also measured by other programs
MORE: dict[tuple[float, int, str], list[float]] = {
    (2.0, 64, "constant"): [0.05, 0.1, 0.5, 1.0],
    (2.0, 64, "gaussian"): [0.1, 1.2],
}
OWN_LEVELS: list[float] = np.geomspace(4, 0.03, 10).tolist()
OWN_IMAGES = 64


def show(name: str) -> Callable[[float, int, float], None]:
    """Prints how far it is, and an estimate of the time left."""
    begin = time.monotonic()

    def progress(level: float, done: int, share: float) -> None:
        left = (time.monotonic() - begin) * (1 / share - 1)
        print(f"{name}: sigma/contrast={level:.4g}: {done} images, about {left / 60:.1f} minutes left", flush=True)

    return progress


def main(specs: list[str]) -> None:
    torch.set_num_threads(1)
    for spec in specs:
        law = make_family(spec)
        if not isinstance(law, CalphaContours):
            raise UsageError(f"{spec!r} is no 'calpha-contours': only that law is bracketed by simulation.")
        compute_curve(law, OWN_LEVELS, OWN_IMAGES, store.own("curves"), progress=show(spec))
    for alpha, size, background in [] if specs else PLAN:
        law = CalphaContours.from_parameters({"alpha": alpha, "size": size, "background": background})
        levels = sorted(LEVELS + MORE.get((alpha, size, background), []), reverse=True)  # large noise is quick
        images, sweeps = IMAGES[size, background], SWEEPS[background]
        compute_curve(law, levels, images, store.shipped("curves"), sweeps=sweeps, progress=show(law.spec))


if __name__ == "__main__":
    main(sys.argv[1:])
