"""Denoisers that users bring may have been made for other units: what is far worse than no denoising is pointed out."""

from collections.abc import Collection

import pandas as pd

FAR = 4.0  # times sigma^2, the MSE of no denoising


def find_implausible(table: pd.DataFrame, brought: Collection[str]) -> list[str]:
    """One sentence for each denoiser whose mean MSE exceeds ``4 sigma^2`` at some noise level.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of scores.parquet.
    brought : collection of specs
        The denoisers to look at: those whose units are not ours to vouch for (`Facts.brought`). Others may be far
        worse than the identity with good reason.
    """
    looked_at = table[(table["status"] == "ok") & table["denoiser"].isin(list(brought))]
    cells = looked_at.groupby(["family", "denoiser", "sigma"], sort=False)["mse"].mean().reset_index()
    cells["times"] = cells["mse"] / cells["sigma"] ** 2
    messages = []
    for (family, denoiser), far in cells[cells["times"] > FAR].groupby(["family", "denoiser"], sort=False):
        worst = far.loc[far["times"].idxmax()]
        others = f"{len(far) - 1} other noise level{'s' if len(far) > 2 else ''}"
        more = f", and more than {FAR:g} times at {others}" if len(far) > 1 else ""
        messages.append(
            f"{denoiser} on {family} is far worse than no denoising: at sigma={worst['sigma']:.4g} its mean squared "
            f"error is {worst['times']:.3g} times sigma^2{more}. Was it made for other units (images lie nominally in "
            "[0, 1], sigma in the same units: sigma_scale=255?), does it return the noise (returns=noise?), or was it "
            "trained on other noise levels?"
        )
    return messages
