"""The noise levels of a run: the default ones, and as they are written on the command line."""

import numpy as np

from gahb_bench.core import memory
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray, check_sigmas

DEFAULT_SIGMAS = tuple(float(10 ** (quarter / 4)) for quarter in range(-10, 3))  # 10^-2.5 to 10^0.5
OWN_UNITS_SIGMAS = tuple(float(10 ** (quarter / 4)) for quarter in range(-6, 7))  # 10^-1.5 to 10^1.5, of a law's scale


def parse_sigmas(text: str) -> FloatArray:
    """Noise levels as written: ``0.01,0.1`` or ``low:high:count``, evenly spaced in log sigma, both ends included.

    >>> parse_sigmas("0.01:1:3").tolist()
    [0.01, 0.1, 1.0]
    """
    try:
        if ":" in text:
            low, high, count = text.split(":")
            ends = check_sigmas([float(low), float(high)])
            if int(count) < 2:
                raise ValueError
            memory.check_fits(memory.of_levels(int(count)), f"{int(count)} noise levels", "give fewer")
            return np.geomspace(ends[0], ends[1], int(count))
        values = [float(piece) for piece in text.split(",") if piece.strip()]
    except UsageError:
        raise
    except ValueError:
        raise UsageError(
            f"cannot read the noise levels {text!r}: write them as 0.01,0.1,1 or as low:high:count with count >= 2, "
            "for example 0.003:3:13."
        ) from None
    return check_sigmas(values)
