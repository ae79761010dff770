"""What every family in the catalogue promises."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError
from gahb_bench.core.rng import SPLITS

FAMILIES = [entry.name for entry in registry.entries("families")]


@pytest.fixture(params=FAMILIES)
def family(request):
    return gb.family(request.param)


def test_shape_dtype_and_address(family):
    batch = family.sample(range(3), seed=5, split="val")
    assert batch.images.shape == (3, *family.shape)
    assert batch.images.dtype == torch.float32
    assert torch.isfinite(batch.images).all()
    assert (batch.family, batch.seed, batch.split, batch.indices) == (family.spec, 5, "val", (0, 1, 2))
    assert all(len(value) == 3 for value in batch.latents.values())


def test_an_image_does_not_depend_on_how_the_batch_is_cut_or_ordered(family):
    count = 128 if family.name == "calpha" else 32
    whole = family.sample(range(count))
    z = unit_noise(whole)
    order = np.random.default_rng(1).permutation(count).tolist()
    for size in (1, 7, count):
        cuts = [order[start : start + size] for start in range(0, count, size)]
        parts = [family.sample(cut) for cut in cuts]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images[order])
        assert torch.equal(torch.cat([unit_noise(part) for part in parts]), z[order])
        for name, value in whole.latents.items():
            assert torch.equal(torch.cat([part.latents[name] for part in parts]), value[order])


def test_seeds_splits_and_indices_give_different_images(family):
    def image(index=0, seed=0, split="test"):
        return family.sample([index], seed=seed, split=split).images

    first = image()
    assert torch.equal(first, image())
    for other in (image(index=1), image(seed=1), *(image(split=s) for s in SPLITS if s != "test")):
        assert not torch.equal(first, other)


def test_global_generators_are_untouched(family):
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = (np.random.get_state()[1].copy(), torch.get_rng_state())  # noqa: NPY002
    unit_noise(family.sample(range(2)))
    after = (np.random.get_state()[1], torch.get_rng_state())  # noqa: NPY002
    assert np.array_equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_noise_is_unit_white_and_the_same_for_every_level(family):
    batch = family.sample(range(16))
    z = unit_noise(batch).double()
    count = z.numel()
    assert abs(z.mean().item()) < 4 / count**0.5
    assert abs(z.var().item() - 1) < 4 * (2 / count) ** 0.5
    for sigma in (0.01, 1.0):
        implied = (gb.add_noise(batch, sigma) - batch.images).double() / sigma
        assert (implied - z).abs().max() < 1e-4 / sigma


def test_the_spec_gives_the_same_family_again(family):
    again = gb.family(family.spec)
    assert again == family
    assert again.spec == family.spec


def test_the_reference_is_consistent(family):
    reference = family.reference([0.1, 10**-0.5])
    assert reference.kind in ("exact", "bracket", "approximate", "linear", "none")
    if reference.kind == "none":
        assert reference.note
        return
    assert reference.note
    if reference.kind != "approximate":
        assert (reference.lower <= reference.mse).all()
        assert (reference.mse <= reference.upper).all()
    assert (reference.mse <= reference.sigma**2).all(), "an optimum cannot lose to the identity"
    assert (np.diff(reference.mse) > 0).all(), "more noise cannot help"


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), []])
def test_bad_noise_levels_are_refused(family, bad):
    with pytest.raises(UsageError, match=r"sigma|noise level"):
        family.reference(bad)


def test_bad_addresses_are_refused(family):
    with pytest.raises(UsageError, match=r"unknown split 'tset'.*train-a"):
        family.sample(range(2), split="tset")
    with pytest.raises(UsageError, match="numbered from 0"):
        family.sample([-1])
    with pytest.raises(UsageError, match="seed"):
        family.sample([0], seed=-1)
