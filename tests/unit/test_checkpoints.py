"""Checkpoints that people hold: older BF-CNN, the bias-free study, and what training programs wrap around tensors."""

import argparse
import warnings
from pathlib import Path

import foreign_files
import pytest
import torch
from foreign_files import small_unet
from safetensors.torch import save_file
from torch.nn import functional

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.networks.bf_cnn import BfCnnModule

SIGMA = 0.1
DEPTH, WIDTH = 5, 4


def images(side=16, channels=1):
    return torch.rand(2, channels, side, side + 2, generator=torch.Generator().manual_seed(1))


def random(shapes):
    """Tensors of some shapes; scales of norms are positive."""
    generator = torch.Generator().manual_seed(0)
    made = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {
        name: t.abs() + 0.5 if name.split(".")[0] == "running_sd" or "var" in name else t for name, t in made.items()
    }


def older_bf_cnn(channels=1):
    """The laboratory's older BF-CNN: names and shapes of its published file, but fewer and narrower layers."""
    widths = [channels, *[WIDTH] * (DEPTH - 1), channels]
    shapes = {f"conv_layers.{i}.weight": (widths[i + 1], widths[i], 3, 3) for i in range(DEPTH)}
    for kind in ("running_sd", "gammas"):
        shapes |= {f"{kind}.{i}": (1, WIDTH, 1, 1) for i in range(DEPTH - 2)}
    return random(shapes)


def plain_older(t, y):
    """Its noise, layer after layer: a ReLU after the first convolution and after each scaled inner one."""
    x = functional.conv2d(y, t["conv_layers.0.weight"], padding=1).relu()
    for i in range(DEPTH - 2):
        x = functional.conv2d(x, t[f"conv_layers.{i + 1}.weight"], padding=1)
        x = (x / t[f"running_sd.{i}"] * t[f"gammas.{i}"]).relu()
    return functional.conv2d(x, t[f"conv_layers.{DEPTH - 1}.weight"], padding=1)


def save(held, folder, name="model.pt"):
    torch.save(held, folder / name)
    return folder / name


def read(name, path):
    return gb.denoiser(f"{name}:weights={path}")


def study(tensors, **args):
    """The form of the bias-free study's files."""
    empty = dict.fromkeys(("step", "score", "optimizer", "scheduler"))
    return {**empty, "model": [tensors], "args": argparse.Namespace(data_path="../data/", lr=0.001, **args)}


@pytest.mark.parametrize("channels", [1, 3])
def test_older_bf_cnn(tmp_path, channels):
    t = older_bf_cnn(channels)
    denoiser = read("paper-bf-cnn", save(t, tmp_path))
    y = images(channels=channels)
    assert plain_older(t, y).std() > 0.05
    torch.testing.assert_close(denoiser(y, SIGMA), y - plain_older(t, y))
    torch.testing.assert_close(denoiser(3 * y, SIGMA), 3 * denoiser(y, SIGMA), rtol=1e-4, atol=1e-5)
    assert denoiser.facts.fitted == sum(v.numel() for name, v in t.items() if not name.startswith("running_sd"))
    assert denoiser.receptive_field == 1 + 2 * DEPTH


def test_older_bf_cnn_in_its_other_forms(tmp_path):
    t, y = older_bf_cnn(), images()
    flat = {name: value for name, value in t.items() if name.startswith("conv_layers")}
    flat |= {f"running_sd.{i}": t[f"running_sd.{i}"].flatten() for i in range(DEPTH - 2)}
    flat |= {f"gammas.{i}.weight": t[f"gammas.{i}"].flatten() for i in range(DEPTH - 2)}
    torch.testing.assert_close(read("paper-bf-cnn", save(flat, tmp_path))(y, SIGMA), y - plain_older(t, y))
    without = {name: value for name, value in t.items() if not name.startswith("gammas")}
    ones = t | {name: torch.ones_like(value) for name, value in t.items() if name.startswith("gammas")}
    torch.testing.assert_close(read("paper-bf-cnn", save(without, tmp_path))(y, SIGMA), y - plain_older(ones, y))
    elsewhere = {name: value for name, value in t.items() if not name.startswith("running_sd")}
    with pytest.raises(UsageError, match=r"running_sd is missing: .* a file of its own, running_sd\.pt\. Save both"):
        read("paper-bf-cnn", save(elsewhere, tmp_path))


