"""The errors a user can meet. Each says what was given, what is allowed, and what to do.

>>> import gahb_bench as gb
>>> try:
...     gb.family("calfa")
... except gb.errors.UsageError as error:
...     print(str(error).partition(" Known")[0])
unknown family 'calfa'; did you mean 'calpha'?
"""

import difflib
from collections.abc import Iterable


class GahbError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(GahbError, ValueError):
    """Wrong input from the user (exit code 2 on the command line)."""


class MissingPackageError(GahbError, ImportError):
    """An optional package is not installed: names it, and how to install it."""


class DenoiserError(GahbError, RuntimeError):
    """A denoiser broke its contract: wrong shape, NaN, or an exception of its own."""


class EstimateError(DenoiserError):
    """What a denoiser returned is no estimate: another kind of thing, or of another shape."""


class StoreError(GahbError, OSError):
    """A run folder cannot be used: unwritable, locked, or holding another plan's run."""


class StoreWarning(UserWarning):
    """What took long to compute could not be kept for the next time; the numbers in hand are not affected."""


class FigureWarning(UserWarning):
    """A figure could not be drawn; the numbers, the page and the other figures are not affected."""


class ScaleWarning(UserWarning):
    """A denoiser is far worse than no denoising at all: probably it was made for other units."""


class RunWarning(UserWarning):
    """A run is done, but not all of it went well: a denoiser failed somewhere, or seems to be meant otherwise."""


def printable(value: object, limit: int = 500) -> str:
    r"""Any value as text on one line in which nothing is invisible: what cannot be printed is written as escapes.

    Foreign code decides what its errors say, so the text may be endless, move the cursor, or fail to be made.

    >>> print(printable("a\nb\x1b[31m"))
    a\nb\x1b[31m
    >>> printable("x" * 10**6, limit=5)
    'xxxx…'
    """
    try:
        text = str(value)[: limit + 1]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = f"(no text: making it raised {type(error).__name__})"
    shown = "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def reason_of(error: BaseException) -> str:
    """What went wrong, on one line: our own errors explain themselves, others are named by their type.

    >>> reason_of(ValueError("boom")), reason_of(SystemExit(0))
    ('ValueError: boom', 'SystemExit: 0')
    """
    text = printable(error)
    return text if isinstance(error, GahbError) else printable(f"{type(error).__name__}: {text}")


def unknown(what: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: lists the known ones and the nearest.

    >>> print(unknown("family", "calfa", ["calpha", "disks"]))
    unknown family 'calfa'; did you mean 'calpha'? Known: calpha, disks.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listing = ", ".join(names) if names else "none"
    return UsageError(f"unknown {what} {given!r}{hint} Known: {listing}.")
