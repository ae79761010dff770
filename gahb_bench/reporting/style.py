"""How methods look: colour, dash and marker from the method alone, the same in every report; order by what is known.

The nine hues (and ink and grey) stay at least 9 CIEDE2000 units apart under normal vision and under full protanopia,
deuteranopia and tritanopia, in the light and in the dark theme, and have a contrast of at least 3 with the page; dash
and marker tell methods apart without any colour.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from gahb_bench.core import spec as specs
from gahb_bench.core.errors import UsageError

# The order of legends and tables.
KNOWS = ("law", "latents", "image", "training set", "nothing")

PAPER, NIGHT = "#ffffff", "#14171c"  # the page, light and dark


class Colour(NamedTuple):
    """One hue in the two themes."""

    light: str
    dark: str


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


# Methods that ship here have chosen looks; anything else gets one from a hash of its name. A key with parameters is
# for specs that have those parameters.
_CHOSEN: dict[str, tuple[Colour, str]] = {
    "mmse": (INK, "circle"),
    "wiener": (INK, "square"),
    "posterior-mean": (INK, "diamond"),
    "identity": (GREY, "x"),
    "local-mmse": (HUES["plum"], "circle"),
    "projection": (HUES["indigo"], "triangle-down"),
    "genie": (HUES["crimson"], "triangle-down"),
    "tangent": (HUES["crimson"], "diamond"),
    "straightened": (HUES["plum"], "triangle-down"),
    "ideal": (HUES["ochre"], "triangle-up"),
    "ideal:basis=fourier": (HUES["rust"], "triangle-up"),
    "wavelet": (HUES["blue"], "square"),
    "wavelet:rule=soft": (HUES["periwinkle"], "square"),
    "wavelet:rule=sure": (HUES["teal"], "square"),
    "wavelet:rule=bayes": (HUES["indigo"], "square"),
    "curvelet": (HUES["plum"], "diamond"),
    "gaussian-blur": (HUES["periwinkle"], "triangle-down"),
    "tv": (HUES["green"], "diamond"),
    "nlm": (HUES["crimson"], "square"),
    "dct": (HUES["ochre"], "square"),
    "bm3d": (HUES["rust"], "diamond"),
    "network": (HUES["teal"], "circle"),
    "unet": (HUES["crimson"], "circle"),
    "edm-unet": (HUES["rust"], "circle"),
    "bf-cnn": (HUES["green"], "circle"),
    "dncnn": (HUES["ochre"], "circle"),
    "rf-cnn": (HUES["teal"], "circle"),
    "linear": (HUES["periwinkle"], "circle"),
    "empirical": (GREY, "diamond"),
    "wiener-data": (HUES["blue"], "triangle-up"),
    "local": (HUES["green"], "triangle-up"),
    "local-equivariant": (HUES["teal"], "triangle-up"),
    "locality": (HUES["plum"], "triangle-up"),
}


def style(method: str) -> Style:
    """The look of a method, from its spec alone, whichever run it is said to come from (``spec @ run``).

    Parameters that no chosen look accounts for decide dash and marker, so that variants of a method share its hue.

    >>> style("wavelet:rule=sure").colour == style("wavelet:rule=sure,shifts=all").colour
    True
    """
    method = method.partition(" @ ")[0]
    try:
        parsed = specs.parse(method)
        name, parameters = parsed.name, dict(parsed.parameters)
    except UsageError:  # a user's own label need not be a spec
        name, parameters = method, {}
    key = _chosen_key(name, parameters)
    if key is None:
        colour, marker = list(HUES.values())[_hash(name, 0) % len(HUES)], MARKERS[_hash(name, 1) % len(MARKERS)]
        rest = parameters
    else:
        colour, marker = _CHOSEN[key]
        rest = {word: value for word, value in parameters.items() if f"{name}:{word}={value}" != key}
    if not rest:
        return Style(colour, DASHES[0], marker)
    variant = specs.format_spec("", rest)
    dash = DASHES[1 + _hash(variant, 2) % (len(DASHES) - 1)]
    others = [other for other in MARKERS if other not in (marker, "x")]
    return Style(colour, dash, others[_hash(variant, 3) % len(others)])


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """The looks of the methods of one report: where two coincide, the later by name takes a free marker, then dash."""
    found: dict[str, Style] = {}
    for method in sorted(set(methods)):
        look = style(method)
        marker, dash = MARKERS.index(look.marker), DASHES.index(look.dash)
        others = [
            replace(look, marker=other, dash=line)
            for line in (*DASHES[dash:], *DASHES[:dash])
            for other in (*MARKERS[marker:], *MARKERS[:marker])
        ]
        found[method] = next((other for other in others if other not in found.values()), look)
    return found


def rank(knows: str) -> int:
    """Position of a method in legends and tables."""
    return KNOWS.index(knows) if knows in KNOWS else len(KNOWS)


def _chosen_key(name: str, parameters: dict[str, str]) -> str | None:
    """The most specific chosen look whose parameters the method has."""
    keys = [name, *(f"{name}:{key}={value}" for key, value in sorted(parameters.items()))]
    return next((key for key in reversed(keys) if key in _CHOSEN), None)


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
