"""What users bring: the research code's tensors, TorchScript, torch.export, ONNX, callables; and what is refused."""

import contextlib
import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import foreign_files
import numpy as np
import pytest
import torch
from foreign_files import GOLDEN, Noise, Shrink, export, script, shrink
from torch.nn import functional

import gahb_bench as gb
from gahb_bench.core import registry
from gahb_bench.core.errors import DenoiserError, MissingPackageError, UsageError
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan

FAMILY = "calpha:size=16"
SIGMA = 0.1

# The U-Net of the research code with 2 kernels, 2 blocks and 2 convolutions in each, written down by hand.
UNET = {
    "encoder.0.0.weight": (2, 1, 3, 3),
    "encoder.0.2.weight": (2, 2, 3, 3),
    "encoder.0.3.gammas": (1, 2, 1, 1),
    "encoder.0.3.running_sd": (1, 2, 1, 1),
    "encoder.1.0.weight": (4, 2, 3, 3),
    "encoder.1.1.gammas": (1, 4, 1, 1),
    "encoder.1.1.running_sd": (1, 4, 1, 1),
    "encoder.1.3.weight": (4, 4, 3, 3),
    "encoder.1.4.gammas": (1, 4, 1, 1),
    "encoder.1.4.running_sd": (1, 4, 1, 1),
    "mid_block.0.weight": (8, 4, 3, 3),
    "mid_block.1.gammas": (1, 8, 1, 1),
    "mid_block.1.running_sd": (1, 8, 1, 1),
    "mid_block.3.weight": (8, 8, 3, 3),
    "mid_block.4.gammas": (1, 8, 1, 1),
    "mid_block.4.running_sd": (1, 8, 1, 1),
    "upsample.1.weight": (8, 4, 2, 2),
    "upsample.0.weight": (4, 2, 2, 2),
    "decoder.1.0.weight": (4, 8, 3, 3),
    "decoder.1.1.gammas": (1, 4, 1, 1),
    "decoder.1.1.running_sd": (1, 4, 1, 1),
    "decoder.1.3.weight": (4, 4, 3, 3),
    "decoder.1.4.gammas": (1, 4, 1, 1),
    "decoder.1.4.running_sd": (1, 4, 1, 1),
    "decoder.0.0.weight": (2, 4, 3, 3),
    "decoder.0.1.gammas": (1, 2, 1, 1),
    "decoder.0.1.running_sd": (1, 2, 1, 1),
    "decoder.0.3.weight": (1, 2, 3, 3),
}
# BF-CNN of the research code with 3 kernels and 4 layers, the third of them 1 x 1 for a smaller receptive field.
BF_CNN = {
    "conv_layers.0.weight": (3, 1, 3, 3),
    "conv_layers.1.weight": (3, 3, 3, 3),
    "conv_layers.2.weight": (3, 3, 1, 1),
    "conv_layers.3.weight": (1, 3, 3, 3),
    "BN_layers.0.gammas": (1, 3, 1, 1),
    "BN_layers.0.running_sd": (1, 3, 1, 1),
    "BN_layers.1.gammas": (1, 3, 1, 1),
    "BN_layers.1.running_sd": (1, 3, 1, 1),
}


def tensors(shapes, prefix=""):
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {prefix + name: value.abs() + 0.5 if name.endswith("running_sd") else value for name, value in made.items()}


def images(n=3, side=16):
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(1))


