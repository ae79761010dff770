"""One cell of a folder of geometry: a denoiser at one image and noise level, measured beside the optimum."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gahb_bench import geometry
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.denoiser import Denoiser, Differentiation, check_estimate
from gahb_bench.core.errors import DenoiserError, UsageError, reason_of
from gahb_bench.core.images import Batch, Images
from gahb_bench.core.posterior import inform
from gahb_bench.geometry.quantities import MEAN
from gahb_bench.geometry.spectrum import Spectrum
from gahb_bench.running.geometry.folder import COLUMNS
from gahb_bench.running.plan import FamilyPlan, Method

RULE = 2  # raised when what is measured changes
FULL = 4096  # values of an image up to which whole Jacobians are formed
Address = tuple[str, str, float, int]  # of a cell: family, denoiser, noise level, image
LEADING = 50  # eigenpairs, at least, that are found of larger images


@dataclass(frozen=True, eq=False)
class Truth:
    """The geometry of the exact posterior mean at one image and noise level; ``jacobian`` only where it is formed.

    ``k`` leading eigenvectors are compared: those of eigenvalues above 1/2, up to a gap; where more of them than were
    found are above 1/2 (``cut``), those found, up to a gap.
    """

    estimate: Images
    jacobian: Tensor | None
    spectrum: Spectrum
    k: int
    cut: bool

    @property
    def space(self) -> Tensor:
        """The leading eigenspace, ``(k, d)``."""
        return self.spectrum.vectors[0, : self.k]


@dataclass(frozen=True, eq=False)
class Work:
    """One image of one family at one noise level, and the denoisers to measure there."""

    law: FamilyPlan
    image: int
    seed: int
    split: str
    sigma: float
    top: int
    methods: tuple[Method, ...]

    def apart(self) -> list["Work"]:
        """Each denoiser alone."""
        return [replace(self, methods=(method,)) for method in self.methods]

    def failed(self, reason: str) -> list[tuple[str, dict[str, Any] | str]]:
        """Why none of its denoisers was measured."""
        return [(method.spec, reason) for method in self.methods]

    def address(self, spec: str) -> Address:
        """The cell of one of its denoisers."""
        return self.law.spec, spec, self.sigma, self.image


def perform(work: Work) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """By denoiser, what was measured of it, or why that could not be: one that fails fails alone."""
    batch = work.law.family.sample([work.image], seed=work.seed, split=work.split)
    here = Place(work.law, batch, work.sigma, work.top)
    for method in work.methods:
        try:
            yield method.spec, here.measure(method)
        except (Exception, SystemExit) as error:  # a denoiser is foreign code
            yield method.spec, reason_of(error)


class Place:
    """One image of one family at one noise level: the noisy image and the truth are made once, when first needed."""

    def __init__(self, law: FamilyPlan, batch: Batch, sigma: float, top: int) -> None:
        self.law, self.batch, self.sigma, self.top = law, batch, sigma, top
        self.image = batch.indices[0]
        x = batch.images.double()
        self.y = scale_noise(x, unit_noise(batch).double(), sigma)
        self._truth: Truth | None = None
        self._bases: dict[str, geometry.Basis] | None = None

    @property
    def truth(self) -> Truth | None:
        """The optimum's geometry here; None where none is known, or it cannot vouch for this image."""
        oracle = self.law.optimum
        if self._truth is None and oracle is not None:
            estimate = oracle(self.y, self.sigma)
            if not bool(torch.isfinite(estimate).all()):
                return None
            jacobian, spectrum = _spectrum_of(oracle, self.y, self.sigma, self.top, "exact")
            values, whole = spectrum.values[0], jacobian is not None
            k = geometry.eigenspace_dimension(values, whole)
            self._truth = Truth(estimate, jacobian, spectrum, k, not whole and bool(values[-1] > 0.5))
        return self._truth

    @property
    def bases(self) -> dict[str, geometry.Basis]:
        if self._bases is None:
            contour = self.batch.latents.get("contour")
            self._bases = geometry.bases(self.law.family.shape, None if contour is None else contour[0])
        return self._bases

    def measure(self, method: Method) -> dict[str, Any]:
        """What is measured of one denoiser: its row, and the arrays of its spectrum and pictures."""
        x, sigma, truth = self.batch.images.double(), self.sigma, self.truth
        denoiser = inform(method.denoiser, self.batch)
        y = self.y.float() if method.facts.brought else self.y
        how = geometry.Linearised(denoiser, y, sigma).how
        estimate = check_estimate(denoiser(y, sigma), y, denoiser.spec).detach().double()
        if not bool(torch.isfinite(estimate).all()):
            raise DenoiserError(f"{denoiser.spec} gives no finite estimate of image {self.image}.")
        if denoiser is self.law.optimum and truth is not None:
            jacobian, spectrum = truth.jacobian, truth.spectrum
        else:
            jacobian, spectrum = _spectrum_of(denoiser, y, sigma, self.top, how)
        values, vectors = spectrum.values[0], spectrum.vectors[0]
        whole, spaces = jacobian is not None, geometry.eigenspaces(values)
        ends = {0, *accumulate(spaces)}  # elsewhere a number of leading vectors cuts a space, and they are not defined
        own = geometry.over_eigenspaces(geometry.coefficients(spectrum.vectors, x), spectrum.values)
        captured = geometry.adaptivity(own, x)[0]
        if not whole:  # one more was found than is kept: others may be equal to the last
            captured[len(values) - spaces[-1] :] = np.nan
            captured = captured[:-1]
        row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
        row |= {"family": self.law.spec, "denoiser": denoiser.spec, "knows": denoiser.knows, "sigma": sigma}
        row |= {"image": self.image, "derivative": how, "mse": float((estimate - x).square().mean())}
        row |= {f"adaptivity_{k}": float(captured[k - 1]) for k in (10, 50) if k <= len(captured)}
        kept = int(geometry.dimension(values))
        if jacobian is not None:
            trace = geometry.trace(jacobian.double())
            row |= {
                "trace": float(trace),
                "sum_squares": float(geometry.sum_squares(values)),
                "asymmetry": float(geometry.asymmetry(jacobian)),
                "negative": float(geometry.negative(values)),
                "affinity": float(geometry.affinity(denoiser, y, sigma, jacobian)),
                "basis_risk": float(geometry.basis_risk(own, sigma)),
                "sure": float(geometry.sure(estimate, y, sigma, trace)),
            }
        counted = whole or kept < len(values)  # else there may be more of them
        if counted:
            row["dimension"] = kept
        if truth is not None:
            row["excess"] = float((estimate - truth.estimate).square().mean())
            if not truth.cut:
                row["true_dimension"] = truth.k
            if truth.k:
                row["compared"] = truth.k
                if truth.k in ends:
                    row["overlap"] = float(geometry.overlap(truth.space, vectors[: truth.k]))
            if truth.k and not truth.cut and counted and kept in ends:
                row["captured"] = float(geometry.overlap(truth.space, vectors[:kept])) if kept else 0.0
                row["wasted"] = geometry.wasted(vectors[:kept], truth.space)
            if truth.jacobian is not None and jacobian is not None:
                parts = geometry.jacobian_error(jacobian, truth.jacobian, sigma)
                row["error_symmetric"], row["error_antisymmetric"] = map(float, parts)
        shown = vectors[: self.top].reshape(-1, *x.shape[1:])
        for name, column in (("fourier", "harmonic"), ("straightened fourier", "straightened_harmonic")):
            if name in self.bases:
                row[column] = float(geometry.harmonic_share(self.bases[name].coefficients(shown)).mean())
        return {
            "row": row,
            "values": (values if whole else values[:-1]).numpy(),
            "captured": captured[counts(len(captured)) - 1].numpy(),
            "bases": self._fixed(x),
            "clean": x[0].float().numpy(),
            "noisy": self.y[0].float().numpy(),
            "estimate": estimate[0].float().numpy(),
            "vectors": shown.float().numpy(),
            "fields": self._fields(jacobian, x),
        }

    def _fixed(self, x: Images) -> dict[str, Any]:
        """What the fixed bases do with this image: energy captured, ideal risk."""
        found = {}
        for name, basis in self.bases.items():
            own = basis.coefficients(x - MEAN)
            share = geometry.adaptivity(own, x)[0]
            risk = float(geometry.basis_risk(own, self.sigma))
            found[name] = {"captured": share[counts(len(share)) - 1].tolist(), "risk": risk}
        return found

    def _fields(self, jacobian: Tensor | None, x: Images) -> np.ndarray:
        """Rows of J at three pixels of the first channel: where the clean image is steepest, median and flattest."""
        if jacobian is None:
            return np.zeros((0, *x.shape[1:]), dtype=np.float32)
        rows = jacobian[0, steepest(x[0, 0])].reshape(-1, *x.shape[1:])
        return rows.detach().float().numpy()


