"""The public names: each is there, and has a docstring with an example, which the doctests run."""

import doctest

import pytest

import gahb_bench as gb

MODULES = {"gb": gb, **{f"gb.{name}": getattr(gb, name) for name in ("geometry", "plot")}}
NAMES = [(where, name) for where, module in MODULES.items() for name in module.__all__]


@pytest.mark.parametrize(("where", "name"), NAMES, ids=[f"{where}.{name}" for where, name in NAMES])
def test_a_public_name_has_an_example(where, name):
    found = getattr(MODULES[where], name)
    assert found.__doc__, f"{where}.{name} has no docstring"
    assert found.__doc__.partition("\n")[0].strip()
    assert doctest.DocTestParser().get_examples(found.__doc__), f"the docstring of {where}.{name} has no example"


@pytest.mark.parametrize("where", MODULES)
def test_public_names_are_sorted_and_listed_once(where):
    names = list(MODULES[where].__all__)
    assert names == sorted(set(names))
    assert set(names) <= set(dir(MODULES[where]))


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gb.nothing
