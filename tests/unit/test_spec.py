import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.core.spec import format_spec, parse, parse_list


def test_nested_specs():
    inner = parse("shuffled:of=(calpha:size=32,alpha=1),seed=3").parameters
    assert inner == {"of": "calpha:size=32,alpha=1", "seed": "3"}
    assert parse("shuffled:of=calpha").parameters == {"of": "calpha"}
    assert format_spec("shuffled", {"of": "calpha:size=32"}) == "shuffled:of=(calpha:size=32)"


def test_a_list_gives_parameters_to_the_spec_before():
    text = "mmse,wavelet:rule=hard,shifts=all,tv,shuffled:of=(calpha:size=8,alpha=1),seed=1"
    assert parse_list(text) == [
        "mmse",
        "wavelet:rule=hard,shifts=all",
        "tv",
        "shuffled:of=(calpha:size=8,alpha=1),seed=1",
    ]
    assert parse_list("tv,weight=3") == ["tv:weight=3"]


@pytest.mark.parametrize(
    "text", ["", ":", "a:b", "a:=1", "a:b=", "a:b=1,b=2", "a:b=(1", "a:b=1)", "<script>", "../x", "a\nb", "a:b=1,,c=2"]
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("text", ["a,,b", "k=,a", "a,k="])
def test_lists_that_cannot_be_read_are_refused(text):
    with pytest.raises(UsageError):
        parse_list(text)


@settings(deadline=None)  # the first one imports torch
@given(st.floats(0.01, 10), st.integers(8, 999))
def test_canonical_specs_read_back_equal(alpha, size):
    family = gb.family(f"calpha:size={size},alpha={alpha!r}")
    assert gb.family(family.spec) == family


def test_the_canonical_form_lists_what_differs_sorted():
    assert gb.family("calpha:size=32,alpha=2.0").spec == "calpha:size=32"
    assert gb.family("calpha:size=32,alpha=1").spec == "calpha:alpha=1,size=32"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("calfa", "unknown family 'calfa'; did you mean 'calpha'"),
        ("calpha:alpah=1", "unknown parameter of 'calpha' 'alpah'; did you mean 'alpha'"),
        ("calpha:alpha=-1", "alpha=-1 is not allowed: it should be greater than 0"),
        ("calpha:size=3", "size=3 is not allowed: it should be greater than or equal to 8"),
        ("calpha:alpha=nan", "alpha=nan is not allowed"),
        ("calpha:size=8.5", "size=8.5 is not allowed"),
        ("calpha:law=gamma", "law=gamma is not allowed: it should be 'gaussian' or 'uniform'"),
    ],
)
def test_family_errors_say_what_is_allowed(spec, message):
    with pytest.raises(UsageError) as caught:
        gb.family(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "nest",
    [
        lambda spec: f"shuffled:of=({spec})",
        lambda spec: f"shuffled:of={spec}",
        lambda spec: f"shuffled:seed=1,of=({spec}),keep=1",
    ],
)
@pytest.mark.parametrize("levels", [17, 300])
def test_specs_within_specs_have_an_end(nest, levels):
    text = "calpha"
    for _ in range(levels):
        text = nest(text)
    with pytest.raises(UsageError, match="specs within specs, more than 16 deep"):
        gb.family(text)
    with pytest.raises(UsageError, match="more than 16 deep"):
        gb.denoiser("a=" * levels + "mmse")
    deep = "calpha:size=8"
    for _ in range(3):
        deep = f"shuffled:of=({deep})"
    assert gb.family(deep).shape == (1, 8, 8)
    assert len(parse("calpha:" + ",".join(f"k{i}={i}" for i in range(50))).parameters) == 50
