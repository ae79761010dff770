"""Write the dataset cards that stand beside this file: ``python datasets/make_cards.py``."""

from pathlib import Path

from gahb_bench.cards import Card, fingerprint, write_card
from gahb_bench.running.plan import DEFAULT_SIGMAS

SETS = {
    f"calpha-{alpha}-{size}": (f"C^{alpha} images, {size} x {size}", f"calpha:alpha={alpha},size={size}")
    for alpha in (1, 2, 3)
    for size in (64, 128)
}


def main() -> None:
    for name, (title, spec) in SETS.items():
        card = Card(
            title=title,
            spec=spec,
            split="test",
            seed=0,
            images=128,
            sigmas=DEFAULT_SIGMAS,
            fingerprint=fingerprint(spec, "test", 0, 128),
        )
        Path(__file__).with_name(f"{name}.toml").write_text(write_card(card), encoding="utf-8")


if __name__ == "__main__":
    main()
