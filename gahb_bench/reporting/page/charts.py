"""The numbers that the page draws, as plain data for its script."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gahb_bench.reporting.page.gallery import Gallery
from gahb_bench.reporting.page.images import per_image
from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.study.style import theory_dashes

_CURVE = ("sigma", "mse", "mse_low", "mse_high", "regret_db", "regret_db_low", "regret_db_high", "exponent")
_DIGITS = 6


def page_data(content: Content, galleries: dict[str, Gallery]) -> dict[str, Any]:
    """Everything the page's script needs: no markup in it, and no number that is not finite."""
    labels, images = content.sigma_labels, per_image(content)
    return {
        "families": [
            {**_family(section, galleries.get(section.anchor), labels), "images": images[section.anchor]}
            for section in content.sections
        ],
    }


def numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers for JSON: a few digits each, None for NaN and infinity."""
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in map(float, values)]


def _family(section: Section, gallery: Gallery | None, labels: dict[float, str]) -> dict[str, Any]:
    return {
        "anchor": section.anchor,
        "label": section.label,
        "spec": section.spec,
        "seed": section.study.seed,
        "split": section.study.split,
        "sigmas": numbers(section.sigmas),
        "levels": [labels[sigma] for sigma in section.sigmas],
        "scaled": [words.number(255 * sigma) for sigma in section.sigmas],
        "reference": _reference(section),
        "methods": [_method(method) for method in section.methods],
        "gallery": None if gallery is None else _gallery(gallery, section),
    }


def _reference(section: Section) -> dict[str, Any]:
    reference = section.reference
    low, high = section.band
    dashes = theory_dashes(reference.curves)
    return {
        "kind": reference.kind,
        "name": words.REFERENCE_NAME[reference.kind],
        "sigma": numbers(reference.sigma),
        "mse": numbers(reference.mse),
        "low": numbers(low),
        "high": numbers(high),
        "band": bool(np.any(high > low)),
        "exponent": numbers(reference.exponent),
        "asymptotic": reference.asymptotic_exponent,
        "curves": [
            {"name": words.visible(name), "mse": numbers(reference.curves[name]), "dash": plotly_dash(dash)}
            for name, dash in dashes.items()
        ],
    }


def _method(method: Method) -> dict[str, Any]:
    drawn = method.drawn
    return {
        "label": method.label,
        "knows": method.knows,
        "light": method.style.colour.light,
        "dark": method.style.colour.dark,
        "dash": plotly_dash(method.style.dash),
        "marker": method.style.marker,
        **{column: numbers(drawn[column]) for column in _CURVE},
    }


def plotly_dash(lengths: tuple[int, ...]) -> str:
    """Dash lengths as plotly writes them."""
    return ",".join(f"{length}px" for length in lengths) or "solid"


def _gallery(gallery: Gallery, section: Section) -> dict[str, Any]:
    return {
        "levels": [section.sigmas.index(sigma) for sigma in gallery.levels],
        "windows": [[words.decibel(end) for end in window] for window in gallery.windows],
        "clean": gallery.clean,
        "cells": gallery.cells,
    }
