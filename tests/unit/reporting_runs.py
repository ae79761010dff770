"""Run folders for the tests of reports: real runs, small, some with awkward denoisers and every kind of reference."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gahb_bench import make
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.optimum import Reference
from gahb_bench.families.calpha.optimum import CalphaOptimum
from gahb_bench.running import engine
from gahb_bench.running.plan import DenoiserPlan, make_plan
from gahb_bench.scoring.score import evaluate

SIGMAS = (0.01, 0.1, 1.0)
# Names that would do harm in a page, a text, a figure or a path if they were not escaped.
EVIL = ("</script><script>alert(1)</script>", "../x", "a\nb|`c`", "$\\frac{", "NA", "‮evil<img src=x onerror=alert(1)>")
REASON = "RuntimeError: <b>no</b> </script><script>window.harmed = 1</script>\nat `line` | 3"


def small_run(
    folder: Path,
    families: Sequence[str] = ("calpha:size=16",),
    denoisers: Sequence[str] = ("mmse", "identity", "wavelet", "ideal"),
    sigmas: Sequence[float] = SIGMAS,
    images: int = 8,
) -> Path:
    """A real run."""
    engine.run(make_plan(families, denoisers, sigmas, images), folder, command="the command")
    return folder


def awkward_run(folder: Path, names: Sequence[str] = EVIL, images: int = 8) -> Path:
    """A run with denoisers of these names beside real ones; the last of them fails at the middle noise level."""
    plan = make_plan(["calpha:size=16"], ["mmse", "identity"], SIGMAS, images)
    family = plan.families[0]
    added = tuple(DenoiserPlan(name, "training set", {}, "") for name in names)
    plan = replace(plan, families=(replace(family, denoisers=(*family.denoisers, *added)),))
    batch = make.family(family.spec).sample(range(images), seed=0, split="test")

    def work(cell):
        if cell.denoiser not in names:
            return engine.evaluate_cell(cell)

        def shrink(y: torch.Tensor, sigma: float) -> torch.Tensor:
            if cell.denoiser == names[-1] and sigma == SIGMAS[1]:
                raise RuntimeError(REASON.removeprefix("RuntimeError: "))
            return 0.5 + (y - 0.5) / (1 + sigma)

        denoiser = make.denoiser(shrink)
        evaluation = evaluate(denoiser, batch, unit_noise(batch), cell.sigma)
        rows = evaluation.rows.assign(denoiser=cell.denoiser, knows="training set")
        return replace(evaluation, rows=rows)

    engine.run(plan, folder, command="<i>command</i>", executor=lambda _, cells: [(c, work(c)) for c in cells])
    return folder


def references_by_kind(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let ``calpha`` state its reference in every kind, chosen by its mean; returns the family specs by kind."""
    true_reference = CalphaOptimum.reference
    means = {"bracket": 0.41, "approximate": 0.42, "none": 0.43, "noisy": 0.44}

    def stated(optimum: CalphaOptimum, sigmas: np.ndarray) -> Reference:
        family, truth = optimum.family, true_reference(optimum, sigmas)
        kind = next((name for name, mean in means.items() if mean == family.mean), None)
        if kind == "bracket":
            lower, upper = 0.8 * truth.mse, 1.3 * truth.mse
            middle = np.sqrt(lower * upper)
            return replace(truth, kind=kind, mse=middle, lower=lower, upper=upper, note="A certified bracket.")
        if kind == "approximate":
            return replace(truth, kind=kind, note="A law.", curves={"<i>the genie's risk</i>": 0.7 * truth.mse})
        if kind == "none":
            return Reference.none(sigmas, "Nothing is known.")
        if kind == "noisy":
            return replace(truth, standard_error=0.05 * truth.mse, note="A mean over images.")
        return truth

    monkeypatch.setattr(CalphaOptimum, "reference", stated)
    specs = {kind: f"calpha:mean={mean},size=16" for kind, mean in means.items()}
    return specs | {"exact": "calpha:size=16", "linear": "calpha:law=uniform,size=16"}
