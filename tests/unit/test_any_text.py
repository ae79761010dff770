"""Specs and cards that anybody may have written: they are made, or refused by a sentence, and nothing else happens."""

import json

import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gahb_bench import make
from gahb_bench.core import registry
from gahb_bench.core.errors import MissingPackageError, UsageError
from gahb_bench.sets.cards import Card, fingerprint, load_card, write_card

LAW = make.family("calpha:size=8")
MAKERS = {
    "families": make.family,
    "denoisers": lambda spec: make.denoiser(spec, LAW, tune=False),
    "networks": make.network,
    "samplers": make.sampler,
    "operators": make.operator,
    "posteriors": make.posterior_method,
}
PARAMETERS = {
    kind: {entry.name: sorted(entry.load().model_fields) for entry in registry.importable(registry.entries(kind))}
    for kind in MAKERS
}
SIGNS = ":=,()+-./\\'\"<>\n\0 üé0159eEnaifx"
VALUES = st.one_of(
    st.sampled_from(["nan", "inf", "-1", "0", "1", "3", "1e9", "1e999", "True", "None", "()", "calpha", "mmse", "a+b"]),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
    st.text(SIGNS, max_size=6),
)
ONLY_OURS = settings(
    deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def specs(draw):
    """Of a kind and plugin of the catalogue, with parameters of it or others; a few characters of it changed."""
    kind = draw(st.sampled_from(sorted(MAKERS)))
    name = draw(st.sampled_from(sorted(PARAMETERS[kind])))
    keys = st.sampled_from([*PARAMETERS[kind][name], "of", "size", "x"])
    text = (
        name
        + ":" * draw(st.booleans())
        + ",".join(f"{draw(keys)}={draw(VALUES)}" for _ in range(draw(st.integers(0, 3))))
    )
    return kind, draw(changed(text))


@st.composite
def changed(draw, text):
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text(SIGNS, max_size=2)) + text[place + draw(st.integers(0, 2)) :]
    return text


def made(make_it, *what):
    """What is made, or None where it is refused by one sentence or a few."""
    try:
        return make_it(*what)
    except (UsageError, MissingPackageError) as error:
        said = str(error)
    assert said
    assert "Traceback" not in said
    return None


@settings(ONLY_OURS, max_examples=200)
@given(specs())
def test_any_spec(kind_and_text):
    kind, text = kind_and_text
    found = made(MAKERS[kind], text)
    if found is not None and kind != "denoisers":  # a name of one's choice is no spec
        assert MAKERS[kind](found.spec).spec == found.spec


CARD = Card(
    title="x",
    spec=LAW.spec,
    split="val",
    seed=0,
    images=4,
    sigmas=(0.1,),
    fingerprint=fingerprint(LAW.spec, "val", 0, 4),
)
CONTENT = json.loads(CARD.model_dump_json())
ANYTHING = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(SIGNS, max_size=5), VALUES),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=5,
)


@settings(ONLY_OURS, max_examples=150)
@given(st.sampled_from([*CONTENT, *CONTENT["fingerprint"], "else"]), ANYTHING, st.booleans())
def test_any_value_in_a_card(tmp_path_factory, key, value, there):
    content = {**CONTENT, "fingerprint": dict(CONTENT["fingerprint"])}
    place = content["fingerprint"] if key in content["fingerprint"] else content
    place.pop(key, None)
    if there:
        place[key] = value
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(tomli_w.dumps(content))
    card = made(load_card, path)
    if card is not None:
        made(card.check)


@settings(ONLY_OURS, max_examples=100)
@given(changed(write_card(CARD)))
@example('title = "\ud800"')
@example("a = " + "[" * 10**5)
@example("[a" + ".a" * 10**4 + "]")
@example("seed = 1" + "0" * 5000)
def test_any_text_of_a_card(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    card = made(load_card, path)
    if card is not None:
        made(card.check)