def steepest(image: Tensor) -> list[int]:
    """The places, in a flat image ``(h, w)``, of the steepest, the median and the flattest pixel."""
    if min(image.shape) < 2:
        return [0]
    rows, columns = torch.gradient(image)
    order = (rows.square() + columns.square()).flatten().argsort(descending=True)
    return [int(order[0]), int(order[len(order) // 2]), int(order[-1])]


def _spectrum_of(
    denoiser: Denoiser, y: Images, sigma: float, top: int, how: Differentiation
) -> tuple[Tensor | None, Spectrum]:
    """The Jacobian and all eigenpairs; of large images None and the leading ones, one more than is kept."""
    values = y[0].numel()
    if values > FULL:
        if how == "difference":
            raise UsageError(
                f"{denoiser.spec} is differentiated by differences, which takes a whole Jacobian: images of at most "
                f"{FULL:,} values, and these have {values:,}. Choose a smaller size, or leave it out."
            )
        return None, geometry.spectrum(denoiser, y, sigma, max(top, LEADING) + 1, how)
    jacobian = geometry.jacobian(denoiser, y, sigma, how).detach()
    return jacobian, geometry.eigenpairs(jacobian)


def counts(d: int) -> np.ndarray:
    """Numbers of vectors at which captured energy is kept: 1 to d, about eight an octave."""
    return np.unique(np.round(np.geomspace(1, d, min(d, 64))).astype(int))
