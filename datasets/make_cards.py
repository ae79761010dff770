"""Write the dataset cards that stand beside this file: ``python datasets/make_cards.py``."""

from pathlib import Path

from gahb_bench import make
from gahb_bench.core.levels import DEFAULT_SIGMAS, OWN_UNITS_SIGMAS
from gahb_bench.sets.cards import Card, fingerprint, write_card

SETS = {
    f"calpha-{alpha}-{size}": (f"C^{alpha} images, {size} x {size}", f"calpha:alpha={alpha},size={size}")
    for alpha in (1, 2, 3)
    for size in (64, 128)
} | {
    "besov-64": ("Sparse wavelet images, 64 x 64", "besov"),
    "besov-dense-64": ("Wavelet images that are not sparse, 64 x 64", "besov:gamma=0"),
    "gmm-64": ("Mixture of 16 textures, 64 x 64", "gmm"),
    "gmm-points": ("Mixture of 16 points in the plane", "gmm:variant=points"),
    "gmm-scales-64": ("White noise of 16 scales, 64 x 64", "gmm:variant=scales"),
    "hierarchy-64": ("Trees with independent children, 64 x 64", "hierarchy"),
    "hierarchy-grammar-64": ("Trees of the random hierarchy model, 64 x 64", "hierarchy:rules=grammar"),
    "shuffled-calpha-2-64": ("C^2 images with shuffled pixels, 64 x 64", "shuffled"),
    "coloured-disks-64": ("Disks in colour, opponent channels independent, 64 x 64", "coloured:of=disks"),
    "disks-64": ("Disks in five dimensions, 64 x 64", "disks"),
    "contours-64": ("C^2 images with C^2 contours, 64 x 64", "calpha-contours"),
    "contours-constant-64": ("C^2 contours on constant grounds, 64 x 64", "calpha-contours:background=constant"),
    "markov-contours-64": ("Random-walk contours, 64 x 64", "markov-contours"),
    "levy-gauss-64": ("Random walks with Gaussian jumps of variance 1/4, 64 samples", "levy:jumps=gauss,scale=0.5"),
    "levy-laplace-64": ("Levy processes with Laplace jumps, 64 samples", "levy"),
    "levy-cauchy-64": ("Levy processes with Cauchy jumps, 64 samples", "levy:jumps=student"),
    "levy-sparse-64": ("Levy processes with rare jumps: constant pieces, 64 samples", "levy:jumps=bernoulli-laplace"),
}


def main() -> None:
    for name, (title, spec) in SETS.items():
        card = Card(
            title=title,
            spec=spec,
            split="test",
            seed=0,
            images=128,
            sigmas=OWN_UNITS_SIGMAS if make.family(spec).own_units else DEFAULT_SIGMAS,
            fingerprint=fingerprint(spec, "test", 0, 128),
        )
        Path(__file__).with_name(f"{name}.toml").write_text(write_card(card), encoding="utf-8")


if __name__ == "__main__":
    main()