def plain_unet(t, y):
    """The network evaluated from its tensors, layer after layer, sharing no code with the package."""

    def conv(x, name):
        return functional.conv2d(x, t[f"{name}.weight"], padding=1)

    def norm(x, name):
        return functional.relu(x / t[f"{name}.running_sd"] * t[f"{name}.gammas"])

    first = norm(conv(functional.relu(conv(y, "encoder.0.0")), "encoder.0.2"), "encoder.0.3")
    second = norm(conv(functional.avg_pool2d(first, 2), "encoder.1.0"), "encoder.1.1")
    second = norm(conv(second, "encoder.1.3"), "encoder.1.4")
    x = norm(conv(functional.avg_pool2d(second, 2), "mid_block.0"), "mid_block.1")
    x = norm(conv(x, "mid_block.3"), "mid_block.4")
    x = torch.cat([functional.conv_transpose2d(x, t["upsample.1.weight"], stride=2), second], dim=1)
    x = norm(conv(norm(conv(x, "decoder.1.0"), "decoder.1.1"), "decoder.1.3"), "decoder.1.4")
    x = torch.cat([functional.conv_transpose2d(x, t["upsample.0.weight"], stride=2), first], dim=1)
    return conv(norm(conv(x, "decoder.0.0"), "decoder.0.1"), "decoder.0.3")


def plain_bf_cnn(t, y, relu):
    x = functional.conv2d(y, t["conv_layers.0.weight"], padding=1)
    x = functional.relu(x) if relu else x
    x = functional.conv2d(x, t["conv_layers.1.weight"], padding=1)
    x = functional.relu(x / t["BN_layers.0.running_sd"] * t["BN_layers.0.gammas"])
    x = functional.conv2d(x, t["conv_layers.2.weight"])
    x = functional.relu(x / t["BN_layers.1.running_sd"] * t["BN_layers.1.gammas"])
    return functional.conv2d(x, t["conv_layers.3.weight"], padding=1)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_unet_of_the_research_code(tmp_path, prefix, zipped):
    torch.save(tensors(UNET, prefix), tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    denoiser = gb.denoiser(f"paper-unet:weights={tmp_path / 'model.pt'}")
    y = images()
    noise = plain_unet(tensors(UNET), y)
    assert noise.std() > 0.1
    torch.testing.assert_close(denoiser(y, SIGMA), y - noise)
    assert torch.equal(denoiser(y, SIGMA), denoiser(y, 7.0)), "blind"
    assert denoiser.receptive_field == 44
    assert denoiser.knows == "training set"
    with pytest.raises(DenoiserError, match="divisible by 4"):
        denoiser(images(side=18), SIGMA)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("first", ["linear", "relu"])
def test_bf_cnn_of_the_research_code(tmp_path, prefix, first):
    torch.save(tensors(BF_CNN, prefix), tmp_path / "model.pt")
    denoiser = gb.denoiser(f"paper-bf-cnn:weights={tmp_path / 'model.pt'},first={first}")
    y = images(side=17)
    torch.testing.assert_close(denoiser(y, SIGMA), y - plain_bf_cnn(tensors(BF_CNN), y, first == "relu"))
    assert denoiser.receptive_field == 7


def test_networks_of_the_catalogue_have_the_names_of_the_research_code():
    raw = gb.network("unet:width=2,blocks=2").build((1, 16, 16), 0.5, 0.2).network
    assert {name: tuple(value.shape) for name, value in raw.state_dict().items()} == UNET
    raw = gb.network("bf-cnn:width=3,depth=4").build((1, 16, 16), 0.5, 0.2).network
    assert raw.state_dict().keys() == BF_CNN.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("mid_block.3.weight"), r"do not fit|is missing"),
        (lambda t: t.update({"extra": torch.ones(1)}), "extra is not of this network"),
        (lambda t: t.update({"decoder.0.3.weight": torch.ones(1, 2, 5, 5)}), r"has shape \(1, 2, 5, 5\), not"),
        (lambda t: t["upsample.0.weight"].fill_(float("nan")), "holds NaN"),
        (lambda t: t.update({"encoder.0.0.weight": torch.ones(2)}), "not the tensors of the U-Net"),
        (lambda t: t.clear(), "does not hold the tensors of paper-unet; there are none"),
        (lambda t: t.update({"epoch": 3}), "holds a int under the name 'epoch'"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, change, message):
    held = tensors(UNET)
    change(held)
    torch.save(held, tmp_path / "model.pt")
    with pytest.raises(UsageError, match=message):
        gb.denoiser(f"paper-unet:weights={tmp_path / 'model.pt'}")