def test_first_may_be_given(tmp_path):
    t, y = older_bf_cnn(), images()
    path = save(t, tmp_path)
    auto, relu, linear = (gb.denoiser(f"paper-bf-cnn:weights={path}{first}")(y, SIGMA)
                          for first in ("", ",first=relu", ",first=linear"))  # fmt: skip
    assert torch.equal(auto, relu)
    assert (auto - linear).abs().max() > 0.01
    torch.manual_seed(0)
    later = save(BfCnnModule(1, 4, [3, 3, 3]).state_dict(), tmp_path, "later.pt")
    auto, linear = (gb.denoiser(f"paper-bf-cnn:weights={later}{first}")(y, SIGMA) for first in ("", ",first=linear"))
    assert torch.equal(auto, linear), "the research code's loader has the first layer linear"


def dncnn(bias):
    shapes = {"first_layer.weight": (WIDTH, 1, 3, 3), "last_layer.weight": (1, WIDTH, 3, 3)}
    for i in range(DEPTH - 2):
        shapes |= {f"hidden_layer_list.{i}.weight": (WIDTH, WIDTH, 3, 3)}
        shapes |= {f"bn_layer_list.{i}.{kind}": (WIDTH,) for kind in ("weight", "bias", "running_mean", "running_var")}
    if bias:
        layers = ("first_layer", "last_layer", *(f"hidden_layer_list.{i}" for i in range(DEPTH - 2)))
        shapes |= {f"{layer}.bias": (shapes[f"{layer}.weight"][0],) for layer in layers}
    counts = {f"bn_layer_list.{i}.num_batches_tracked": torch.tensor(3) for i in range(DEPTH - 2)}
    return random(shapes) | counts


