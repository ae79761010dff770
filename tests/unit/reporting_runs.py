"""Run folders for the tests of reports: real runs, small, some with awkward denoisers and every kind of reference."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from gahb_bench import make
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.images import Images
from gahb_bench.core.optimum import Reference
from gahb_bench.families.calpha.optimum import CalphaOptimum
from gahb_bench.networks import weights
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan

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


def network_file(path: Path, network: str, family: str, seed: int = 0) -> Path:
    """Weights as ``train`` writes them, of a network that was not trained: numbers at random."""
    law, architecture = make.family(family), make.network(network)
    shape, moments = law.shape, {"mean": 0.5, "std": 0.25}
    module = architecture.build(shape, **moments)
    generator = torch.Generator().manual_seed(seed)
    tensors = module.state_dict()
    tensors |= {name: 0.1 * torch.randn(old.shape, generator=generator) for name, old in module.named_parameters()}
    recipe = {"network": architecture.spec, "family": law.spec, "shape": list(shape), **moments}
    weights.save(path, tensors, recipe)
    return path


class Awkward(Denoiser):
    """A denoiser that calls itself as it likes, and may fail at the middle noise level."""

    name: ClassVar = "awkward"
    knows: ClassVar = "training set"
    called: str
    fails: bool = False

    @property
    def spec(self) -> str:
        return self.called

    def estimate(self, y: Images, sigma: torch.Tensor) -> Images:
        if self.fails and float(sigma[0]) == SIGMAS[1]:
            raise RuntimeError(REASON.removeprefix("RuntimeError: "))
        return 0.5 + (y - 0.5) / (1 + sigma.reshape(-1, 1, 1, 1)).to(y.dtype)


def awkward_run(folder: Path, names: Sequence[str] = EVIL, images: int = 8) -> Path:
    """A run with denoisers of these names beside real ones; the last of them fails at the middle noise level."""
    added = [Awkward(called=name, fails=name == names[-1]) for name in names]
    plan = make_plan(["calpha:size=16"], ["mmse", "identity", *added], SIGMAS, images)
    engine.run(plan, folder, command="<i>command</i>")
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
