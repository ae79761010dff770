"""Specs: the text form ``name:key=value,key=value`` of families, oracles, denoisers, networks, samplers and operators.

This module knows text only; values get their types where the named thing is built (`gahb_bench.core.plugin`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gahb_bench.core.errors import UsageError, printable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PARAMETER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=")
_CHOSEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*=")
_NAMES_SPEC = re.compile(r"[A-Za-z][\w.-]*:[^)]")  # a value that is a spec or module:callable: it has a name of its own
_DEEPEST = 16  # spec within spec
_FORM = "a spec has the form name or name:key=value,key=value"


@dataclass(frozen=True)
class Spec:
    """A name and its parameters as written, values still text."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return format_spec(self.name, self.parameters)


def is_name(text: str) -> bool:
    """Whether it can be the name in a spec."""
    return _NAME.fullmatch(text) is not None


def parse(text: str) -> Spec:
    """Read one spec.

    >>> parse("disks:size=32,edge=1")
    Spec(name='disks', parameters={'size': '32', 'edge': '1'})
    >>> parse("shuffled:of=(calpha:size=32,alpha=1)").parameters["of"]
    'calpha:size=32,alpha=1'

    Raises
    ------
    UsageError
        If the text is not of the form ``name:key=value,...``, repeats a key or has unbalanced parentheses.
    """
    name, colon, rest = text.strip().partition(":")
    if not is_name(name):
        raise UsageError(f"cannot read the spec {text!r}: {_FORM}, and a name has letters, digits, '-', '_', '.'.")
    parameters: dict[str, str] = {}
    pieces = _split(rest) if colon else []
    for piece in pieces:
        match = _PARAMETER.match(piece)
        value = piece[match.end() :].strip() if match else ""
        if match is None or not value:
            raise UsageError(f"cannot read {piece.strip()!r} in the spec {text!r}: {_FORM}.")
        key = match.group(1)
        if key in parameters:
            raise UsageError(f"the parameter {key!r} is given twice in the spec {text!r}: give it once.")
        parameters[key] = _unwrap(value)
    return Spec(name, parameters)


def name_given(text: str) -> tuple[str, str]:
    """The name of one's choice and the spec of ``name=spec``; an empty name where none is given.

    >>> name_given("mine=mynet:net"), name_given("wavelet:rule=hard")
    (('mine', 'mynet:net'), ('', 'wavelet:rule=hard'))
    """
    _refuse_depth(text)
    match = _CHOSEN.match(text)
    return (match.group(1), _unwrap(text[match.end() :].strip())) if match else ("", text)


def looks_like_spec(before: str, key: str, value: str) -> bool:
    """Whether a value, as text, is a spec or ``module:callable``, whatever the spec before it and its key."""
    del before, key
    return _NAMES_SPEC.match(value) is not None


def parse_list(text: str, names_spec: Callable[[str, str, str], bool] = looks_like_spec) -> list[str]:
    """Cut a comma-separated list of specs; a piece ``key=value`` belongs to the spec before it.

    A piece ``name=spec`` is a spec under a name of one's choice where it comes first, or ``names_spec`` says so, given
    the spec before it, the name and the spec.

    >>> parse_list("mmse,wavelet:rule=hard,shifts=all,my-net=mynet:net")
    ['mmse', 'wavelet:rule=hard,shifts=all', 'my-net=mynet:net']
    """
    specs: list[str] = []
    for piece in _split(text):
        name, value = name_given(piece)
        if name and not value:
            raise UsageError(f"cannot read the list {text!r}: nothing follows {piece.strip()!r}.")
        if _PARAMETER.match(piece) and specs and not names_spec(specs[-1], name, value):
            specs[-1] += ("," if ":" in specs[-1] else ":") + piece.strip()
        elif piece.strip():
            specs.append(piece.strip())
        else:
            raise UsageError(f"cannot read the list {text!r}: there is an empty name between two commas.")
    return specs


def format_spec(name: str, parameters: Mapping[str, object]) -> str:
    """Write a spec, parameters sorted by key.

    >>> format_spec("calpha", {"size": 32, "alpha": 1.0})
    'calpha:alpha=1,size=32'
    """
    if not parameters:
        return name
    return name + ":" + ",".join(f"{key}={format_value(parameters[key])}" for key in sorted(parameters))


def format_value(value: object) -> str:
    """The one text form of a parameter's value (shortest form that reads back equal)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, tuple | list):
        return "+".join(format_value(item) for item in value)
    text = str(value)
    return f"({text})" if any(mark in text for mark in ",:=()") else text


def head(spec: str) -> str:
    """What stands before the first comma, without a name of one's choice.

    >>> head("mine=mynet:net,range=0:255"), head("tv,weight=3")
    ('mynet:net', 'tv')
    """
    return _split(name_given(spec)[1])[0].strip()


def _split(text: str) -> list[str]:
    """Cut at the commas outside parentheses."""
    _refuse_depth(text)
    pieces, depth, start = [], 0, 0
    for position, mark in enumerate(text):
        depth += (mark == "(") - (mark == ")")
        if depth < 0:
            break
        if mark == "," and depth == 0:
            pieces.append(text[start:position])
            start = position + 1
    if depth != 0:
        raise UsageError(f"the parentheses in {text!r} do not balance.")
    return [*pieces, text[start:]]


def _refuse_depth(text: str) -> None:
    """Refuse specs within specs beyond what anything can mean, before Python refuses to follow them."""
    values = [0]  # begun and not ended, by parentheses
    for mark in text:
        if mark == "(":
            values.append(0)
        elif mark == ")" and len(values) > 1:
            values.pop()
        elif mark in ",=":
            values[-1] = values[-1] + 1 if mark == "=" else 0
        if mark == "=" and sum(values) > _DEEPEST:
            raise UsageError(f"{printable(text, 60)!r} has specs within specs, more than {_DEEPEST} deep: give fewer.")


def _unwrap(value: str) -> str:
    """Drop the parentheses around a whole value."""
    if not (value.startswith("(") and value.endswith(")")):
        return value
    depth = 0
    for position, mark in enumerate(value):
        depth += (mark == "(") - (mark == ")")
        if depth == 0 and position < len(value) - 1:
            return value
    return value[1:-1].strip()