def plain_dncnn(t, y, bias):
    """Its estimate; without biases the norm has no mean and no shift, and its epsilon is beside the root."""

    def conv(x, layer):
        return functional.conv2d(x, t[f"{layer}.weight"], t.get(f"{layer}.bias"), padding=1)

    x = conv(y, "first_layer").relu()
    for i in range(DEPTH - 2):
        gain, shift, mean, variance = (
            t[f"bn_layer_list.{i}.{kind}"].reshape(-1, 1, 1)
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        x = conv(x, f"hidden_layer_list.{i}")
        x = (x - mean) / (variance + 1e-5).sqrt() * gain + shift if bias else x / (variance.sqrt() + 1e-5) * gain
        x = x.relu()
    return y - conv(x, "last_layer")


@pytest.mark.parametrize("bias", [True, False])
def test_dncnn_of_the_bias_free_study(tmp_path, bias):
    t, y = dncnn(bias), images()
    denoiser = read("paper-bias-free", save(study(t, model="dncnn", bias=bias), tmp_path))
    expected = plain_dncnn(t, y, bias)
    assert (expected - y).std() > 0.01
    torch.testing.assert_close(denoiser(y, SIGMA), expected)
    assert torch.equal(denoiser(y, SIGMA), denoiser(y, 7.0)), "blind"
    assert denoiser.receptive_field == 1 + 2 * DEPTH
    doubled = (denoiser(2 * y, SIGMA) - 2 * denoiser(y, SIGMA)).abs().max()
    assert doubled > 0.01 if bias else doubled < 1e-5


def plain_small_unet(t, y):
    def conv(x, i, **options):
        return functional.conv2d(x, t[f"conv{i}.weight"], t.get(f"conv{i}.bias"), **options)

    side = y.shape[-2:]
    x = functional.pad(y, (0, side[1] % 2, 0, side[0] % 2))
    fine = conv(conv(x, 1, padding=2).relu(), 2, padding=1).relu()
    x = conv(conv(fine, 3, stride=2, padding=1).relu(), 4, padding=1).relu()
    x = conv(conv(x, 5, dilation=2, padding=2).relu(), 6, dilation=4, padding=4).relu()
    x = functional.conv_transpose2d(x, t["conv7.weight"], t.get("conv7.bias"), stride=2, padding=1).relu()
    x = conv(conv(torch.cat([x, fine], 1), 8, padding=1).relu(), 9, padding=2)
    return x[..., : side[0], : side[1]]


@pytest.mark.parametrize("residual", [True, False, None])
@pytest.mark.parametrize("side", [16, 17])
def test_unet_of_the_bias_free_study(tmp_path, residual, side):
    t, y = small_unet(), images(side)
    t |= {f"conv{i}.bias": torch.full((t[f"conv{i}.weight"].shape[i != 7 and 0],), 0.1 * i) for i in range(1, 9)}
    held = t if residual is None else study(t, model="unet", residual=residual, bias=True)
    denoiser = read("paper-bias-free", save(held, tmp_path))
    expected = y - plain_small_unet(t, y) if residual else plain_small_unet(t, y)
    assert expected.std() > 0.05
    torch.testing.assert_close(denoiser(y, SIGMA), expected)
    assert denoiser.receptive_field == 45


def test_the_receptive_field_of_the_study_is_the_measured_one(tmp_path):
    """By the gradient, with weights that are positive, so that no ReLU hides a pixel."""
    for held in (study(small_unet()), study(recurrent(True), max_stage=3)):
        held["model"] = [{name: value.abs() + 0.01 for name, value in held["model"][0].items()}]
        denoiser = read("paper-bias-free", save(held, tmp_path))
        network = denoiser.network.double()
        y = torch.ones(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
        rows = network(y)[0, 0, 32, 32:34]
        seen = [int((torch.autograd.grad(p, y, retain_graph=True)[0][0, 0] != 0).any(0).sum()) for p in rows]
        assert max(seen) == denoiser.receptive_field


def recurrent(bias):
    shapes = {"cnn.first_layer.weight": (WIDTH, 2, 3, 3), "cnn.last_layer.weight": (1, WIDTH, 3, 3)}
    shapes |= {f"cnn.hidden_layer_list.{i}.weight": (WIDTH, WIDTH, 3, 3) for i in range(2)}
    layers = ("cnn.first_layer", "cnn.hidden_layer_list.0", "cnn.hidden_layer_list.1") if bias else ()
    return random(shapes | {f"{layer}.bias": (WIDTH,) for layer in layers})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("args", "stages"), [({"max_stage": 2}, 2), ({}, 4)])
def test_recurrent_cnn_of_the_bias_free_study(tmp_path, bias, args, stages):
    t, y = recurrent(bias), images()
    x = y
    for _ in range(stages):
        inside = torch.cat([y, x], dim=1)
        for layer in ("first_layer", "hidden_layer_list.0", "hidden_layer_list.1"):
            weight, shift = t[f"cnn.{layer}.weight"], t.get(f"cnn.{layer}.bias")
            inside = functional.conv2d(inside, weight, shift, padding=1).relu()
        x = functional.conv2d(inside, t["cnn.last_layer.weight"], padding=1)
    torch.testing.assert_close(read("paper-bias-free", save(study(t, **args), tmp_path))(y, SIGMA), x)


@pytest.mark.parametrize("stages", [0, 10**9, "many"])
def test_stages_that_cannot_be(tmp_path, stages):
    with pytest.raises(UsageError, match=r"max_stage=.* is not allowed"):
        read("paper-bias-free", save(study(recurrent(False), max_stage=stages), tmp_path))


T = older_bf_cnn()
OTHER = {name: value + 1 for name, value in T.items()}
ADAM = {"state": {0: {"step": torch.ones(()), "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def named(pattern, tensors=T):
    return {pattern.format(name): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    "held",
    [
        named("module.{}"),
        named("_orig_mod.{}"),
        named("_orig_mod.module.{}"),
        named("module._orig_mod.{}"),
        named("model.{}"),
        named("net._orig_mod.{}"),
        {name.replace("conv_layers.", "conv_layers._orig_mod.", 1): value for name, value in T.items()},
        {"n_averaged": torch.tensor(7), **named("module.{}")},
        {"params": T},
        {"params": OTHER, "params_ema": T},
        {"state_dict": named("model.{}"), "epoch": 3, "optimizer_states": [ADAM], "global_step": torch.tensor(5)},
        {"epoch": 3, "model_state_dict": T, "optimizer": ADAM, "loss": 0.1},
        {"model": OTHER, "ema": named("module.{}"), "opt": ADAM},
        {"the network": [T], "step": 4},
    ],
)
def test_what_training_programs_wrap_around_tensors(tmp_path, held):
    expected = images() - plain_older(T, images())
    torch.testing.assert_close(read("paper-bf-cnn", save(held, tmp_path))(images(), SIGMA), expected)
    torch.save(held, tmp_path / "before-2020.pt", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(read("paper-bf-cnn", tmp_path / "before-2020.pt")(images(), SIGMA), expected)


@pytest.mark.parametrize("pattern", ["{}", "module.{}", "_orig_mod.{}"])
def test_safetensors_of_research_networks(tmp_path, pattern):
    path = tmp_path / "net.safetensors"
    save_file(named(pattern), path)
    torch.testing.assert_close(read("paper-bf-cnn", path)(images(), SIGMA), images() - plain_older(T, images()))
    with pytest.raises(UsageError, match=r"no file of weights that `train` writes.*paper-bf-cnn:weights= or"):
        gb.denoiser(str(path))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UsageError, match="damaged or cut short"):
        read("paper-bf-cnn", path)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"first": T, "second": OTHER}, r"holds several networks, first, second: save one alone"),
        (T | named("module.{}"), "differ by a wrapper"),
        ({"model": [T, OTHER]}, "holds a list under the name 'model'.* Save the tensors alone"),
        ({"conv1.weight": torch.ones(3)}, r"there are conv1\.weight: of a network of other code, name the module"),
        (small_unet(), "name it paper-bias-free:weights="),
        (study(dncnn(True)), "name it paper-bias-free:weights="),
        ({"encoder.0.0.weight": torch.ones(2, 1, 3, 3)}, "name it paper-unet:weights="),
        (T | {"conv_layers.2.weight": torch.ones(1).expand(1000, 1000, 3, 3)}, "more numbers than the file holds"),
        (T | {"conv_layers.0.weight": torch.ones(9000, 1, 1, 1)}, "do not fit the network: .* has shape"),
        (T | {"gammas.0": torch.ones(1, 9, 1, 1)}, r"BN_layers\.0\.gammas has shape"),
        ({"model": T, "args": argparse.Namespace(path=Path("x"))}, r"a pickle in it would call .*Path"),
    ],
)
def test_what_is_refused_says_what_to_do(tmp_path, held, message):
    with pytest.raises(UsageError, match=message):
        read("paper-bf-cnn", save(held, tmp_path))


