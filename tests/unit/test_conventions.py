"""What people bring: how it is called, in which units, and what it returns."""

import sys
import types
import warnings
from itertools import product

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core import registry
from gahb_bench.core.errors import DenoiserError, ScaleWarning, UsageError
from gahb_bench.running.plan import split_specs

FAMILY = "calpha:size=12"
SIGMAS = [0.03, 0.3]
RANGES = {"0:1": (0.0, 1.0), "0:255": (0.0, 255.0), "-1:1": (-1.0, 1.0)}


class Sample(types.SimpleNamespace):
    """What diffusers' networks return."""


class Foreign(torch.nn.Module):
    """A good denoiser in its own units: a multiple of y about the mean, chosen by sigma."""

    def __init__(self, convention, ends, returns):
        super().__init__()
        self.convention, self.ends, self.returns = convention, ends, returns
        self.std = torch.nn.Parameter(torch.tensor(0.25))

    def forward(self, y, *sigma):
        low, high = self.ends
        span = high - low
        if self.convention == "tensor":  # as EDM's
            level = sigma[0].to(torch.float32).reshape(-1, 1, 1, 1) / span
        elif self.convention == "blind":
            level = torch.full((len(y), 1, 1, 1), 0.2)
        elif self.convention == "channel":
            y, level = y[:, :1], y[:, 1:] / span
        else:
            level = torch.tensor(float(*sigma)) / span
        if self.convention == "divisible" and y.shape[-1] % 8:
            raise ValueError("sides must be divisible by 8")
        gain = self.std**2 / (self.std**2 + level**2)
        clean = low + span / 2 + gain * (y - low - span / 2)
        answer = y - clean if self.returns == "noise" else clean
        return Sample(sample=answer) if self.convention == "sample" else answer


CONVENTIONS = {
    "tensor": {"sigma_as": "tensor"},
    "blind": {"blind": True},
    "channel": {"sigma_as": "channel"},
    "sample": {},
    "divisible": {"pad": "reflect", "multiple": 8},
}


@pytest.mark.parametrize(("convention", "ends", "returns"), list(product(CONVENTIONS, RANGES, ("image", "noise"))))
def test_thirty_ways_of_being_called_score_the_same(convention, ends, returns):
    """By options alone: the regret is that of the same denoiser written for this project, to 1e-4 dB."""
    net = Foreign(convention, RANGES[ends], returns)
    options = {**CONVENTIONS[convention], "range": ends, "returns": returns}

    def ours(y, sigma):
        level = 0.2 if convention == "blind" else sigma
        return 0.5 + 0.0625 / (0.0625 + level**2) * (y - 0.5)

    methods = [gb.denoiser(net, **options), ours]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if convention == "blind" else "error", ScaleWarning)  # blind at .03: far worse
        curves = gb.curves(gb.score(FAMILY, methods, SIGMAS, images=4))
    theirs, mine = (curves[curves["denoiser"] == str(method)]["regret_db"].to_numpy() for method in _named(curves))
    assert np.isfinite(mine).all()
    np.testing.assert_allclose(theirs, mine, atol=1e-4)


def _named(curves):
    return list(dict.fromkeys(curves["denoiser"]))


@pytest.mark.parametrize(
    ("convention", "says"),
    [
        ("tensor", "sigma_as='tensor'"),
        ("blind", "blind=True"),
        ("channel", "sigma_as='channel'"),
        ("divisible", "pad='reflect'"),
    ],
)
def test_a_call_that_fails_names_the_option_that_works(convention, says):
    net = Foreign(convention, (0.0, 1.0), "image")
    if convention == "blind":
        net.forward = lambda y: y
    with pytest.raises(DenoiserError, match=r"it works with gb\.denoiser") as caught:
        gb.denoiser(net)(torch.rand(2, 1, 12, 12), 0.1)
    assert says in str(caught.value)


def test_one_image_at_a_time():
    def alone(y, sigma):
        if len(y) > 1:
            raise ValueError("one image only")
        return y / 2

    y = torch.rand(3, 1, 8, 8)
    with pytest.raises(DenoiserError, match="batch=1"):
        gb.denoiser(alone)(y, 0.1)
    assert torch.equal(gb.denoiser(alone, batch=1)(y, 0.1), y / 2)


