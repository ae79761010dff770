"""The networks of the research code, and DnCNN: facts, names, scaling, batch norm."""

import pytest
import torch

import gahb_bench as gb
from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError
from gahb_bench.core.network import parameter_count
from gahb_bench.networks.bias_free import BiasFreeBatchNorm
from gahb_bench.networks.unet import Sizes

BLIND = ("unet", "bf-cnn", "dncnn")


def _facts():
    for entry in registry.entries("networks"):
        if entry.name in BLIND:
            for preset, facts in entry.facts.items():
                yield pytest.param(entry.name, preset, facts, id=f"{entry.name}-{preset}")


def _receptive_field(module, side, places):
    """Width of what the pixels in the middle depend on, by the gradient; it may differ from place to place.

    The weights are made positive, so that no ReLU hides a pixel.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_().add_(1e-3)
    module.double().eval()
    y = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    row = module(y)[0, 0, side // 2, side // 2 : side // 2 + places]
    gradients = [torch.autograd.grad(pixel, y, retain_graph=True)[0][0, 0] for pixel in row]
    return max(int((gradient != 0).any(dim=0).sum()) for gradient in gradients)


@pytest.mark.parametrize(("name", "preset", "facts"), list(_facts()))
def test_facts_are_measured(name, preset, facts):
    side = 112
    built = gb.network(f"{name}:preset={preset}").build((1, side, side), 0.5, 0.2)
    assert parameter_count(built) == facts[0]
    narrow = gb.network(f"{name}:preset={preset},width=1").build((1, side, side), 0.5, 0.2)
    assert _receptive_field(narrow.network, side, 8) == facts[1]


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(("kernel", "convolutions"), [(3, 2), (5, 3)])
def test_the_receptive_field_of_a_unet_is_the_measured_one(blocks, kernel, convolutions):
    side = 2**blocks * (30 if kernel == 3 else 50)
    spec = f"unet:width=1,blocks={blocks},kernel={kernel},convolutions={convolutions}"
    raw = gb.network(spec).build((1, side, side), 0.5, 0.2).network
    assert _receptive_field(raw, side, 2**blocks) == raw.receptive_field < side


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("spec", ["unet:width=4", "bf-cnn:width=4,depth=5", "bf-cnn:width=4,depth=5,first=relu"])
def test_bias_free_networks_scale_with_their_input(spec, padding):
    torch.manual_seed(0)
    module = gb.network(f"{spec},padding={padding}").build((1, 16, 16), 0.5, 0.2)
    for name, parameter in module.named_parameters():
        if name.endswith("gammas"):
            torch.nn.init.ones_(parameter)  # as they start, the network does almost nothing
    sigma = torch.full((3,), 0.1)
    y = torch.rand(3, 1, 16, 16)
    module(y, sigma)  # in training: running_sd leaves 1
    module.eval()
    with torch.no_grad():
        x_hat = module(y, sigma)
        torch.testing.assert_close(module(7 * y, sigma), 7 * x_hat)
        assert not torch.equal(x_hat, y)
        moved = module(y.roll((4, 8), dims=(2, 3)), sigma)
    commutes = torch.allclose(moved, x_hat.roll((4, 8), dims=(2, 3)), atol=1e-4)
    assert commutes == (padding == "circular")


def test_dncnn_has_biases():
    module = gb.network("dncnn:width=4,depth=4").build((1, 16, 16), 0.5, 0.2).eval()
    y = torch.rand(2, 1, 16, 16)
    assert module(0 * y, torch.ones(2)).abs().max() > 1e-6
    kinds = [type(part).__name__.removeprefix("Float32") for part in module.network]  # the first and the last
    assert kinds == ["Conv2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]


def test_the_bias_free_batch_norm_is_that_of_the_research_code():
    """Against the formulas written with numpy's variance."""
    norm = BiasFreeBatchNorm(2)
    assert norm.gammas.abs().max() <= 0.025
    assert torch.equal(norm.running_sd, torch.ones(1, 2, 1, 1))
    with torch.no_grad():
        norm.gammas.copy_(torch.tensor([2.0, -3.0]).reshape(1, 2, 1, 1))
    x = torch.randn(4, 2, 5, 5) * 3 + 1
    sd = [(x[:, channel].numpy().var() + 1e-5) ** 0.5 for channel in range(2)]
    out = norm(x)
    for channel, gamma in enumerate((2.0, -3.0)):
        torch.testing.assert_close(out[:, channel], x[:, channel] / sd[channel] * gamma)
        assert norm.running_sd[0, channel].item() == pytest.approx(0.9 + 0.1 * sd[channel], rel=1e-6)
    kept = norm.running_sd.clone()
    norm.eval()
    torch.testing.assert_close(norm(x), x / kept * norm.gammas)
    assert torch.equal(norm.running_sd, kept), "evaluation does not update"
    assert norm(torch.zeros(1, 2, 3, 3)).abs().max() == 0


def test_initial_weights_are_kaiming_normal():
    torch.manual_seed(0)
    raw = gb.network("unet:width=32,blocks=1").build((1, 32, 32), 0.5, 0.2).network
    tensors = raw.state_dict()
    assert tensors["mid_block.3.weight"].std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert tensors["upsample.0.weight"].std().item() == pytest.approx((2 / (32 * 4)) ** 0.5, rel=0.03)
    assert tensors["mid_block.1.gammas"].std().item() == pytest.approx(2 / 9 / 64, rel=0.3)


@pytest.mark.parametrize("shape", [(1, 30, 32), (1, 32, 30), (1, 33, 33)])
def test_sides_that_halving_breaks_are_refused(shape):
    with pytest.raises(UsageError, match="divisible by 4"):
        gb.network("unet").build(shape, 0.5, 0.2)
    gb.network("bf-cnn:width=2,depth=3").build(shape, 0.5, 0.2)


@pytest.mark.parametrize("spec", ["unet:kernel=4", "bf-cnn:kernel=2", "dncnn:kernel=6"])
def test_even_kernels_are_refused(spec):
    with pytest.raises(UsageError, match="odd"):
        gb.network(spec)


def test_colour_images_and_depth():
    module = gb.network("unet:width=2,blocks=1").build((3, 8, 8), 0.5, 0.2)
    assert module(torch.rand(2, 3, 8, 8), torch.ones(2)).shape == (2, 3, 8, 8)
    assert Sizes.of(module.network.state_dict()) == Sizes(3, 2, 1, 3, 2, 2, 2)
    deep = gb.network("unet:width=2,blocks=2,convolutions=3").build((1, 8, 8), 0.5, 0.2)
    assert Sizes.of(deep.network.state_dict()) == Sizes(1, 2, 2, 3, 3, 3, 3)
