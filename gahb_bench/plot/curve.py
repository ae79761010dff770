"""Curves of the error against the noise level."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gahb_bench import api, make
from gahb_bench.core.errors import unknown
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.plot.axes import axes_for, draw_legend
from gahb_bench.plot.table import law_of, the_one
from gahb_bench.reporting.figure import figures
from gahb_bench.reporting.study.section import band
from gahb_bench.reporting.study.style import Style, rank, styles
from gahb_bench.reporting.study.words import visible
from gahb_bench.running.folder import reference_of
from gahb_bench.scoring.curve import COLUMNS, check_columns

_REGRETS = ["regret_db", "regret_db_low", "regret_db_high"]  # infinite where the optimum makes no error: no number


def curves(
    table: pd.DataFrame,
    what: Literal["mse", "regret"] = "mse",
    ax: Axes | None = None,
    *,
    families: Iterable[Family] = (),
    legend: bool = True,
) -> Axes:
    """Error of each denoiser against the noise level, with 95 % intervals, beside what is known of the optimum.

        mse        mean over images of |D(x + s z) - x|^2 / pixels; black: the MMSE, a band where it is bracketed
        regret     10 log10(mse / mmse) in dB, as `gahb_bench.curves` measures it; on the right, that as a ratio

    Parameters
    ----------
    table : pandas.DataFrame
        Of one family: rows of `gahb_bench.curves`, or scores (`gahb_bench.score`, ``Run.scores``), from which they are
        made.
    what : ``mse`` or ``regret``
    ax : where to draw; by default a new figure
    families : laws of the table that are not known by their name
    legend : whether denoisers and optimum are named

    Raises
    ------
    UsageError
        If it is no such table, or one of several families.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, ICLR 2024, arXiv:2310.02557, figure 3.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> table = gb.score("calpha:size=8", ["mmse", "identity"], [0.1, 1.0], images=4)
    >>> axes = curves(table, "regret")
    >>> axes.get_ylabel(), [text.get_text() for text in axes.get_legend().get_texts()]
    ('regret to the optimum, dB', ['optimum (MMSE)', 'mmse', 'identity'])
    """
    if what not in ("mse", "regret"):
        raise unknown("thing to draw", str(what), ["mse", "regret"])
    laws = list(families)
    panel = _panel(_curves_of(table, laws), laws)
    draw = figures.draw_mse if what == "mse" else figures.draw_regret
    with axes_for(ax, (6.4, 4.0)) as (axes, theme):
        draw(axes, panel, theme=theme)
        axes.set_title(figures.escaped(panel.label), loc="left", y=1.0, fontsize=10.5, fontweight="bold")
        if legend:
            known = figures.reference_handles(panel, theme=theme) if panel.has_regret else []
            handles = [handle for handle, _ in known]
            handles += [Line2D([], [], **figures.look(each, theme=theme)) for each in panel.methods]  # pyright: ignore[reportArgumentType]
            labels = [label for _, label in known] + [figures.escaped(each.label) for each in panel.methods]
            draw_legend(axes, handles, labels, theme, beside=ax is None)
    return axes


@dataclass(frozen=True, eq=False)
class _Curve:
    """One denoiser of a table of curves."""

    label: str
    style: Style
    drawn: pd.DataFrame

    @property
    def curve(self) -> pd.DataFrame:
        return self.drawn[np.isfinite(self.drawn["mse"])]

    @property
    def worst_regret(self) -> float:
        return float(self.drawn["regret_db"].max())


@dataclass(frozen=True, eq=False)
class _Panel:
    """A table of curves, of one family."""

    label: str
    reference: Reference
    methods: tuple[_Curve, ...]
    shows_theory: bool = False

    @property
    def has_regret(self) -> bool:
        return self.reference.kind != "none"

    @property
    def band(self) -> tuple[FloatArray, FloatArray]:
        return band(self.reference)


def _curves_of(table: pd.DataFrame, families: list[Family]) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame) and "mse_low" in table:
        check_columns(table, COLUMNS)
        return table
    return api.curves(table, families)


def _panel(table: pd.DataFrame, families: list[Family]) -> _Panel:
    spec = the_one(table, "family")
    table = table.assign(**{name: table[name].where(np.isfinite(table[name])) for name in _REGRETS})
    known = table.drop_duplicates("denoiser").set_index("denoiser")["knows"]
    law = law_of(spec, families)
    looks = styles({str(name): make.look(str(name), law) for name in known.index})
    order = sorted(known.index, key=lambda name: rank(known[name]))
    methods = tuple(
        _Curve(visible(name), looks[str(name)], table[table["denoiser"] == name].sort_values("sigma")) for name in order
    )
    return _Panel(visible(spec), reference_of(table), methods)