def test_a_shape_that_is_halved_too_often_is_padded():
    def halves(y, sigma):
        return torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(y, 4), scale_factor=4)

    y = torch.rand(2, 1, 10, 14)
    with pytest.raises(DenoiserError, match="pad='reflect'"):
        gb.denoiser(halves)(y, 0.1)
    assert gb.denoiser(halves, pad="reflect", multiple=4)(y, 0.1).shape == y.shape


@pytest.mark.parametrize("answer", [lambda x: {"sample": x}, lambda x: (x, None), lambda x: [torch.zeros(3), x]])
def test_outputs_in_wrappers_are_taken_out(answer):
    y = torch.rand(2, 1, 8, 8)
    assert torch.equal(gb.denoiser(lambda y, sigma: answer(y / 2))(y, 0.1), y / 2)


def test_an_ambiguous_output_is_refused():
    y = torch.rand(1, 1, 8, 8)
    with pytest.raises(DenoiserError, match=r"returned a tuple of 2 tensors .* return that one alone"):
        gb.denoiser(lambda y, sigma: (y, y))(y, 0.1)
    with pytest.raises(DenoiserError, match="returned a list of 3 tensors"):
        gb.denoiser(lambda y, sigma: [y, torch.zeros(1), y.numpy(), y])(y, 0.1)
    with pytest.raises(DenoiserError, match="returned dict"):
        gb.denoiser(lambda y, sigma: {"x": y, "z": y})(y, 0.1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x.numpy(),
        lambda x: x.numpy().astype(np.float64)[::-1][::-1],
        lambda x: {"sample": x.numpy()},
        lambda x: (x.numpy(), None),
    ],
)
def test_arrays_of_numpy_are_estimates(answer):
    y = torch.rand(2, 1, 8, 8)
    found = gb.denoiser(lambda y, sigma: answer(y / 2))(y, 0.1)
    assert found.dtype == torch.float32
    assert torch.equal(found, y / 2)


@pytest.mark.parametrize("answer", [lambda x: x.numpy()[0], lambda x: (255 * x).numpy().astype(np.uint8)])
def test_arrays_of_another_kind_are_refused(answer):
    with pytest.raises(DenoiserError, match=r"an estimate (has the shape|is floating point)"):
        gb.denoiser(lambda y, sigma: answer(y))(torch.rand(2, 1, 8, 8), 0.1)


class ByKeyword(torch.nn.Module):
    def forward(self, y, *, noise_level, scale=1.0):
        return y * scale / (1 + noise_level)


@pytest.mark.parametrize(
    "call",
    [
        lambda y, *, sigma: y / (1 + sigma),
        lambda y, *, other=None, sigma=9.0: y / (1 + sigma),
        ByKeyword(),
        ByKeyword().forward,
    ],
)
def test_sigma_by_keyword_alone(call):
    y = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(gb.denoiser(call)(y, 0.25), y / 1.25)
    levels = torch.tensor([0.25, 1.0])
    torch.testing.assert_close(gb.denoiser(call, sigma_as="column")(y, levels), y / (1 + levels).reshape(-1, 1, 1, 1))


@pytest.mark.parametrize(
    ("form", "shape"),
    [("scalar", ()), ("tensor", (2,)), ("column", (2, 1, 1, 1)), ("image", (2, 1, 8, 8))],
)
def test_forms_of_sigma(form, shape):
    """Each is passed as it is named, and found by trying where nothing else works."""

    def strict(y, sigma):
        assert isinstance(sigma, torch.Tensor)
        assert (sigma.shape, sigma.dtype) == (shape, torch.float32)
        return y / (1 + sigma.mean())

    y = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(gb.denoiser(strict, sigma_as=form)(y, 0.25), y / 1.25)
    with pytest.raises(DenoiserError, match=f"it works with .*sigma_as='{form}'"):
        gb.denoiser(strict)(y, 0.25)


def test_one_number_is_not_given_for_several_levels():
    with pytest.raises(DenoiserError, match="images that share one noise level"):
        gb.denoiser(lambda y, sigma: y, sigma_as="scalar")(torch.rand(2, 1, 8, 8), torch.tensor([0.1, 0.2]))


def test_an_image_too_small_to_be_padded_is_named():
    with pytest.raises(DenoiserError, match=r"10 x 14 are too small .* multiple of 64"):
        gb.denoiser(lambda y, sigma: y, pad="reflect", multiple=64)(torch.rand(2, 1, 10, 14), 0.1)


