"""How every figure is drawn: with the defaults of matplotlib, whatever the user set; one that fails costs itself."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gahb_bench.core.errors import FigureWarning, reason_of

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

# What a figure's file says of itself: the program that made it, and no date. By it an earlier one is known.
MADE_BY: dict[str, dict[str, Any]] = {
    "png": {"Software": "gahb_bench"},
    "svg": {"Creator": "gahb_bench", "Date": None},
    "pdf": {"Creator": "gahb_bench", "CreationDate": None},
}
MARKS = (b"Software\0gahb_bench", b"<dc:title>gahb_bench</dc:title>", b"/Creator (gahb_bench)")
_COLOURS = 256  # of a map, which is the library's default


@contextmanager
def style(parameters: Mapping[Any, Any]) -> Iterator[None]:
    """Matplotlib as it comes, with these parameters: nothing of a user's matplotlibrc or session is in a figure."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(parameters)
        yield


def colours(name: str) -> "Colormap":
    """A map of colours of the library, in its default number of steps."""
    import matplotlib

    return matplotlib.colormaps[name].resampled(_COLOURS)


def attempt(name: str, draw: Callable[[], bytes | None]) -> bytes | None:
    """What a figure's drawing gives; where it fails, None and a `FigureWarning`.

    The warning names the figure and the reason. A matplotlib that cannot be imported here (a damaged matplotlibrc, for
    example) is such a reason, if ``draw`` imports what needs it.
    """
    try:
        return draw()
    except Exception as error:  # what a drawing library raises in somebody else's environment can be anything
        warnings.warn(f"the figure {name} could not be drawn: {reason_of(error)}", FigureWarning, stacklevel=2)
        return None
