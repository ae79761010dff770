"""The errors a user can meet. Each says what was given, what is allowed, and what to do."""

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


class StoreError(GahbError, OSError):
    """A run folder cannot be used: unwritable, locked, or holding another plan's run."""


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