@pytest.mark.parametrize(
    "name",
    ["paper-unet", "paper-bf-cnn", "paper-bias-free", "network", "exported", "onnx", "torchscript", "callable"],
)
def test_a_network_of_one_channel_is_applied_to_each_channel_alone(tmp_path, name):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    denoiser = gb.denoiser(foreign_files.spec(name, tmp_path))
    if name in ("torchscript", "callable"):  # they do not state for how many channels they were made
        denoiser = gb.denoiser(f"{denoiser.spec},channels=1")
    y, levels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)), torch.tensor([0.1, 0.7])
    alone = torch.cat([denoiser(y[:, [channel]], levels) for channel in range(3)], dim=1)
    assert not torch.equal(alone, y)
    torch.testing.assert_close(denoiser(y, levels), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["paper-unet", "paper-bf-cnn", "paper-bias-free", "network", "exported", "torchscript"]
)
def test_a_network_of_three_channels_takes_no_other_number(tmp_path, name):
    denoiser = gb.denoiser(foreign_files.spec(name, tmp_path, channels=3))
    if name == "torchscript":
        denoiser = gb.denoiser(f"{denoiser.spec},channels=3")
    assert denoiser(torch.rand(2, 3, 16, 16), SIGMA).shape == (2, 3, 16, 16)
    for channels in (1, 2):
        with pytest.raises(DenoiserError, match=rf"{name}.* takes images of 3 channels, not {channels}\."):
            denoiser(torch.rand(2, channels, 16, 16), SIGMA)


def test_a_graph_that_fails_on_colour_says_how_to_give_its_channels(tmp_path):
    script(Noise(), tmp_path / "net.pt")
    spec = f"torchscript:file={tmp_path / 'net.pt'},blind=true,returns=noise"
    y = torch.rand(2, 3, 16, 16)
    with pytest.raises(DenoiserError, match=r"it works with .*blind=true,channels=1,.*"):
        gb.denoiser(spec)(y, SIGMA)
    grey = y.flatten(0, 1).unsqueeze(1)
    expected = (grey - Noise()(grey).detach()).reshape(y.shape)
    torch.testing.assert_close(gb.denoiser(f"{spec},channels=1")(y, SIGMA), expected)


def test_facts_of_what_is_brought(tmp_path):
    specs = {name: foreign_files.spec(name, tmp_path) for name in ("paper-unet", "torchscript", "exported", "callable")}
    found = {name: gb.denoiser(spec).facts for name, spec in specs.items()}
    assert all(facts.brought and len(facts.digest) == 16 and not facts.nan_reason for facts in found.values())
    stored = torch.load(tmp_path / "paper-unet.pt", weights_only=True)
    weights = sum(value.numel() for key, value in stored.items() if not key.endswith("running_sd"))
    assert found["paper-unet"].fitted == weights > 0
    assert found["callable"].fitted is None


def test_a_callable_of_ones_own_has_no_spec(tmp_path):
    """It is wrapped, never made by name."""
    assert "user" not in {entry.name for entry in registry.entries("denoisers")}
    with pytest.raises(UsageError, match="unknown denoiser 'user'"):
        gb.denoiser("user")


def graphs():
    for name in ("torchscript", "exported", "onnx", "callable"):
        yield pytest.param(name, id=name)


def made(name, folder):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    return gb.denoiser(foreign_files.spec(name, folder))


@pytest.mark.parametrize("name", list(graphs()))
def test_a_graph_is_called_with_y_and_sigma(tmp_path, name):
    denoiser = made(name, tmp_path)
    for y in (images(), images(1), images(5, side=20)):
        torch.testing.assert_close(denoiser(y, SIGMA), shrink(y, SIGMA))
    y, levels = images(), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(denoiser(y, levels), shrink(y, levels))
    noise = gb.denoiser(f"{denoiser.spec},returns=noise,sigma_scale=255")
    torch.testing.assert_close(noise(y, levels), y - shrink(y, 255 * levels))
    with pytest.raises(
        DenoiserError, match=r"it works with (torchscript|callable):\w+=\S+\. |give blind=true if it takes y only"
    ):
        gb.denoiser(f"{denoiser.spec},blind=true")(y, SIGMA)


