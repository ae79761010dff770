"""How methods look: as their classes state, or by a hash of their names, the same in every report; their order.

The nine hues (and ink and grey) stay at least 9 CIEDE2000 units apart under normal vision and under full protanopia,
deuteranopia and tritanopia, in the light and in the dark theme, and have a contrast of at least 3 with the page; dash
and marker tell methods apart without any colour.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from gahb_bench.core import spec as specs
from gahb_bench.core.errors import UsageError

# The order of legends and tables.
KNOWS = ("law", "latents", "image", "training set", "nothing")

PAPER, NIGHT = "#ffffff", "#14171c"  # the page, light and dark
Theme = Literal["light", "dark"]


class Colour(NamedTuple):
    """One hue in the two themes."""

    light: str
    dark: str

    def on(self, theme: Theme) -> str:
        """That of a theme."""
        return self.light if theme == "light" else self.dark


INK = Colour("#111418", "#f2f4f6")
GREY = Colour("#777777", "#969696")
HUES = {
    "crimson": Colour("#bb254d", "#e84f49"),
    "rust": Colour("#7e2400", "#f09e00"),
    "ochre": Colour("#a66f00", "#ffd971"),
    "green": Colour("#799f68", "#4ea572"),
    "teal": Colour("#1aa5a8", "#00e7f3"),
    "blue": Colour("#3173a8", "#4cb9ff"),
    "periwinkle": Colour("#8c88f6", "#567ef9"),
    "indigo": Colour("#3f21b5", "#c88fc1"),
    "plum": Colour("#6b3059", "#c84ca6"),
}
COLOURS = {"ink": INK, "grey": GREY, **HUES}
# Dash lengths in pixels; () is a solid line.
DASHES = ((), (7, 3), (2, 3), (9, 3, 2, 3))
_THEORY_DASHES = ((2, 3), (2, 6), (5, 3), (9, 4), (5, 3, 2, 3), (9, 3, 2, 3))
_KNOWN_DASHES = {"genie": (2, 3), "law": (7, 4)}  # named so in what references say of themselves
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "x")


@dataclass(frozen=True)
class Style:
    """How one method is drawn."""

    colour: Colour
    dash: tuple[int, ...]
    marker: str


def style(method: str, look: tuple[str, str, str] | None = None) -> Style:
    """How a method is drawn, whichever run it is said to come from (``spec @ run``).

    Parameters that its look does not account for decide dash and marker, so that variants of a method share its hue.

    Parameters
    ----------
    method : its spec
    look : hue (of `COLOURS`), marker, and the ``parameter=value`` that chose them, as its class states them; without
        one, a hash of its name decides

    >>> soft = ("periwinkle", "square", "rule=soft")
    >>> style("wavelet:rule=soft", soft).colour == style("wavelet:rule=soft,shifts=all", soft).colour
    True
    """
    method = method.partition(" @ ")[0]
    try:
        parsed = specs.parse(method)
        name, parameters = parsed.name, dict(parsed.parameters)
    except UsageError:  # a user's own label need not be a spec
        name, parameters = method, {}
    hue, marker, key = look or ("", "", "")
    if hue not in COLOURS or marker not in MARKERS:
        hue, marker, key = list(HUES)[_hash(name, 0) % len(HUES)], MARKERS[_hash(name, 1) % len(MARKERS)], ""
    rest = {word: value for word, value in parameters.items() if f"{word}={value}" != key}
    if not rest:
        return Style(COLOURS[hue], DASHES[0], marker)
    variant = specs.format_spec("", rest)
    dash = DASHES[1 + _hash(variant, 2) % (len(DASHES) - 1)]
    others = [other for other in MARKERS if other not in (marker, "x")]
    return Style(COLOURS[hue], dash, others[_hash(variant, 3) % len(others)])


def styles(looks: Mapping[str, tuple[str, str, str] | None]) -> dict[str, Style]:
    """How the methods of one report are drawn: where two coincide, the later by name takes a free marker, then dash."""
    found: dict[str, Style] = {}
    for method in sorted(looks):
        chosen = style(method, looks[method])
        marker, dash = MARKERS.index(chosen.marker), DASHES.index(chosen.dash)
        others = [
            replace(chosen, marker=other, dash=line)
            for line in (*DASHES[dash:], *DASHES[:dash])
            for other in (*MARKERS[marker:], *MARKERS[:marker])
        ]
        found[method] = next((other for other in others if other not in found.values()), chosen)
    return found


def rank(knows: str) -> int:
    """Position of a method in legends and tables."""
    return KNOWS.index(knows) if knows in KNOWS else len(KNOWS)


def _hash(text: str, salt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}{text}".encode()).digest()[:4], "big")


def theory_dashes(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Dash lengths of a reference's further curves: a law is dashed, a genie dotted, others each in their own way.

    >>> theory_dashes(["law", "genie"])
    {'genie': (2, 3), 'law': (7, 4)}
    """
    order = sorted(names)
    return {
        name: _KNOWN_DASHES.get(name, _THEORY_DASHES[position % len(_THEORY_DASHES)])
        for position, name in enumerate(order)
    }
