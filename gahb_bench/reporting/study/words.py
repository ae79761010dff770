"""The words and numbers of a report: what the optimum is, what each `knows` means, how a number is written."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference

# What the line or band called the reference is named, by kind.
REFERENCE_NAME = {
    "exact": "optimum (MMSE)",
    "bracket": "bracket that holds the MMSE",
    "approximate": "approximate law of the MMSE",
    "linear": "best linear denoiser",
    "none": "no reference",
}

# The same in a word or two, for tables.
KIND_SHORT = {
    "exact": "exact",
    "bracket": "bracket",
    "approximate": "approximate",
    "linear": "best linear",
    "none": "not known",
}

# What a regret is the distance to, by kind.
REGRET_TO = {
    "exact": "the optimum",
    "bracket": "the middle of the bracket",
    "approximate": "the approximate law",
    "linear": "the best linear denoiser",
    "none": "nothing",
}

# How surely the optimum is known, by kind: a badge and a sentence.
REFERENCE_KIND = {
    "exact": (
        "known exactly",
        "The line is the minimum mean squared error (MMSE): averaged over images and noise, no denoiser that sees only "
        "the noisy image can be below it. On a finite set of images a measured point may fall to either side.",
    ),
    "bracket": (
        "known to lie in a bracket",
        "The MMSE is not known exactly: it lies inside the band, whose two ends are simulated bounds, widened by their "
        "standard errors (95 %). Regret is measured from the band's geometric middle, and its interval runs from the "
        "distance to the upper end of the band to the distance to the lower.",
    ),
    "approximate": (
        "known approximately",
        "The dashed line is an approximation of the MMSE without a proved bound: a regret of a few tenths of a dB on "
        "either side of 0 says nothing.",
    ),
    "linear": (
        "only the best linear denoiser is known",
        "The line is the least error of linear denoisers, an upper bound on the MMSE: a nonlinear denoiser may be "
        "below it, and its regret is then negative.",
    ),
    "none": (
        "not known",
        "Nothing is known about the least possible error of this family, so there is no regret: compare methods with "
        "each other only.",
    ),
}

# What a method knows decides what its curve means: a short gloss for legends, and a sentence.
KNOWS_GLOSS = {
    "law": "can reach the optimum",
    "latents": "told the latents: no real method",
    "image": "an ideal, not a bound",
    "training set": "upper bound",
    "nothing": "upper bound",
}
KNOWS_SENTENCE = {
    "law": "Sees the noisy image, σ and the law of the images. The posterior mean under the law is the optimum itself; "
    "other methods that know the law (linear, local, maximum likelihood) lie on or above it.",
    "latents": "Is also told what was drawn to make this very image (its contour, its disk), as no real method "
    "is. Where it is the conditional mean given that (a genie), its error is a lower bound on the MMSE; else no bound.",
    "image": "Has looked at the clean image itself. It is an ideal that says how well a basis fits, and no bound: it "
    "may lie on either side of the optimum.",
    "training set": "Sees the noisy image and a set of training images. Its error is an upper bound on the MMSE.",
    "nothing": "Sees the noisy image and σ alone. Its error is an upper bound on the MMSE.",
}


def visible(text: object) -> str:
    r"""Text in which nothing is invisible: control and formatting characters are written as escapes.

    >>> print(visible("a\nb"))
    a\nb
    """
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in str(text))


def named(spec: str, untuned: bool) -> str:
    """A denoiser's name as it is shown: with a word of warning where its parameter was not tuned."""
    return visible(spec) + (" (untuned)" if untuned else "")


def sentence(text: object) -> str:
    """Free text on one line, nothing invisible in it."""
    return visible(" ".join(str(text).split()))


def sigma_labels(sigmas: Sequence[float]) -> dict[float, str]:
    """Short labels of noise levels, with as many digits as tell them all apart (at least 3).

    >>> list(sigma_labels([0.1, 0.00316227766]).values())
    ['0.1', '0.00316']
    """
    digits = 3
    while digits < 17 and len({f"{sigma:.{digits}g}" for sigma in sigmas}) < len(set(sigmas)):
        digits += 1
    return {sigma: f"{sigma:.{digits}g}" for sigma in sigmas}


