"""Spectra of denoisers beside the oracle's."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.geometry.spectrum import Spectrum
from gahb_bench.plot.axes import axes_for, draw_legend
from gahb_bench.plot.table import law_of, the_one
from gahb_bench.reporting.geometry.spectra import draw_spectra, mean_spectra
from gahb_bench.reporting.study.style import styles

_COLUMNS = ("family", "denoiser", "sigma", "index", "eigenvalue")


def spectrum(
    spectra: pd.DataFrame | Mapping[str, Spectrum | Tensor],
    sigma: float | None = None,
    ax: Axes | None = None,
    *,
    optimum: str | None = "mmse",
    legend: bool = True,
) -> Axes:
    """Eigenvalues of S = (J + J') / 2, J = dD/dy, of each denoiser in falling order, mean over images.

    For the exact posterior mean S = Cov(x|y) / sigma^2, between 0 (removed) and, on average, 1 (kept): how far a line
    is from it is how far a denoiser's shrinkage is from the best.

    Parameters
    ----------
    spectra : rows of spectra.parquet (``python -m gahb_bench geometry``) of one family; or, by denoiser, what
        `gahb_bench.geometry.eigenpairs` or `gahb_bench.geometry.spectrum` gives, or eigenvalues ``(n, k)`` or ``(k,)``
    sigma : which noise level of a table that has several, a standard deviation in image units
    ax : where to draw; by default a new figure
    optimum : the denoiser that is drawn thick
    legend : whether denoisers are named

    Raises
    ------
    UsageError
        If there are none, of several families, or not at this noise level.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, ICLR 2024, arXiv:2310.02557, section 3 and figure 4.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> family = gb.family("calpha:size=8")
    >>> y = gb.add_noise(family.sample([0]), 0.1).double()
    >>> made = {name: gb.denoiser(name, family) for name in ("mmse", "identity")}
    >>> found = {name: gb.geometry.eigenpairs(gb.geometry.jacobian(each, y, 0.1)) for name, each in made.items()}
    >>> axes = spectrum(found)
    >>> axes.get_xlabel(), [text.get_text() for text in axes.get_legend().get_texts()]
    ('number of the eigenvalue', ['mmse', 'identity'])
    """
    law = None
    if isinstance(spectra, pd.DataFrame):
        lacking = [name for name in _COLUMNS if name not in spectra]
        if lacking:
            raise UsageError(f"not a table of spectra: it has no column {', '.join(lacking)}. Read a spectra.parquet.")
        law = law_of(the_one(spectra, "family"), [])
        table: pd.DataFrame = spectra
        near = np.isclose(table["sigma"], table["sigma"] if sigma is None else sigma, rtol=1e-9, atol=0)
        rows = table.loc[near]
        the_one(rows, "sigma")
        means = mean_spectra(rows)
    elif not isinstance(spectra, Mapping):
        raise UsageError(f"spectra come as a table, or by denoiser, {{'mmse': found}}: not {type(spectra).__name__}.")
    else:
        means = {str(name): _eigenvalues(name, each) for name, each in spectra.items()}
    if not means:
        raise UsageError("no spectra are given: give at least one, by its denoiser.")
    looks = styles({name: make.look(name, law) for name in means})
    with axes_for(ax, (5.6, 4.0)) as (axes, theme):
        draw_spectra(axes, means, looks, optimum, theme)
        axes.set_ylabel("eigenvalue of (J + J′)/2")
        if legend:
            draw_legend(axes, *axes.get_legend_handles_labels(), theme, beside=ax is None)
    return axes


def _eigenvalues(name: object, given: object) -> np.ndarray:
    values = given.values if isinstance(given, Spectrum) else given
    if not isinstance(values, Tensor) or values.ndim not in (1, 2) or not values.numel():
        raise UsageError(f"the spectrum of {name} is no Spectrum, and no eigenvalues (n, k) or (k,): {type(given)}.")
    return values.detach().double().cpu().reshape(-1, values.shape[-1]).mean(dim=0).numpy()