def test_a_blind_network_that_returns_noise(tmp_path):
    script(Noise(), tmp_path / "net.pt")
    export(Noise(), (images(2),), tmp_path / "net.pt2")
    y = images()
    expected = y - Noise()(y).detach()
    for spec in (f"torchscript:file={tmp_path / 'net.pt'}", f"exported:file={tmp_path / 'net.pt2'}"):
        torch.testing.assert_close(gb.denoiser(f"{spec},blind=true,returns=noise")(y, SIGMA), expected)
        with pytest.raises(DenoiserError, match=r"blind=true if it takes y only|it works with .*blind=true"):
            gb.denoiser(spec)(y, SIGMA)


class Coarse(torch.nn.Module):
    """Halves the image and doubles it again, so that sides must be even."""

    def forward(self, y):
        x = functional.avg_pool2d(y, 2)
        return torch.einsum("nchw,d->nchw", functional.interpolate(x, size=y.shape[-2:]), torch.ones(1))


def test_graphs_with_shape_expressions(tmp_path):
    sides = {0: torch.export.Dim.DYNAMIC, **{k: 2 * torch.export.Dim(f"side{k}", min=2, max=99) for k in (2, 3)}}
    program = torch.export.export(Coarse(), (images(2),), dynamic_shapes=(sides,))
    torch.export.save(program, tmp_path / "net.pt2")
    denoiser = gb.denoiser(f"exported:file={tmp_path / 'net.pt2'},blind=true")
    for y in (images(3, side=16), images(1, side=22)):
        torch.testing.assert_close(denoiser(y, SIGMA), Coarse()(y))


def test_graphs_of_fixed_shape_say_so(tmp_path):
    export(Shrink(), (images(2), torch.ones(2)), tmp_path / "net.pt2", fixed=True)
    denoiser = gb.denoiser(f"exported:file={tmp_path / 'net.pt2'}")
    assert denoiser(images(2), SIGMA).shape == (2, 1, 16, 16)
    with pytest.raises(DenoiserError, match=r"images of shape \(2, 1, 16, 16\) only, not \(3, 1, 16, 16\): export it"):
        denoiser(images(3), SIGMA)


class ByNumber(torch.nn.Module):
    """It takes a number, as annotated code that is scripted does."""

    def forward(self, y, s: float):
        return 0.5 + (y - 0.5) / (1.0 + s)


class ByScalar(torch.nn.Module):
    """It takes a tensor without axes."""

    def forward(self, y, s):
        return 0.5 + (y - 0.5) / (1.0 + s.reshape(()))


def test_sigma_as_a_number_for_programs(tmp_path):
    y, right = images(2), 0.5 + (images(2) - 0.5) / 1.1
    script(ByNumber(), tmp_path / "net.pt")
    spec = f"torchscript:file={tmp_path / 'net.pt'}"
    torch.testing.assert_close(gb.denoiser(f"{spec},sigma_as=number")(y, 0.1), right)
    scaled = gb.denoiser(f"{spec},range=0:255,sigma_as=number")(y, 0.1)
    torch.testing.assert_close(scaled, (0.5 + (255 * y - 0.5) / 26.5) / 255)
    with pytest.raises(DenoiserError, match=r"it works with .*Expected a value of type 'float'"):
        gb.denoiser(spec)(y, 0.1)
    with pytest.raises(DenoiserError, match="images that share one noise level"):
        gb.denoiser(f"{spec},sigma_as=number")(y, torch.tensor([0.1, 0.2]))
    export(ByScalar(), (y, torch.tensor(0.1)), tmp_path / "net.pt2", fixed=True)
    for form in ("number", "scalar"):
        made = gb.denoiser(f"exported:file={tmp_path / 'net.pt2'},sigma_as={form}")
        torch.testing.assert_close(made(y, 0.1), right)


