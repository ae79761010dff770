"""What every architecture in the catalogue promises."""

import copy

import pytest
import torch

import gahb_bench as gb
from gahb_bench.core import registry
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.network import parameter_count
from gahb_bench.networks import weights
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import make_settings

ENTRIES = {entry.name: entry for entry in registry.entries("networks")}
PRESETS = [(name, preset) for name, entry in ENTRIES.items() for preset in entry.facts]
SHAPE = (1, 16, 16)


def built(spec, shape=SHAPE):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return gb.network(spec).build(shape, 0.5, 0.25)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_stated_parameters(name, preset):
    stated = ENTRIES[name].facts[preset][0]
    side = 64 if name == "linear" else 32  # one matrix: its size is the image's
    assert parameter_count(built(f"{name}:preset={preset}", (1, side, side))) == stated


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.facts["small"][1]])
def test_stated_receptive_field(name):
    """The pixels of y on which some pixel of the estimate depends, by gradients in random directions."""
    field = ENTRIES[name].facts["small"][1]
    side = -(-2 * field // 8) * 8 + 8
    network = built(name, (1, side, side)).double().eval()
    reached = 0
    for pixel in range(side // 2, side // 2 + gb.network(name).divisor):
        y = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(pixel), dtype=torch.float64)
        y.requires_grad_()
        network(y, torch.full((2,), 0.1, dtype=torch.float64))[:, :, pixel, side // 2].sum().backward()
        rows = (y.grad.abs().sum(dim=(0, 1, 3)) > 0).nonzero()
        reached = max(reached, int(rows.max() - rows.min()) + 1)
    assert reached == field


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ENTRIES)
def test_contract(name, channels, tmp_path):
    shape = (channels, *SHAPE[1:])
    network = built(name, shape).eval()
    y = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([0.01, 0.1, 1.0])
    kept = y.clone()
    x_hat = network(y, sigma)
    assert x_hat.shape == y.shape
    assert x_hat.dtype == torch.float32
    assert torch.equal(y, kept)
    one_by_one = torch.cat([network(y[i : i + 1], sigma[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(one_by_one, x_hat, atol=1e-4, rtol=1e-4)
    recipe = {"network": gb.network(name).spec, "family": "calpha:size=16", "shape": shape, "mean": 0.5, "std": 0.25}
    weights.save(tmp_path / "x.safetensors", network.state_dict(), recipe)
    again, _ = weights.load(tmp_path / "x.safetensors")
    assert torch.equal(again(y, sigma), x_hat)


@pytest.mark.parametrize("family", ["calpha:size=16", "coloured:of=(calpha:size=16)"])
@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_can_be_trained(name, family):
    """A few steps lower the loss, and each parameter has a gradient that is not zero in one of them."""
    law = gb.family(family)
    network = built(name, law.shape).train()
    gb.network(name).start_from(network, law.sample(range(32), split="train").images)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    batch = law.sample(range(8), split="train")
    y, sigma = gb.add_noise(batch, 0.3), torch.full((8,), 0.3)
    before = copy.deepcopy(network).eval()
    moved = {key: False for key, _ in network.named_parameters()}
    for _ in range(30):
        optimizer.zero_grad()
        (network(y, sigma) - batch.images).square().mean().backward()
        for key, parameter in network.named_parameters():
            moved[key] |= parameter.grad is not None and bool(parameter.grad.any())
        optimizer.step()
    assert all(moved.values()), [key for key, value in moved.items() if not value]
    with torch.no_grad():
        errors = [float((module(y, sigma) - batch.images).square().mean()) for module in (before, network)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("name", ENTRIES)
def test_training_on_colour_images(name, tmp_path):
    """The weights that ``train`` keeps denoise images of three channels, and refuse others."""
    law = gb.family("coloured:of=(calpha:size=16)")
    small = {"steps": 2, "batch": 4, "validate_every": 2, "validation_images": 2}
    trained = gb.denoiser(f"network:weights={fit(make_settings(law.spec, name, small), tmp_path / name)}")
    y = gb.add_noise(law.sample(range(2)), 0.1)
    assert trained(y, 0.1).isfinite().all()
    with pytest.raises(DenoiserError, match="takes images of 3 channels, not 1"):
        trained(y[:, :1], 0.1)


@pytest.mark.parametrize("name", ENTRIES)
def test_images_that_cannot_be_taken_are_refused(name):
    divisor = gb.network(name).divisor
    if divisor > 1:
        with pytest.raises(UsageError, match="divisible by"):
            built(name, (1, 16, 15))