def test_a_network_for_one_noise_level_is_adapted():
    """The optimal multiple at s0 for a law of deviation t is that at s for the law of deviation t s / s0."""
    seen = []

    def at_one_level(y, sigma):
        seen.append(float(sigma))
        return 0.5 + 0.8 * (y - 0.5)

    y = torch.rand(2, 1, 8, 8)
    found = gb.denoiser(at_one_level, adapt=0.1)(y, 0.3)
    assert seen == [pytest.approx(0.1)]
    torch.testing.assert_close(found, 0.5 + 0.8 * (y - 0.5))
    soft = gb.denoiser(lambda y, sigma: 0.5 + torch.nn.functional.softshrink(y - 0.5, 0.1), adapt=0.1)
    torch.testing.assert_close(soft(y, 0.3), 0.5 + torch.nn.functional.softshrink(y - 0.5, 0.3))


def test_the_one_level_is_in_image_units_about_one_half():
    """As the option says, whatever the range of the network's images."""
    seen = []

    def net(y, sigma):
        seen.append((float(sigma), y))
        return y

    y = torch.rand(2, 1, 8, 8)
    gb.denoiser(net, adapt=0.1, range="0:255")(y, 0.2)
    assert seen[0][0] == pytest.approx(25.5)
    torch.testing.assert_close(seen[0][1], 255 * (0.5 + (y - 0.5) / 2))
    said = registry.lookup("denoisers", "callable").model_fields["adapt"].description
    assert "in image units" in said
    assert "about 1/2" in said


def test_unit_noise():
    y, z = torch.rand(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    found = gb.denoiser(lambda y, sigma: z, returns="unit-noise")(y, torch.tensor([0.1, 0.4]))
    torch.testing.assert_close(found, y - torch.tensor([0.1, 0.4]).reshape(-1, 1, 1, 1) * z)


@pytest.mark.parametrize("ends", [(0, 255), [0.0, 255.0], np.array([0, 255]), "0.0:255"])
def test_a_range_may_be_a_pair(ends):
    found = gb.denoiser(lambda y, sigma: y, range=ends)
    assert found.written().endswith("range='0:255')")
    assert found.ends == (0, 255)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("batch", value) for value in (1e30, -1, 10**9, 1.5)),
        *(("sigma_scale", value) for value in (1e300, 1e-300, 0)),
        *(("channels", value) for value in (1e30, 10**9)),
        ("adapt", 1e300),
    ],
)
def test_options_beyond_all_reason_are_refused(option, value):
    with pytest.raises(UsageError, match=rf"{option}=\S+ is not allowed: "):
        gb.denoiser(lambda y, sigma: y, **{option: value})


@pytest.mark.parametrize(
    "ends", ["0-255", "1:0", "0:0", "a:b", "0:255:1", "0:1e300", "nan:1", (255, 0), (0, 1, 2), 255, None, "1.2.3:4"]
)
def test_ranges_that_cannot_be_are_refused(ends):
    with pytest.raises(UsageError, match="black:white"):
        gb.denoiser(lambda y, sigma: y, range=ends)


