"""Measures the geometry of denoisers beside that of the optimum, image by image, and keeps what is finished.

Finished cells are kept in the folder's ``parts``; what is read from it is `gahb_bench.running.geometry_folder`.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gahb_bench import geometry
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.denoiser import Denoiser, Differentiation
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import DenoiserError, StoreError, UsageError, reason_of
from gahb_bench.core.files import content_digest, explain_errors, lock, write_atomically
from gahb_bench.core.images import Batch, Images
from gahb_bench.core.posterior import inform
from gahb_bench.geometry.quantities import MEAN
from gahb_bench.geometry.spectrum import Spectrum
from gahb_bench.running.geometry_folder import COLUMNS, Failure, Geometry, refuse_others, write
from gahb_bench.running.plan import FamilyPlan, Method, Plan

RULE = 1  # raised when what is measured changes
FULL = 4096  # values of an image up to which whole Jacobians are formed
TOP = 16  # eigenvectors that are shown
_SEEN_WELL = 0.2  # relative error of a brought denoiser's derivative beyond which it is found by differences
_LARGEST_IMAGE = 2**16  # values


@dataclass(frozen=True, eq=False)
class Truth:
    """The geometry of the exact posterior mean at one image and noise level; ``jacobian`` only where it is formed."""

    estimate: Images
    jacobian: Tensor | None
    spectrum: Spectrum
    k: int

    @property
    def space(self) -> Tensor:
        """The leading eigenspace, ``(k, d)``."""
        return self.spectrum.vectors[0, : self.k]


def measure_all(
    plan: Plan,
    folder: Path,
    *,
    top: int = TOP,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Geometry:
    """Measure a plan, keeping every finished cell in ``folder/parts``; what is there already is used again.

    Raises
    ------
    UsageError
        For a denoiser that has no derivative, or images that are too large.
    StoreError
        If the folder cannot be written, or holds something else.
    """
    _check(plan, top)
    with lock(folder):
        refuse_others(folder)
        with explain_errors(folder):
            (folder / "parts").mkdir(exist_ok=True)
        found, failures, resumed, done = [], [], 0, 0
        total = plan.images * len(plan.sigmas) * sum(len(law.methods) for law in plan.families)
        for law in plan.families:
            for image in range(plan.images):
                batch = law.family.sample([image], seed=plan.seed, split=plan.split)
                for sigma in plan.sigmas:
                    task = _Task(plan, law, batch, sigma, top, folder / "parts")
                    for method in law.methods:
                        part = task.stored(method)
                        resumed += part is not None
                        try:
                            found.append(task.measure(method) if part is None else part)
                        except StoreError:
                            raise
                        except Exception as error:  # a denoiser is foreign code: one that fails fails alone
                            failures.append(Failure(law.spec, method.spec, sigma, image, reason_of(error)))
                        done += 1
                        progress(done, total)
        made = _joined(plan, found, failures, command)
        made.resumed = resumed
        write(made, folder)
    return made


class _Task:
    """One image of one family at one noise level: the noisy image and the truth are made once, when first needed."""

    def __init__(self, plan: Plan, law: FamilyPlan, batch: Batch, sigma: float, top: int, parts: Path) -> None:
        self.plan, self.law, self.batch, self.sigma, self.top, self.parts = plan, law, batch, sigma, top, parts
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
            k = geometry.eigenspace_dimension(spectrum.values[0])
            self._truth = Truth(estimate, jacobian, spectrum, k)
        return self._truth

    @property
    def bases(self) -> dict[str, geometry.Basis]:
        if self._bases is None:
            contour = self.batch.latents.get("contour")
            self._bases = geometry.bases(self.law.family.shape, None if contour is None else contour[0])
        return self._bases

    def stored(self, method: Method) -> dict[str, Any] | None:
        """A finished cell, or None where there is none, or it is damaged."""
        path, key = self._place(method)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                part: dict[str, Any] = {name: content[name] for name in content.files}
            if str(part.pop("key")) != key:
                return None
            return {**part, "row": json.loads(str(part["row"])), "bases": json.loads(str(part["bases"]))}
        except Exception:  # not there; or damaged, which can make its readers raise anything
            return None

    def measure(self, method: Method) -> dict[str, Any]:
        """Measure one denoiser, and keep it."""
        part = self._measured(method)
        path, key = self._place(method)
        content = io.BytesIO()
        texts = {name: np.array(json.dumps(part[name])) for name in ("row", "bases")}
        arrays: dict[str, Any] = {**part, **texts, "key": np.array(key)}
        np.savez_compressed(content, **arrays)
        with explain_errors(self.parts.parent):
            write_atomically(path, lambda file: file.write(content.getvalue()))
        return part

    def _place(self, method: Method) -> tuple[Path, str]:
        content = [RULE, self.plan.cell(self.law, method, self.sigma).key, self.image, self.top]
        key = content_digest(json.dumps(content).encode())
        return self.parts / f"{key}.npz", key

    def _measured(self, method: Method) -> dict[str, Any]:
        x, sigma, truth = self.batch.images.double(), self.sigma, self.truth
        denoiser = inform(method.denoiser, self.batch)
        y = self.y.float() if method.facts.brought else self.y
        how = _how(denoiser, y, sigma, method.facts.brought)
        estimate = denoiser(y, sigma).detach().double()
        if not bool(torch.isfinite(estimate).all()):
            raise DenoiserError(f"{denoiser.spec} gives no finite estimate of image {self.image}.")
        if denoiser is self.law.optimum and truth is not None:
            jacobian, spectrum = truth.jacobian, truth.spectrum
        else:
            jacobian, spectrum = _spectrum_of(denoiser, y, sigma, self.top, how)
        values, vectors = spectrum.values[0], spectrum.vectors[0]
        own = geometry.coefficients(spectrum.vectors, x)
        captured = geometry.adaptivity(own, x)[0]
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
        if kept < len(values):  # else there may be more of them
            row["dimension"] = kept
        if truth is not None:
            row |= {"true_dimension": truth.k, "excess": float((estimate - truth.estimate).square().mean())}
            if 0 < truth.k <= len(vectors):
                row["overlap"] = float(geometry.overlap(truth.space, vectors[: truth.k]))
            if truth.k and kept < len(values):
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
            "values": values.numpy(),
            "captured": captured[_counts(len(captured)) - 1].numpy(),
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
            found[name] = {"captured": share[_counts(len(share)) - 1].tolist(), "risk": risk}
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


def _check(plan: Plan, top: int) -> None:
    if top < 1:
        raise UsageError(f"top={top} is not allowed: show at least 1 eigenvector.")
    for law in plan.families:
        values = int(np.prod(law.family.shape))
        if values > _LARGEST_IMAGE:
            raise UsageError(f"{law.spec} has images of {values:,} values: at most {_LARGEST_IMAGE:,} are measured.")
        for method in law.methods:
            how = method.denoiser.derivative
            if how == "none":
                geometry.Linearised(method.denoiser, torch.zeros(1, *law.family.shape), 1.0)  # it says why
            if how == "difference" and values > FULL:
                raise UsageError(
                    f"{method.spec} is differentiated by differences, which takes a whole Jacobian: images of at most "
                    f"{FULL:,} values, and {law.spec} has {values:,}. Choose a smaller size, or leave it out."
                )


def _how(denoiser: Denoiser, y: Images, sigma: float, brought: bool) -> Differentiation:
    """How to differentiate: as stated, but for brought denoisers whose gradient is missing, or not that of the map."""
    how = denoiser.derivative
    if not brought or how != "autograd":
        return how
    try:
        seen = geometry.derivative_error(denoiser, y, sigma) < _SEEN_WELL
    except (DenoiserError, RuntimeError):
        seen = False
    return "autograd" if seen else "difference"


def _spectrum_of(
    denoiser: Denoiser, y: Images, sigma: float, top: int, how: Differentiation
) -> tuple[Tensor | None, Spectrum]:
    """The Jacobian and all eigenpairs, or None and the leading ones of large images."""
    values = y[0].numel()
    if values > FULL:
        return None, geometry.spectrum(denoiser, y, sigma, max(top, 50), how)
    jacobian = geometry.jacobian(denoiser, y, sigma, how).detach()
    return jacobian, geometry.eigenpairs(jacobian)


def _counts(d: int) -> np.ndarray:
    """Numbers of vectors at which captured energy is kept: 1 to d, about eight an octave."""
    return np.unique(np.round(np.geomspace(1, d, min(d, 64))).astype(int))


def _joined(plan: Plan, parts: list[dict[str, Any]], failures: list[Failure], command: str) -> Geometry:
    """The tables, from all cells."""
    rows = pd.DataFrame([part["row"] for part in parts], columns=list(COLUMNS))
    spectra, bases, pictures = [], [], {}
    for part in parts:
        row = part["row"]
        address = {name: row[name] for name in ("family", "denoiser", "sigma", "image")}
        spectra.append(pd.DataFrame({**address, "index": range(len(part["values"])), "eigenvalue": part["values"]}))
        counts = _counts(len(part["values"]))
        bases.append(_basis_rows({**address, "basis": row["denoiser"]}, counts, part["captured"], row["basis_risk"]))
        for name, fixed in part["bases"].items():
            where, counts = {**address, "denoiser": "", "basis": name}, _counts(part["clean"].size)
            bases.append(_basis_rows(where, counts, np.array(fixed["captured"]), fixed["risk"]))
        if row["image"] == 0:
            place = f"{row['family']}/{row['denoiser']}/{row['sigma']!r}"
            for name in ("clean", "noisy", "estimate", "vectors", "fields", "values"):
                pictures[f"{place}/{name}"] = part[name]
    empty = pd.DataFrame()
    manifest = {
        "rule": RULE,
        "plan": plan.record.model_dump(mode="json"),
        "command": command,
        "environment": environment("cpu"),
        "failures": [vars(failure) for failure in failures],
    }
    joined = pd.concat(bases, ignore_index=True).drop_duplicates(ignore_index=True) if bases else empty
    return Geometry(
        rows, pd.concat(spectra, ignore_index=True) if spectra else empty, joined, pictures, manifest, failures
    )


def _basis_rows(address: dict[str, Any], counts: np.ndarray, captured: np.ndarray, risk: float) -> pd.DataFrame:
    return pd.DataFrame({**address, "vectors": counts, "captured": captured, "risk": risk})
