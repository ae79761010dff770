"""What is best for ``calpha-contours``: a certified bracket of the MMSE, and oracles around it."""

from collections.abc import Callable

import pandas as pd

from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation
from gahb_bench.families.calpha_contours.check import bracket_checks, genie_checks
from gahb_bench.families.calpha_contours.compute import IMAGES, RULE, compute, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.oracles import ContourPosteriorMean, Genie, Straightened
from gahb_bench.families.calpha_contours.reference import reference


class CalphaContoursOptimum(Optimum[CalphaContours]):
    """What is best for ``calpha-contours``: a certified bracket of the MMSE, and oracles around it."""

    oracles = (Genie, ContourPosteriorMean, Straightened)

    def reference(self, sigmas: FloatArray) -> Reference:
        """The stored bracket of the MMSE where there is one; otherwise small-noise theory, which bounds nothing."""
        return reference(self.family, sigmas)

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise: the cheap ones (`posterior-mean` takes seconds an image)."""
        family = self.family
        if family.law == "paper":
            return []
        return ["genie", "straightened"] if family.background == "gaussian" else ["straightened"]

    @property
    def simulation(self) -> Simulation | None:
        """The planted bracket; none for the paper's construction."""
        if self.family.law == "paper":
            return None
        law = unit_contrast(self.family)

        def measure(sigma: float, images: int, progress: Callable[[int], object]) -> pd.DataFrame:
            return compute(law, sigma, images, progress=progress)

        return Simulation(law.spec, "curves", RULE, IMAGES, measure, self.family.contrast)

    def checks(self) -> list[Check]:
        """The genie against dense linear algebra on tiny images, and the ends of the stored bracket in their order."""
        family = self.family
        return [*genie_checks(family), *bracket_checks(family)] if family.law == "gaussian" else []