def test_options_beside_a_spec_are_refused():
    with pytest.raises(UsageError, match="stand in its spec"):
        gb.denoiser("identity", range="0:255")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("a=mynet:net,b=mmse", ["a=mynet:net", "b=mmse"]),
        ("a=torchscript:file=s.pt,b=mmse", ["a=torchscript:file=s.pt", "b=mmse"]),
        ("a=tv:weight=1,b=identity", ["a=tv:weight=1", "b=identity"]),
        ("b=identity,c=mmse", ["b=identity", "c=mmse"]),
        ("mynet:net,b=mmse,c=tv,weight=2", ["mynet:net", "b=mmse", "c=tv:weight=2"]),
        ("a=tv,weight=3,b=calpha-32,c=x/best.safetensors", ["a=tv:weight=3", "b=calpha-32", "c=x/best.safetensors"]),
        ("a=mmse,b=mynet:net,tv", ["a=mmse", "b=mynet:net", "tv"]),
        (
            "a=callable:adapt=0.2,path=mynet:net,range=0:255,b=(wavelet:rule=hard,shifts=all),c=mmse",
            ["a=callable:adapt=0.2,path=mynet:net,range=0:255", "b=(wavelet:rule=hard,shifts=all)", "c=mmse"],
        ),
        ("onnx:file=a.onnx,blind=true,b=wavelet:rule=hard", ["onnx:file=a.onnx,blind=true", "b=wavelet:rule=hard"]),
        ("wavelet:rule=hard,shfits=all,tv", ["wavelet:rule=hard,shfits=all", "tv"]),
        ("nosuch,rule=hard,b=tv:weight=1", ["nosuch:rule=hard", "b=tv:weight=1"]),
    ],
)
def test_lists_of_named_denoisers(given, meant):
    """What a piece key=value is depends on whether the denoiser before it has that parameter."""
    assert split_specs([given]) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mynet:net,range=0:255", "callable:path=(mynet:net),range=0:255."),
        ("a=mynet:net,range=0:255,blind=true", "callable:path=(mynet:net),range=0:255,blind=true."),
        ("./mynet.py:net", " mynet:net,"),
        ("mynet.py:net", " mynet:net,"),
        ("mynet.py", " mynet:NAME,"),
        ("lib/mynet.py:net", " lib.mynet:net,"),
        ("/home/x-y/mynet.py:net", " mynet:net,"),
        ("callable:path=(./mynet.py:net)", " mynet:net,"),
        ("./mynet.py:net,range=-1:1", "callable:path=(mynet:net),range=-1:1,"),
    ],
)
def test_other_forms_of_a_callable_are_told_the_right_one(given, meant):
    with pytest.raises(UsageError) as caught:
        gb.denoiser(given)
    assert meant in str(caught.value)


def test_names_of_ones_choice(tmp_path, monkeypatch):
    (tmp_path / "named_net.py").write_text("def net(y, sigma):\n    return y / 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gb.denoiser("mine=named_net:net").spec == "mine"
    assert gb.denoiser("soft=wavelet:rule=soft").spec == "soft"
    y = torch.rand(2, 1, 8, 8)
    assert torch.equal(gb.denoiser("mine=callable:path=(named_net:net),returns=noise")(y, 0.1), y / 2)
    table = gb.score(
        FAMILY, {"half": lambda y, sigma: 0.9 * y + 0.05, "zero": "identity", "mmse": "mmse"}, [0.1], images=2
    )
    assert list(dict.fromkeys(table["denoiser"])) == ["half", "zero", "mmse"]
    with pytest.raises(UsageError, match="rename it"):
        gb.denoiser("tv=named_net:net")
    with pytest.raises(UsageError, match=r"'defaults'.* if none are given; rename it"):
        gb.denoiser("defaults=named_net:net")
    for name, why in (("a,b", "commas"), ("a:b,c", "commas"), ("defaults", "if none are given"), ("tv", "catalogue")):
        with pytest.raises(UsageError, match=f"cannot be called '{name}': .*{why}.*; rename it"):
            gb.score(FAMILY, {name: lambda y, sigma: y}, [0.1], images=2)

    def defaults(y, sigma):
        return y

    with pytest.raises(UsageError, match="'defaults'"):
        gb.score(FAMILY, [defaults], [0.1], images=2)
    sys.modules.pop("named_net")


class Filter(torch.nn.Module):
    """The optimum of a law, in other units."""

    def __init__(self, ends, returns):
        super().__init__()
        self.ends, self.returns = ends, returns
        self.mmse = gb.denoiser("mmse", "calpha:size=16")

    def forward(self, y, sigma):
        low, high = self.ends
        clean = low + (high - low) * self.mmse((y - low) / (high - low), sigma / (high - low))
        return y - clean if self.returns == "noise" else clean


@pytest.mark.parametrize(
    ("ends", "returns", "says"),
    [
        ((0.0, 255.0), "image", "range='0:255')"),
        ((-1.0, 1.0), "image", "range='-1:1')"),
        ((0.0, 1.0), "noise", "returns='noise')"),
        ((-1.0, 1.0), "noise", "returns='noise', range='-1:1')"),
    ],
)
def test_wrong_units_are_pointed_out_with_what_mends_them(ends, returns, says):
    """Also where the loss is small: the remedy is tried, not guessed."""
    with pytest.warns(ScaleWarning, match="it is .* dB better with") as caught:
        gb.score("calpha:size=16", [Filter(ends, returns)], [0.03, 0.1, 0.3], images=4)
    assert any(says in str(one.message) for one in caught), [str(one.message) for one in caught]


def shrinks(y, sigma, low, high, scale, ends=(-0.3, 1.3)):
    """The best multiple of y about grey, of an image that it clips, in its own units."""
    span = high - low
    u = ((y - low) / span).clamp(*ends)
    return low + span * (0.5 + (u - 0.5) * 0.09 / (0.09 + (sigma / scale) ** 2))


@pytest.mark.parametrize(
    ("low", "high", "scale", "says"),
    [
        (0.0, 255.0, 255.0, "range='0:255')"),
        (-1.0, 1.0, 2.0, "range='-1:1')"),
        (0.0, 1.0, 255.0, "sigma_scale=255.0)"),
        (0.0, 65535.0, 65535.0, "range='0:65535')"),
    ],
)
@pytest.mark.parametrize("sigmas", [[0.05, 0.3], [0.01, 0.02, 0.3], [0.05, 0.1, 0.35, 0.4]])
def test_wrong_units_are_pointed_out_wherever_they_cost(low, high, scale, says, sigmas):
    """Not at the usual noise level alone, and of a denoiser that does no more than a multiple of y."""

    def mine(y, sigma):
        return shrinks(y, sigma, low, high, scale)

    with pytest.warns(ScaleWarning, match="it is .* dB better with") as caught:
        gb.score("calpha:size=8", [mine], sigmas, images=3)
    assert any(says in str(one.message) for one in caught), [str(one.message) for one in caught]
    right = {"range": f"{low:g}:{high:g}"} if high != 1 or low else {"sigma_scale": 255}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ScaleWarning)
        gb.score("calpha:size=8", {"right": gb.denoiser(mine, **right)}, sigmas, images=3)


