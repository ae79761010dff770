"""The literal attributes of plugins: what each must be, checked when a file is read, before anything is imported."""

from collections.abc import Callable, Mapping
from typing import Any

from gahb_bench.core import spec as specs


def check_literals(stated: Mapping[str, Any]) -> None:
    """Refuse class attributes of the wrong kind.

    Raises
    ------
    ValueError
        Naming the attribute, what it is, and what it should be.
    """
    for attribute, (allowed, meaning) in _ALLOWED.items():
        if attribute in stated and not allowed(stated[attribute]):
            raise ValueError(f"{attribute} = {stated[attribute]!r} is not allowed: it should be {meaning}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and specs.is_name(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_sequence_of(allowed: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple | list) and all(map(allowed, value))


def _is_map_to(allowed: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(_is_text(key) and allowed(value[key]) for key in value)


def _is_pair_of_text(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_text, value))


def _is_size(value: Any) -> bool:
    """Whether it is (number of parameters, receptive field or None)."""
    if not (isinstance(value, tuple | list) and len(value) == 2):
        return False
    return isinstance(value[0], int) and (value[1] is None or isinstance(value[1], int))


_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_name, "a name of letters, digits, '-', '_', '.'"),
    "aliases": (_is_sequence_of(_is_name), 'a tuple of names, ("one", "other")'),
    "listed": (lambda value: isinstance(value, bool), "True or False"),
    "knows": (lambda value: value in ("law", "latents", "image", "training set", "nothing"), "one of `Knows`"),
    "source": (_is_text, "text"),
    "facts": (_is_map_to(_is_size), '(parameters, receptive field or None) by preset, {"small": (1000, 9)}'),
    "by_default": (_is_sequence_of(_is_text), 'a tuple of specs, ("spec",)'),
    "looks": (_is_map_to(_is_pair_of_text), 'a hue and a marker by parameter, {"": ("blue", "circle")}'),
}