def test_a_namespace_executes_nothing(tmp_path):
    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    path = save({"model": [T], "args": argparse.Namespace(a=Touch())}, tmp_path)
    with pytest.raises(UsageError, match="would call"):
        read("paper-bf-cnn", path)
    assert not (tmp_path / "touched").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert argparse.Namespace not in torch.serialization.get_safe_globals(), "allowed for the reading alone"


@pytest.mark.parametrize("missing", ["conv3.weight", "conv7.weight"])
def test_a_tensor_that_is_missing_is_named(tmp_path, missing):
    t = small_unet()
    del t[missing]
    with pytest.raises(UsageError, match=missing.replace(".", r"\.")):
        read("paper-bias-free", save(t, tmp_path))


# ---------------------------------------------------------------------------------------------------- range

CHECKPOINTS = {
    "paper-bf-cnn": lambda: older_bf_cnn(),
    "paper-bias-free": lambda: study(dncnn(True), model="dncnn", bias=True),
    "paper-unet": None,
}


@pytest.mark.parametrize("ends", ["0:255", "-1:1", "0:1"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_of_another_range(tmp_path, name, ends):
    """It is given images in its range, and what it estimates is in that range too."""
    made = CHECKPOINTS[name]
    spec = f"{name}:weights={save(made(), tmp_path)}" if made else foreign_files.spec(name, tmp_path)
    low, high = map(float, ends.split(":"))
    y = images()[..., :16]
    plain = gb.denoiser(spec)
    expected = (plain(low + (high - low) * y, SIGMA) - low) / (high - low)
    found = gb.denoiser(f"{spec},range={ends}")
    torch.testing.assert_close(found(y, SIGMA), expected)
    assert found.spec == (plain.spec if ends == "0:1" else plain.spec.replace("weights", f"range=({ends}),weights"))
    assert {other.range for other in found.units_to_try()} == {"0:255", "-1:1", "0:1", "0:65535"} - {ends}
    with pytest.raises(UsageError, match="black:white"):
        gb.denoiser(f"{spec},range=255:0")
