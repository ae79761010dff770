"""A comparison as a page: one self-contained file without scripts, in the style of the report's."""

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from gahb_bench.reporting.comparison.content import Candidate, Comparison
from gahb_bench.reporting.comparison.text import conclusion, families, is_bitwise, pairs, terms
from gahb_bench.reporting.comparison.words import bits, ends, faster, measured, signed, title, where
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.reporting.study import words
from gahb_bench.scoring.compare import MARGIN_DB

_WIDTH, _HEIGHT, _EDGE = 240, 18, 8  # of the picture of an interval, pixels


def page(comparison: Comparison) -> str:
    """The whole page as text."""
    environment = jinja_environment()
    environment.globals |= {
        "words": words,
        "signed": signed,
        "bits": bits,
        "ends": ends,
        "title": title,
        "where": where,
        "faster": faster,
        "measured": measured,
    }
    return environment.get_template("compare.html").render(
        comparison=comparison,
        failed=bool(len(comparison.failing)),
        conclusion=conclusion(comparison),
        sections=[_candidate(comparison, candidate) for candidate in comparison.candidates],
        style=Markup(template("page.css") + template("compare.css")),
        width=_WIDTH,
        height=_HEIGHT,
    )


def _candidate(comparison: Comparison, candidate: Candidate) -> dict[str, Any]:
    """What the template needs of one candidate."""
    rows = comparison.of(candidate)
    levels = comparison.levels[comparison.levels["run"] == candidate.letter]
    return {
        "candidate": candidate,
        "headline": comparison.headline(candidate),
        "failing": comparison.failing[comparison.failing["run"] == candidate.letter].to_dict("records"),
        "families": [_family(family, found, levels) for family, found in families(rows)],
    }


def _family(family: str, rows: pd.DataFrame, levels: pd.DataFrame) -> dict[str, Any]:
    scale = _Scale(rows)
    found = [
        {
            "title": title(pair[0]),
            "bitwise": is_bitwise(pair),
            "rows": [row | {"picture": scale.picture(row)} for row in pair],
        }
        for _, pair in pairs(rows)
    ]
    changed = {(row["denoiser"], row["candidate"]) for _, pair in pairs(rows) if not is_bitwise(pair) for row in pair}
    shown = [
        row
        for row in levels[levels["family"] == family].to_dict("records")
        if (row["denoiser"], row["candidate"]) in changed
    ]
    return {"name": words.visible(family), "terms": terms(rows), "pairs": found, "levels": shown, "scale": scale}


class _Scale:
    """Where a difference in dB stands in a picture: linear within the margin and logarithmic beyond, 0 in the middle.

    x = W/2 + (W/2 - edge) asinh(d / m) / asinh(d_max / m),   m the margin
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.margin = float(rows["margin_db"].iloc[0])
        self._unit = self.margin or MARGIN_DB
        shown = rows[["difference_db", "low_db", "high_db"]].to_numpy(dtype=np.float64)
        self.largest = float(np.max(np.abs(shown), where=np.isfinite(shown), initial=3 * self._unit))

    def at(self, value: float) -> float:
        """Pixels from the left."""
        share = math.asinh(value / self._unit) / math.asinh(self.largest / self._unit)
        return round(_WIDTH / 2 + (_WIDTH / 2 - _EDGE) * share, 1)

    def picture(self, row: dict[str, Any]) -> dict[str, float] | None:
        """The interval of a row, in pixels, or None where it has none."""
        values = {name: row[f"{name}_db"] for name in ("low", "difference", "high")}
        if not all(words.finite(value) for value in values.values()):
            return None
        return {name: self.at(value) for name, value in values.items()}