def test_a_program_of_one_number_is_refused(tmp_path):
    """torch.export makes a constant of a number."""
    torch.export.save(torch.export.export(ByNumber(), (images(2), 0.1)), tmp_path / "net.pt2")
    with pytest.raises(UsageError, match=r"takes the number 0.1 and no other.*with sigma as a tensor"):
        gb.denoiser(f"exported:file={tmp_path / 'net.pt2'},sigma_as=number")


def test_sigma_as_a_number_for_onnx():
    pytest.importorskip("onnxruntime")
    y = images(1)
    with pytest.raises(
        DenoiserError, match="it works with onnx:file="
    ):  # it takes (n,): the message is no AttributeError
        gb.denoiser(f"onnx:file={GOLDEN / 'shrink.onnx'},sigma_as=number")(y, 0.1)


def test_onnx_graphs_of_fixed_shape_say_so():
    pytest.importorskip("onnxruntime")
    denoiser = gb.denoiser(f"onnx:file={GOLDEN / 'fixed.onnx'},blind=true")
    y = images(2, side=8)
    torch.testing.assert_close(denoiser(y, SIGMA), y / 2)
    with pytest.raises(DenoiserError, match=r"\(2, 1, 8, 8\) only, not \(3, 1, 8, 8\)"):
        denoiser(images(3, side=8), SIGMA)
    with pytest.raises(UsageError, match="not an ONNX model: it looks like nothing known"):
        gb.denoiser(f"onnx:file={GOLDEN / 'calpha.json'}")


def test_onnx_weights_in_a_file_of_their_own(tmp_path, monkeypatch):
    """They are found beside the model, whatever folder one is in, and are part of what results depend on."""
    pytest.importorskip("onnxruntime")
    for name in ("beside.onnx", "beside.bin"):
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    monkeypatch.chdir("/")
    spec = f"onnx:file={tmp_path / 'beside.onnx'},blind=true"
    y = images(2, side=64)
    first = gb.denoiser(spec)
    torch.testing.assert_close(first(y, SIGMA), y / 2)
    (tmp_path / "beside.bin").write_bytes(np.full(4096, 0.25, np.float32).tobytes())
    second = gb.denoiser(spec)
    torch.testing.assert_close(second(y, SIGMA), y / 4)
    assert second.facts.digest != first.facts.digest
    (tmp_path / "beside.bin").unlink()
    with pytest.raises(
        UsageError, match=r"takes weights from beside\.bin, which cannot be read in its folder.*beside it"
    ):
        gb.denoiser(spec)
    model = (GOLDEN / "beside.onnx").read_bytes().replace(b"beside.bin", b"/etc/hosts")
    (tmp_path / "beside.onnx").write_bytes(model)
    with pytest.raises(UsageError, match=r"takes weights from /etc/hosts, outside of its folder"):
        gb.denoiser(spec)


