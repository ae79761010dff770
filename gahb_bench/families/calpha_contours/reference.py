"""What is known of the MMSE of ``calpha-contours``: the stored bracket, small-noise theory, exponents."""

import math

import numpy as np
import torch

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.families.calpha_contours.compute import RULE, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.model import contour_law, contour_model, given_contour
from gahb_bench.tables.interpolate import along_curves, stored_curves

_GENIE_IMAGES = 16  # images whose errors give the genie's risk where no table has it


def reference(family: CalphaContours, sigmas: FloatArray) -> Reference:
    """The stored bracket of the MMSE where there is one; otherwise small-noise theory, which bounds nothing.

        bracket:       MMSE(s; contrast) = contrast^2 MMSE(s / contrast; 1), see `planted_bracket`
        approximate:   genie + n_e D^2 ( sqrt(w^2 + e^2) - w ) / (N sqrt(pi)), see `contour_law`

    ``curves`` holds the ``law`` (the approximate one) and, for Gaussian backgrounds, the ``genie``. Noise levels
    outside the stored table are NaN. No reference is known for ``law=paper``.
    """
    if family.law == "paper":
        return Reference.none(
            sigmas, "No optimum is known for the paper's construction: denoisers can only be compared with each other."
        )
    stored = stored_curves(unit_contrast(family).spec, rule=RULE)
    if not stored:
        return _approximate(family, sigmas)
    images = min(int(table["images"].min()) for table in stored)
    lowest, highest = min(table.index[0] for table in stored), max(table.index[-1] for table in stored)
    at, scale = sigmas / family.contrast, family.contrast**2
    lower, lower_error, low_slope = along_curves(stored, "lower", at)
    upper, upper_error, high_slope = along_curves(stored, "upper", at)
    curves = {"law": contour_law(family, sigmas)}
    if family.background == "gaussian":
        curves["genie"] = scale * along_curves(stored, "genie", at)[0]
        curves["law"] = curves["law"] + curves["genie"]
    return Reference(
        kind="bracket",
        sigma=sigmas,
        mse=scale * np.sqrt(lower * upper),
        lower=scale * np.minimum(lower, upper),
        upper=scale * np.maximum(lower, upper),
        standard_error=scale * np.maximum(lower_error, upper_error),
        exponent=(low_slope + high_slope) / 2,
        asymptotic_exponent=asymptotic_exponent(family),
        note=(
            f"Bracket of the MMSE by simulation on {images} or more images a level, for "
            f"sigma/contrast from {lowest:.3g} to {highest:.3g}: the lower end is a bound because a chain "
            "started at the truth is stationary, the upper end is the risk of a denoiser that sees only y. Each end "
            "has the stated standard error, and where the two agree within it they are sorted. Between stored levels "
            "it is a cubic spline, and its distance from another interpolation is part of the error. The law (dashed) "
            "is small-noise theory, not a bound" + _genie_in_words(family) + ". " + _exponents_in_words(family)
        ),
        curves=curves,
        rates=rates(family),
    )


def asymptotic_exponent(family: CalphaContours) -> float:
    """Exponent of the MMSE for small noise and large images: the smaller of the contour's and the backgrounds'.

    contour: 4 alpha/(2 alpha + 1);   C^beta backgrounds: 2 beta/(beta + 1)
    """
    contour, backgrounds = rates(family).values()
    return contour if family.background == "constant" else min(contour, backgrounds)


def rates(family: CalphaContours) -> dict[str, float]:
    """Exponents for small noise on large images, by what contributes them."""
    beta = family.background_regularity
    contour = {"contour, 4 alpha/(2 alpha+1)": 4 * family.alpha / (2 * family.alpha + 1)}
    if family.background == "gaussian":
        return contour | {"backgrounds, 2 beta/(beta+1)": 2 * beta / (beta + 1)}
    return contour | {
        "not here, for backgrounds are constant: 2 alpha/(alpha+1)": 2 * family.alpha / (family.alpha + 1)
    }


def fitted_exponents(family: CalphaContours, sigmas: FloatArray) -> dict[str, float]:
    """Exponents over these noise levels, beside what theory says of them.

    Slopes of log mse against log sigma, by least squares: of the bracket's middle (NaN where none is stored) and of
    the law at this image size; then the asymptotic exponents of the contour and of the backgrounds.

    Raises
    ------
    UsageError
        For fewer than two noise levels.
    """
    if len(sigmas) < 2:
        raise UsageError("an exponent is the slope between noise levels: give at least two.")
    known = reference(family, sigmas)
    x = np.log(sigmas)
    middle = np.log(known.mse) if known.kind == "bracket" else np.full(len(sigmas), np.nan)
    inside = np.isfinite(middle)
    return {
        "bracket": float(np.polyfit(x[inside], middle[inside], 1)[0]) if inside.sum() > 1 else math.nan,
        "law at this size": float(np.polyfit(x, np.log(known.curves["law"]), 1)[0]),
        **rates(family),
    }


def _approximate(family: CalphaContours, sigmas: FloatArray) -> Reference:
    """Small-noise theory, where no bracket is stored."""
    law = contour_law(family, sigmas)
    curves = {}
    if family.background == "gaussian":
        curves["genie"] = _genie_risk(family, sigmas)
        law = law + curves["genie"]
    nan = np.full(len(sigmas), np.nan)
    return Reference(
        kind="approximate",
        sigma=sigmas,
        mse=law,
        lower=nan,
        upper=nan,
        standard_error=nan,
        exponent=nan,
        asymptotic_exponent=asymptotic_exponent(family),
        note=(
            "Small-noise theory, not a bound: no bracket is stored for these parameters. Make and keep one with "
            f"'python -m gahb_bench reference --family \"{family.spec}\"'. " + _exponents_in_words(family)
        ),
        curves={"law": law, **curves},
        rates=rates(family),
    )


def _genie_risk(family: CalphaContours, sigmas: FloatArray) -> FloatArray:
    """Mean squared error of E[x | y, contour] over a few images of the split ``val``."""
    batch = family.sample(range(_GENIE_IMAGES), split="val")
    model = contour_model(family, batch.images.device)
    mask, _ = model.mask(batch.latents["contour"])
    x, z = batch.images[:, 0].double() - 0.5, unit_noise(batch)[:, 0].double()
    risks = []
    for sigma in sigmas:
        level = torch.full((len(batch),), float(sigma), dtype=torch.float64)
        risks.append(float((given_contour(model, mask, x + sigma * z, level) - x).square().mean()))
    return np.array(risks)


def _genie_in_words(family: CalphaContours) -> str:
    if family.background == "constant":
        return ""
    return "; the genie (dotted) knows the contour, so its risk is a lower bound"


def _exponents_in_words(family: CalphaContours) -> str:
    contour = f"4 alpha/(2 alpha+1) = {4 * family.alpha / (2 * family.alpha + 1):.3g}"
    beta = family.background_regularity
    if family.background == "constant":
        return (
            f"With constant backgrounds only the contour is unknown: for small noise on large images the exponent is "
            f"{contour}, not 2 alpha/(alpha+1) = {2 * family.alpha / (family.alpha + 1):.3g}, because the error of the "
            "contour is below the width of its edge; it rises to 2 where the noise is so small that every mode of the "
            "contour is seen. Compare a curve with the local exponent of this reference."
        )
    return (
        f"For small noise on large images the backgrounds contribute the exponent 2 beta/(beta+1) = "
        f"{2 * beta / (beta + 1):.3g} and the contour {contour}; the smaller governs, and it rises to 2 where the "
        "noise is so small that every mode is seen. Compare a curve with the local exponent of this reference."
    )
