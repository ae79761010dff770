"""The analytic theories of what networks learn from a training set, each as a denoiser that knows the same set."""

from gahb_bench import make
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.denoisers.analytic.patch import PatchDenoiser
from gahb_bench.denoisers.training_set import fitted
from gahb_bench.tuning import tune

CALIBRATED_ON = "train-a"  # the training set with which patches are calibrated, for both networks
_COMPONENTS = 10  # of the mixture, at most
_WHOLE = 30  # times as many whole images as patches are compared at all places, which takes about as long
_COVERS = 2**16 + 1  # a patch of this side covers every image


def theories(law: Family, n: int, split: str, seed: int, sigma: float, most: int) -> dict[str, Denoiser]:
    """All theories by name, of the first ``n`` images of a split, as they are at one noise level.

    The memoriser is `empirical`, and, for networks that do not know where they are, `empirical` over all periodic
    shifts of the training images (`local-equivariant` with a patch that covers the image); the Gaussian score is
    `wiener-data` with the sample covariance; the mixture has ten components, or n. The patches of `local` and
    `local-equivariant` are those that do best on validation images with the training set of the first network.
    `local-equivariant`, which compares each pixel with patches at all places, knows ``most`` images at most, the
    shifted memoriser thirty times as many.
    """
    few = min(n, most)
    local, equivariant = (_side(law, spec, seed, sigma) for spec in (f"local:n={n}", f"local-equivariant:n={few}"))
    specs = _specs(n, most, local, equivariant, split, seed)
    return {name: make.denoiser(spec, law) for name, spec in specs.items()}


def check_theories(law: Family, n: int, seed: int, needed: bool) -> None:
    """Refuse a training set of which no memoriser can be made, or no theory where one is ``needed``.

    Raises
    ------
    UsageError
    """
    specs = _specs(n, 1, 1, 1, CALIBRATED_ON, seed)
    make.denoiser(specs["memoriser"], law)
    try:
        for spec in specs.values() if needed else ():
            make.denoiser(spec, law)
    except UsageError as error:
        raise UsageError(f"{error} Or measure no distance to theories: theories=0.") from None


def _specs(n: int, most: int, local: int, equivariant: int, split: str, seed: int) -> dict[str, str]:
    """With the sides of patches."""
    common = f"split={split},seed={seed}"
    return {
        "memoriser": f"empirical:n={n},{common}",
        "shifted memoriser": f"local-equivariant:n={min(n, _WHOLE * most)},patch={_COVERS},{common}",
        "local": f"local:n={n},patch={local},{common}",
        "local-equivariant": f"local-equivariant:n={min(n, most)},patch={equivariant},{common}",
        "locality": f"locality:n={n},{common}",
        "gaussian score": f"wiener-data:n={n},stationary=false,shrinkage=none,{common}",
        "mixture score": f"mixture-score:n={n},components={min(n, _COMPONENTS)},{common}",
    }


@fitted(64)
def _side(law: Family, spec: str, seed: int, sigma: float) -> int:
    """The side of the patches that does best on images of split ``val`` at one noise level."""
    method = make.denoiser(f"{spec},split={CALIBRATED_ON},seed={seed}", law, tune=False)
    assert isinstance(method, PatchDenoiser)
    return int(tune(method, law, [sigma], images=method.tuned_on, seed=seed).value[0])