def test_onnx_without_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'gahb_bench\[onnx\]'"):
        gb.denoiser(f"onnx:file={GOLDEN / 'shrink.onnx'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("paper-unet", "no file is named: write paper-unet:weights=FILE"),
        ("torchscript", "no file is named: write torchscript:file=FILE"),
        ("exported:file=nowhere.pt2", "cannot read the file nowhere.pt2: No such file"),
        ("torchscript:file=folder", "cannot read the file folder: Is a directory"),
        ("callable", "names no callable"),
        ("callable:path=(no_such_module:f)", "cannot load the denoiser"),
        ("torchscript:file=net.pt2", "not a TorchScript program: it looks like a program of torch.export"),
        ("exported:file=net.ts", "not a program of torch.export: it looks like a TorchScript program"),
        ("paper-unet:weights=net.ts", "not a file of torch.save: it looks like a TorchScript program"),
        ("torchscript:file=model.pt", "it looks like a file of torch.save .paper-unet"),
        ("paper-unet:weights=net.safetensors", "there are a: of a network of other code, name the module"),
        ("paper-bf-cnn:weights=model.pt", r"there are decoder\.0\.0\.weight.*: name it paper-unet:weights=model\.pt"),
        ("paper-unet:weights=list.pt", "holds a list, not tensors by name"),
        ("torchscript:file=text.pt", "it looks like nothing known here"),
        ("exported:file=empty", "it looks like nothing known here"),
        ("torchscript:file=net.ts,returns=residual", "image.* or .*noise"),
        ("torchscript:file=net.ts,sigma_scale=0", "greater than or equal to"),
    ],
)
def test_wrong_files_are_refused(tmp_path, monkeypatch, bag, spec, message):
    monkeypatch.chdir(bag)
    with pytest.raises(UsageError, match=message):
        gb.denoiser(spec)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A folder with one file of each kind."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("bag")
    (folder / "folder").mkdir()
    (folder / "text.pt").write_text("hello")
    (folder / "empty").touch()
    torch.save(tensors(UNET), folder / "model.pt")
    torch.save([torch.ones(1)], folder / "list.pt")
    save_file({"a": torch.ones(1)}, folder / "net.safetensors")
    script(Shrink(), folder / "net.ts")
    export(Shrink(), (images(2), torch.ones(2)), folder / "net.pt2")
    return folder


