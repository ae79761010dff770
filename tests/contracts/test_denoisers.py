"""What every oracle and denoiser in the catalogue promises."""

from functools import cache

import foreign_files
import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench import defaults
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core import registry
from gahb_bench.core.errors import GahbError, MissingPackageError, UsageError
from gahb_bench.core.posterior import InformedOracle, PosteriorMean, inform
from gahb_bench.verification.identities import tweedie, z_score

FAMILIES = [entry.name for entry in registry.entries("families")]
QUICKER = {  # of those that take seconds an image; what is promised does not depend on it
    "local-equivariant": "local-equivariant:n=2",
    "posterior-mean": "posterior-mean:chains=2,sweeps=6",
}
# Methods of the plane, which take no images of one row; what they say of it.
NOT_OF_ONE_ROW = {"curvelet": "too small for", "paper-unet": "must be divisible by 2"}
SMALLER = {"calpha-contours": "calpha-contours:size=32"}  # laws whose oracles take seconds an image


def _cases():
    for family in FAMILIES:
        oracles = [oracle.name for oracle in gb.family(family).optimum.oracles]
        for name in (*oracles, *(entry.name for entry in registry.entries("denoisers"))):
            yield pytest.param(family, name, id=f"{family}-{name}")


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """Specs by name: those that read a file get a small one, slow ones little to do."""
    folder = tmp_path_factory.mktemp("files")
    return cache(lambda name: QUICKER.get(name) or foreign_files.spec(name, folder))


def _make(family, spec):
    """The denoiser, told what it must know; families refuse oracles that do not apply to their parameters."""
    law = gb.family(SMALLER.get(family, family))
    batch = law.sample(range(3), split="val")
    return law, batch, inform(_denoiser(spec, law), batch)


def _denoiser(spec, law=None):
    """The denoiser, untuned; where its optional package is not installed the error must say how to install it."""
    try:
        return gb.denoiser(spec, law, tune=False)
    except MissingPackageError as error:
        message = str(error)
    assert "pip install" in message
    pytest.skip(message)


@pytest.mark.parametrize(("family", "name"), list(_cases()))
def test_contract(family, name, specs):
    law, batch, denoiser = _make(family, specs(name))
    y = gb.add_noise(batch, 0.2)
    if law.shape[1] == 1 and name in NOT_OF_ONE_ROW:
        with pytest.raises(GahbError, match=NOT_OF_ONE_ROW[name]):
            denoiser(y, 0.2)
        return
    kept = y.clone()
    x_hat = denoiser(y, 0.2)
    assert x_hat.shape == y.shape
    assert x_hat.dtype == y.dtype
    assert torch.isfinite(x_hat).all()
    assert torch.equal(y, kept), "a denoiser does not change its input"

    denoiser(y.flip(0) if denoiser.knows in ("nothing", "law") else y, 0.5)
    assert torch.equal(denoiser(y, 0.2), x_hat), "a denoiser is stateless and deterministic"

    scale = max(x_hat.abs().max().item(), 1.0)
    each = torch.full((3,), 0.2, dtype=torch.float64)
    assert (denoiser(y, each) - x_hat).abs().max() < 1e-5 * scale, "sigma as a tensor"
    singles = [inform(gb.denoiser(specs(name), law, tune=False), batch.select([i])) for i in range(3)]
    one_by_one = torch.cat([single(y[i : i + 1], 0.2) for i, single in enumerate(singles)])
    assert (one_by_one - x_hat).abs().max() < 1e-4 * scale, "an estimate does not depend on its neighbours"

    assert (denoiser(y.double(), 0.2).float() - x_hat).abs().max() < 1e-2 * scale
    assert denoiser(y.double(), 0.2).dtype == torch.float64


@pytest.mark.parametrize(("family", "name"), list(_cases()))
def test_spec_and_errors(family, name, specs):
    law, batch, denoiser = _make(family, specs(name))
    assert gb.denoiser(denoiser.spec, law, tune=False).spec == denoiser.spec
    y = gb.add_noise(batch, 0.2)
    for sigma in (0.0, -1.0, float("nan"), torch.ones(2)):
        with pytest.raises(UsageError, match="sigma"):
            denoiser(y, sigma)
    with pytest.raises(UsageError, match=r"\(n, c, h, w\)"):
        denoiser(y[0], 0.2)
    with pytest.raises(UsageError, match="nonsense"):
        gb.denoiser(f"{name}:nonsense=1", law, tune=False)
    if isinstance(denoiser, InformedOracle):
        with pytest.raises(UsageError, match="given"):
            gb.denoiser(name, law, tune=False)(y, 0.2)
    if denoiser.knows == "law":
        with pytest.raises(GahbError, match="shape"):
            denoiser(y[..., 1:], 0.2)


def _posterior_means():
    for family in FAMILIES:
        if gb.family(family).optimum.oracle("mmse") is not None:
            yield pytest.param(family, id=family)


@pytest.mark.parametrize("family", list(_posterior_means()))
def test_posterior_means_satisfy_their_identities(family):
    """Risk = posterior variance, residual orthogonal to the estimate, second-order Tweedie."""
    law = gb.family(family)
    oracle = gb.denoiser("mmse", law)
    assert isinstance(oracle, PosteriorMean)
    batch = law.sample(range(64), split="val")
    x = batch.images.double()
    for sigma in (0.1, 0.5):
        y = x + sigma * unit_noise(batch).double()
        posterior = oracle.posterior(y, sigma)
        assert torch.equal(posterior.mean, oracle(y, sigma))
        assert posterior.variance.shape == (64,)
        squared = (posterior.mean - x).square().mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(squared - posterior.variance.numpy())) < 3.5
        inner = ((x - posterior.mean) * (posterior.mean - x.mean())).mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(inner)) < 3.5
        assert tweedie(oracle, batch.select(range(2)), sigma).passed


@pytest.mark.parametrize("family", FAMILIES)
def test_default_runs_name_what_exists(family):
    law = gb.family(family)
    for spec in defaults.scored(law):
        gb.denoiser(spec, law, tune=False)


@pytest.mark.parametrize("name", [entry.name for entry in registry.entries("denoisers")])
@pytest.mark.parametrize("shape", [(1, 1, 33, 47), (2, 1, 24, 40), (1, 1, 17, 17), (2, 3, 24, 40)])
def test_odd_and_oblong_images(name, shape, specs):
    """What knows nothing works on any size."""
    denoiser = _denoiser(specs(name))
    if denoiser.knows != "nothing":
        pytest.skip("made for its family's size, or a network's")
    x = torch.from_numpy(np.random.default_rng(0).random(shape))
    assert denoiser(x, 0.1).shape == shape