SPARE = {
    "none": lambda y, sigma: y,
    "towards black": lambda y, sigma: y / (1 + 16 * sigma**2),
    "towards grey": lambda y, sigma: 0.5 + (y - 0.5) / (1 + 16 * sigma**2),
    "by sigma": lambda y, sigma: y / (1 + sigma),
    "half as far": lambda y, sigma: 0.5 + (y - 0.5) / (1 + 8 * sigma**2),
    "the mean": lambda y, sigma: y.mean(dim=(-2, -1), keepdim=True).expand_as(y),
    "too much": lambda y, sigma: 0.5 + (y - 0.5) / (1 + 64 * sigma**2),
    "blur": lambda y, sigma: torch.nn.functional.avg_pool2d(y, 3, 1, 1, count_include_pad=False),
    "for 0.1": lambda y, sigma: gb.denoiser("mmse", "calpha:size=16")(y, 0.1),
}


@pytest.mark.parametrize("name", SPARE)
@pytest.mark.parametrize("sigmas", [[0.01], [0.3], [1.0], [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]])
def test_what_is_merely_poor_is_not_taken_for_other_units(recwarn, name, sigmas):
    """Also beside the optimum, at which most seems to be lost."""
    gb.score("calpha:size=16", {name: SPARE[name], "mmse": "mmse"}, sigmas, images=4)
    said = [str(one.message) for one in recwarn if issubclass(one.category, ScaleWarning)]
    assert not [text for text in said if "better with" in text], said


@pytest.mark.parametrize("spare", [lambda y, sigma: y, lambda y, sigma: y / (1 + 16 * sigma**2)])
def test_right_units_are_not_pointed_out(recwarn, spare):
    right = gb.denoiser(Filter((-1.0, 1.0), "noise"), range="-1:1", returns="noise")
    gb.score("calpha:size=16", [Filter((0.0, 1.0), "image"), right, spare], [0.1, 1.0], images=4)
    assert not [str(one.message) for one in recwarn if issubclass(one.category, ScaleWarning)]


def test_clipped_estimates_and_levels_in_255ths_are_pointed_out():
    with pytest.warns(ScaleWarning, match="clipped to .0, 1."):
        gb.score("calpha:size=16,std=1", [lambda y, sigma: y.clamp(0, 1)], [0.05], images=4)
    with pytest.warns(ScaleWarning, match=r"15.*255.*0\.0588"):
        gb.score(FAMILY, [lambda y, sigma: y], [15, 25, 50], images=2)