@pytest.mark.parametrize(
    ("name", "spec"),
    [("model.pt", "paper-unet:weights"), ("net.ts", "torchscript:file"), ("net.pt2", "exported:file")],
)
def test_truncated_files_are_refused(tmp_path, bag, name, spec):
    content = (bag / name).read_bytes()
    for length in (len(content) - 1, len(content) // 2, 30, 3):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(UsageError, match="damaged or cut short"):
            gb.denoiser(f"{spec}={tmp_path / name}")
    spoiled = bytearray(content)
    for place in range(0, len(content) // 2, 97):
        spoiled[place] ^= 255
    (tmp_path / name).write_bytes(bytes(spoiled))
    with pytest.raises(UsageError):
        gb.denoiser(f"{spec}={tmp_path / name}")


class Touch:
    """A pickle of it touches a file when it is executed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def changed(source, target, changes):
    """A copy of a zip archive with parts replaced or added: ``changes`` maps a name below the top folder to bytes."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        top = archive.namelist()[0].partition("/")[0]
        for name in archive.namelist():
            if name.partition("/")[2] not in changes:
                copy.writestr(name, archive.read(name))
        for name, content in changes.items():
            copy.writestr(f"{top}/{name}", content)


def graph_with(source, change):
    """The graph of a program of torch.export, changed."""
    with zipfile.ZipFile(source) as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        program = json.loads(archive.read(name))
    change(program)
    return json.dumps(program).encode()


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def test_a_malicious_state_dict_is_not_executed(tmp_path):
    marker = tmp_path / "touched"
    for zipped in (True, False):
        torch.save({"a": Touch(marker)}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UsageError, match=r"would call 'pathlib\.Path\.touch'|would call 'getattr"):
            gb.denoiser(f"paper-unet:weights={tmp_path / 'model.pt'}")
        assert not marker.exists()
    torch.save(Shrink(), tmp_path / "model.pt")
    with pytest.raises(UsageError, match=r"would call 'foreign_files\.Shrink'.*Save the tensors alone"):
        gb.denoiser(f"paper-unet:weights={tmp_path / 'model.pt'}")
    torch.load(io.BytesIO(saved({"a": Touch(marker)})), weights_only=False)
    assert marker.exists(), "the crafted pickle would have worked"


class Saves(torch.nn.Module):
    def forward(self, y, sigma):
        torch.save(y, "touched")
        return y


def test_a_malicious_torchscript_is_not_executed(tmp_path, bag, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("data.pkl", "constants.pkl"):
        for protocol in (2, 4):
            changed(bag / "net.ts", "net.ts", {part: pickle.dumps(Touch(tmp_path / "touched"), protocol)})
            with pytest.raises(UsageError, match=r"would call .*pickles are never executed"):
                gb.denoiser("torchscript:file=net.ts")
            assert not Path("touched").exists()
    script(Saves(), "net.ts")
    with pytest.raises(UsageError, match="its program uses 'save'"):
        gb.denoiser("torchscript:file=net.ts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load("net.ts")(images(), torch.ones(3))
    assert Path("touched").exists(), "the crafted program would have worked"


def _set_target(program):
    node = program["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.os.system"


def _set_expression(program):
    """The size of the first image, as sympy would evaluate it."""
    sizes = program["graph_module"]["graph"]["tensor_values"]["y"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "__import__('pathlib').Path('touched').touch()"


def _set_name(program):
    node = program["graph_module"]["graph"]["nodes"][0]
    node["name"] = "x = open('touched', 'w')"


def _set_tree(program):
    tree = {"type": "collections.defaultdict", "context": '{"default_factory_module": "os"}', "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, tree])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set_target, r"its graph holds 'torch\.os\.system' as target"),
        (_set_expression, "as expr_str"),
        (_set_name, "as name"),
        (_set_tree, "as out_spec"),
        (lambda program: program.pop("graph_module"), "damaged: its graph cannot be read"),
    ],
)
def test_a_malicious_graph_is_not_executed(tmp_path, bag, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    changed(bag / "net.pt2", "net.pt2", {"models/model.json": graph_with(bag / "net.pt2", change)})
    with pytest.raises(UsageError, match=message):
        gb.denoiser("exported:file=net.pt2")
    assert not Path("touched").exists()


def test_a_malicious_pickle_of_samples_is_not_executed(tmp_path, bag, monkeypatch):
    """torch.export.load executes it; the samples of the inputs are not needed, so they never reach it."""
    monkeypatch.chdir(tmp_path)
    changed(bag / "net.pt2", "net.pt2", {"data/sample_inputs/model.pt": saved((Touch(tmp_path / "touched"),))})
    denoiser = gb.denoiser("exported:file=net.pt2")
    torch.testing.assert_close(denoiser(images(), SIGMA), shrink(images(), SIGMA))
    assert not Path("touched").exists()
    with contextlib.suppress(Exception):  # what it says about it afterwards is of no concern
        torch.export.load("net.pt2")
    assert Path("touched").exists(), "the crafted pickle would have worked"


@pytest.mark.parametrize(
    "part", ["data/aotinductor/model/model.so", "data/constants/opaque_obj_0", "data/weights/model.pt"]
)
def test_parts_that_are_neither_graph_nor_tensor_are_refused(tmp_path, bag, part):
    content = saved(Touch(tmp_path / "touched"))
    changed(bag / "net.pt2", tmp_path / "net.pt2", {part: content})
    with pytest.raises(UsageError, match=f"it holds {part}"):
        gb.denoiser(f"exported:file={tmp_path / 'net.pt2'}")
    assert not (tmp_path / "touched").exists()


def test_a_part_listed_twice_is_refused(tmp_path, bag):
    """Readers differ in which of the two they take."""
    content = (bag / "net.ts").read_bytes()
    (tmp_path / "net.ts").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "net.ts", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"")
    with pytest.raises(UsageError, match="lists a part twice"):
        gb.denoiser(f"torchscript:file={tmp_path / 'net.ts'}")


def test_relative_paths_and_digests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(tensors(BF_CNN), "model.pt")
    first = gb.denoiser("paper-bf-cnn:weights=./model.pt", FAMILY)
    assert first.spec == "paper-bf-cnn:weights=./model.pt"
    torch.save({name: value + 1 for name, value in tensors(BF_CNN).items()}, "model.pt")
    second = gb.denoiser("paper-bf-cnn:weights=./model.pt", FAMILY)
    assert len(first.facts.digest) == 16
    assert first.facts.digest != second.facts.digest
    one = make_plan([FAMILY], [first.spec], [SIGMA], images=2)
    before = engine.run(one, tmp_path / "a")
    assert before.resumed == 0
    torch.save(tensors(BF_CNN), "model.pt")
    other = make_plan([FAMILY], [first.spec], [SIGMA], images=2)
    assert other.key != one.key
    after = engine.run(one, tmp_path / "b")
    assert after.scores["mse"].equals(before.scores["mse"]), "the plan holds the network that it was made with"
    assert not engine.run(other, tmp_path / "c").scores["mse"].equals(before.scores["mse"])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("net.pt", r"paper-unet:weights=net\.pt, paper-bf-cnn:weights=net\.pt or .*torchscript:file=net\.pt"),
        ("some/where/net.pth", "torchscript:file=some/where/net.pth"),
        ("../net.pt2", r"exported:file=\.\./net\.pt2"),
        ("net.ONNX", r"onnx:file=net\.ONNX"),
    ],
)
def test_bare_paths_are_refused_with_a_hint(text, hint):
    with pytest.raises(UsageError, match=hint):
        gb.denoiser(text, FAMILY)


def test_a_network_that_returns_nan_is_recorded(tmp_path):
    held = tensors(BF_CNN)
    held["conv_layers.0.weight"] *= 1e38
    held["conv_layers.3.weight"] *= 1e38
    torch.save(held, tmp_path / "model.pt")
    rows = gb.score(FAMILY, [f"paper-bf-cnn:weights={tmp_path / 'model.pt'}"], [SIGMA], images=2)
    assert set(rows["status"]) == {"failed"}
    assert rows["reason"].str.contains("NaN or infinity").all()


def test_callables_with_options():
    plain, same = gb.denoiser("foreign_files:shrink"), gb.denoiser("callable:path=(foreign_files:shrink)")
    y = images().double()
    assert torch.equal(plain(y, SIGMA), same(y, SIGMA))
    assert plain.facts.digest == same.facts.digest != ""
    assert same.spec == "callable:path=(foreign_files:shrink)"
    with pytest.raises(DenoiserError, match="failed on images of shape"):
        gb.denoiser("callable:path=(foreign_files:spec)")(y, SIGMA)


def test_sigma_of_the_wrong_scale_is_pointed_out(tmp_path, capsys, monkeypatch):
    """A network of 8-bit sigmas that is given sigmas of our units divides by too little, and the other way round."""
    spec = "callable:path=(foreign_files:shrink)"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gb.score(FAMILY, [spec, "identity", "gaussian-blur:width=9"], [0.01, SIGMA], images=4)
    wrong = f"{spec},sigma_scale=255"
    mended = (
        r"far worse .* sigma=0\.01 .* times sigma\^2, and .* better with callable:path=\(foreign_files:shrink\): was"
    )
    with pytest.warns(gb.errors.ScaleWarning, match=mended):
        table = gb.score(FAMILY, [wrong], [0.01, SIGMA], images=4)
    assert set(table["status"]) == {"ok"}
    outcome = engine.run(make_plan([FAMILY], [wrong, spec, "identity"], [0.01, SIGMA], images=4), tmp_path / "run")
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith(f"{wrong} on {FAMILY} is far worse than no denoising: at sigma=0.01")
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["warnings"] == outcome.warnings
    assert manifest["status"] == "complete"
    assert not outcome.failures


def test_the_listing_shows_shared_options():
    entries = {entry.name: entry for entry in registry.entries("denoisers")}
    assert [p.name for p in entries["onnx"].parameters] == [
        *["file", "returns", "range", "sigma_scale", "sigma_as", "blind", "channels"],
        *["batch", "pad", "multiple", "adapt"],
    ]
    assert entries["paper-unet"].knows == "training set"
    assert np.all([entries[name].source for name in entries])
