"""The rows of a comparison in words: names, differences in dB, intervals, times."""

from collections.abc import Mapping
from typing import Any

from gahb_bench.reporting.study import words


def signed(value: float) -> str:
    """A difference in dB with its sign; a dash where there is none.

    >>> signed(0.1234), signed(-0.0001)
    ('+0.123', '0.000')
    """
    if not words.finite(value):
        return "–"
    text = f"{value:+.3f}"
    return text.replace("-", "−") if float(text) else text[1:]


def ends(row: Mapping[str, Any]) -> str:
    """The interval of a row; empty where there is none."""
    low, high = row["low_db"], row["high_db"]
    return f"[{signed(low)}, {signed(high)}]" if words.finite(low) and words.finite(high) else ""


def bits(row: Mapping[str, Any]) -> str:
    """How many bits a pixel more the candidate loses, with their interval; a dash where they are not known.

    >>> bits({"difference_bits": 0.0123, "low_bits": 0.01, "high_bits": 0.015})
    '+0.0123 [+0.01, +0.015]'
    """
    value, low, high = (
        "+" * (row[name] > 0) + words.number(row[name]) for name in ("difference_bits", "low_bits", "high_bits")
    )
    return f"{value} [{low}, {high}]" if words.finite(row["low_bits"]) and low != high else value


def title(row: Mapping[str, Any]) -> str:
    """The denoiser of a row, or the two that are compared, with nothing invisible in it."""
    names = dict.fromkeys((words.visible(row["denoiser"]), words.visible(row["candidate"])))
    return " → ".join(names)


def measured(row: Mapping[str, Any]) -> str:
    """What decided: the excess over the exact optimum, or the MSE; empty where nothing was compared.

    >>> measured({"measure": "mse"}), measured({"measure": "excess"})
    ('MSE', 'excess')
    """
    return "MSE" if row["measure"] == "mse" else str(row["measure"])


def where(row: Mapping[str, Any]) -> str:
    """The noise levels of a row.

    >>> where({"sigma_low": 0.01, "sigma_high": 1.0})
    '0.01 to 1'
    """
    low, high = row["sigma_low"], row["sigma_high"]
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def faster(ratio: float) -> str:
    """The time of the candidate as a multiple of the baseline's; empty where there is none.

    >>> faster(1.5)
    '× 1.50'
    """
    return f"× {ratio:.2f}" if words.finite(ratio) else ""
