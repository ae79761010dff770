"""Tunes the rivals on the laws of the baseline and the cards: python datasets/tables/make_tuned.py [FAMILY ...]

Every table is kept when it is finished, and those that are there are left as they are; about two hours of one core, the
fast methods first. With families, only these.
"""

import sys

import torch

from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.core.levels import DEFAULT_SIGMAS, OWN_UNITS_SIGMAS
from gahb_bench.tables import store
from gahb_bench.tuning import tune

DENOISERS = ("gaussian-blur", "tv", "curvelet", "curvelet:shifts=none", "dct", "nlm", "tv:solver=bregman")
SMALL = (  # of 32 x 32 pixels: the laws of the baseline
    "calpha:size=32",
    "calpha:law=uniform,size=32",
    "calpha-contours:size=32",
    "calpha-contours:background=constant,size=32",
    "markov-contours:size=32",
    "disks:size=32",
    "besov:size=32",
    "besov:gamma=0,size=32",
    "gmm:size=32",
    "hierarchy:depth=5",
    "hierarchy:depth=5,rules=grammar",
    "shuffled:of=(calpha:size=32)",
    "coloured:of=(calpha:size=32)",
    "coloured:of=(disks:size=32)",
)
LARGE = (  # of 64 x 64 pixels: the cards
    "calpha",
    "calpha:alpha=1",
    "calpha:alpha=3",
    "besov",
    "besov:gamma=0",
    "calpha-contours",
    "calpha-contours:background=constant",
    "disks",
    "gmm",
    "gmm:variant=points",
    "gmm:variant=scales",
    "hierarchy",
    "hierarchy:rules=grammar",
    "markov-contours",
    "shuffled",
    "coloured",
    "coloured:of=disks",
    "levy",
    "levy:jumps=gauss,scale=0.5",
    "levy:jumps=bernoulli-laplace",
)
COARSE = 21  # values of the grid
IMAGES = {
    "gaussian-blur": 512,
    "tv": 128,
}  # of split val, at 32 x 32 pixels; 64 for the others, and a quarter at 64 x 64
POINTS = {"nlm": 256}  # images of one row; for the others as many as have so many pixels:
PIXELS = 4096


def main(families: list[str]) -> None:
    torch.set_num_threads(1)
    path = store.shipped("tuned")
    for denoiser in DENOISERS:
        for family in families or (*SMALL, *LARGE):
            law = make.family(family)
            if (law.spec, denoiser) not in store.read(path):
                images = IMAGES.get(denoiser, 64) // (1 if family in SMALL else 4)
                if law.shape[1] == 1:
                    images = min(POINTS.get(denoiser, PIXELS), max(PIXELS // law.shape[2], 128))
                levels = sorted({*DEFAULT_SIGMAS, *OWN_UNITS_SIGMAS}) if law.own_units else DEFAULT_SIGMAS
                try:
                    table = tune(make.tunable(denoiser, law), law, levels, images=images, coarse=COARSE)
                except UsageError as error:  # images too small for the method
                    print(law.spec, denoiser, error, flush=True)
                    continue
                store.add(path, table.as_rows(), replace=store.SUBJECT)
                print(law.spec, denoiser, table.value, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