def decibel(value: float | None) -> str:
    """A regret in dB, with a real minus sign; a dash where there is none.

    >>> decibel(1.234), decibel(-0.001)
    ('1.23', '0.00')
    """
    return _signed(value, ".2f")


def interval(low: float | None, high: float | None) -> str:
    """An interval in dB; empty where there is none."""
    if not (finite(low) and finite(high)):
        return ""
    return f"[{decibel(low)}, {decibel(high)}]"


def counted(count: int, noun: str) -> str:
    """How many of something.

    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def number(value: float | None, digits: int = 3) -> str:
    """A number to a few significant digits; a dash where there is none.

    >>> number(0.000123456), number(12.3456)
    ('1.23e-04', '12.3')
    """
    if not finite(value) or value is None:
        return "–"
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.{digits - 1}e}".replace("-", "−", 1) if value < 0 else f"{value:.{digits - 1}e}"
    return _signed(value, f".{digits}g")


def mse(value: float | None) -> str:
    """A mean squared error to four digits, zeros kept so that columns line up.

    >>> mse(0.1), mse(0.000123456)
    ('0.1000', '1.235e-04')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:#.4g}".removesuffix(".") if 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def with_error(value: float | None, error: float | None) -> str:
    """A value and its standard error, to three decimals, or two where the error is large.

    >>> with_error(1.21547, 0.0123)
    '1.215 ± 0.012'
    """
    if error is None or not math.isfinite(error):
        return _signed(value, ".3f")
    decimals = 2 if error >= 0.1 else 3
    return f"{_signed(value, f'.{decimals}f')} ± {error:.{decimals}f}"


def duration(seconds: float | None) -> str:
    """A time a person can read."""
    if seconds is None or not math.isfinite(seconds):
        return "not recorded"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def how_sure(reference: Reference) -> str:
    """How surely the reference is known, as a sentence with its numbers."""
    relative = reference.standard_error / reference.mse
    if reference.kind == "bracket":
        return _how_sure_of_a_bracket(reference, relative)
    worst = float(np.max(relative)) if np.isfinite(relative).all() and relative.size else float("nan")
    if reference.kind == "none":
        return ""
    if worst == 0:
        return "It has no statistical error." if reference.kind != "approximate" else ""
    if not math.isfinite(worst):
        return "Its error is not stated."
    return f"Its standard error is at most {_percent(worst)} of its value (the band is 95 %)."


def _how_sure_of_a_bracket(reference: Reference, relative: FloatArray) -> str:
    inside = np.isfinite(reference.lower) & np.isfinite(reference.upper)
    if not inside.any():
        return "None of these noise levels is within the simulated ones, so nothing is known at them."
    if reference.known.any():
        return (
            f"At {reference.known.sum()} of these noise levels it is known, with a standard error of at most "
            f"{_percent(float(np.max(np.nan_to_num(relative[reference.known]))))}; at the others it is only bounded."
        )
    width = 10 * np.log10(np.max(reference.upper[inside] / reference.lower[inside]))
    text = f"Over these noise levels the bracket is at most {width:.2f} dB wide."
    if not inside.all():
        text = f"Nothing is known at {(~inside).sum()} of these noise levels, outside the simulated ones. {text}"
    worst = float(np.max(np.nan_to_num(relative[inside])))
    return f"{text} Its ends have a standard error of at most {_percent(worst)}." if worst > 0 else text


def exponents_of_theory(slopes: Mapping[str, float], rates: Mapping[str, float]) -> str:
    """What theory says of the exponent: slopes fitted at this size, then rates for small noise on large images.

    >>> exponents_of_theory({"law": 1.45}, {"contour": 1.6})
    'Exponents of theory, by the same fit: law = 1.450. For small noise on large images: contour = 1.600.'
    """
    fitted, asymptotic = (
        "; ".join(f"{visible(name)} = {with_error(value, None)}" for name, value in each.items())
        for each in (slopes, rates)
    )
    return f"Exponents of theory, by the same fit: {fitted}. For small noise on large images: {asymptotic}."


def finite(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %"


def _signed(value: float | None, form: str) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    text = format(value, form)
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−", 1) if text.startswith("-") else text
