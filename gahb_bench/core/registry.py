"""Finds plugins, lazily: in the folders of this package, and in other packages by their entry points.

A plugin is a class with a literal ``name``, unless it states ``listed = False``. Files are read as text
(`gahb_bench.core.source`), so listing everything imports nothing; a file is imported when one of its names is asked
for. An oracle belongs to the law that it names, ``OracleOf[Law]``. What cannot be read or used, or has a name that is
taken, is a `Problem`, and breaks nothing else.
"""

import ast
import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args
from weakref import WeakValueDictionary

from gahb_bench.core import spec as specs
from gahb_bench.core.errors import GahbError, UsageError, printable, reason_of, unknown
from gahb_bench.core.literals import check_literals
from gahb_bench.core.source import Class, Parameter, plugins

Kind = Literal["families", "oracles", "denoisers", "networks", "samplers", "operators", "posteriors"]
_PACKAGE = "gahb_bench"
_ROOT = Path(__file__).parents[1]
_FOLDERS = (
    "families",
    "denoisers",
    "networks",
    "samplers",
    "channels",
    "posteriors",
)  # of this package, and names of groups of entry points
_SINGULAR = {kind: kind.removesuffix("s") for kind in get_args(Kind)} | {"families": "family"}

_DEFINED: WeakValueDictionary[tuple[str, str], type[Any]] = WeakValueDictionary()  # outside of files, in this process


@dataclass(frozen=True)
class Problem:
    """A plugin that is left out: where it is, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where} is left out: {self.reason}"


@dataclass(frozen=True)
class Entry:
    """One plugin, known by reading its file without importing it. ``family`` is that of an oracle; None for any."""

    kind: Kind
    name: str
    aliases: tuple[str, ...]
    knows: str
    summary: str
    source: str
    parameters: tuple[Parameter, ...]
    module: str
    class_name: str
    family: str | None  # of an oracle of one law
    of: str  # whose an oracle is, in words
    facts: dict[str, tuple[int, int | None]]  # of networks: (parameters, receptive field) by preset
    by_default: tuple[str, ...]  # of denoisers: specs of it that a run shows unless told otherwise
    where: str  # the file, or the entry point of another package

    @property
    def names(self) -> set[str]:
        """The name and the aliases."""
        return {self.name, *self.aliases}

    def load(self) -> type[Any]:
        """Import the file and return the class.

        Raises
        ------
        UsageError
            If the file cannot be imported.
        """
        try:
            return getattr(importlib.import_module(self.module), self.class_name)
        except (GahbError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a plugin of somebody else's may raise anything, or try to end the program
            raise UsageError(
                f"the {_SINGULAR[self.kind]} {self.name!r} cannot be used: importing {self.module} failed with "
                f"{reason_of(error)}. Mend that file, or remove it."
            ) from error


@dataclass
class _Found:
    entries: list[Entry] = field(default_factory=list)
    problems: dict[Problem, None] = field(default_factory=dict)  # in order, each once
    modules: set[str] = field(default_factory=set)  # that were read
    left_out: set[tuple[str, str]] = field(default_factory=set)  # when they were used: module and class


def define(kind: Kind, name: str, plugin: type[Any]) -> None:
    """Make a class known by its name in this process; an oracle of one law is that law's alone, and is found there.

    One whose file was read is known by that, or left out as a problem.

    Raises
    ------
    UsageError
        If the name is taken: what is stored under it could not be told apart.
    """
    found = _everything()
    if plugin.__module__ in found.modules:
        return
    for entry in found.entries:
        if name in entry.names and _clash(kind, entry.kind):
            raise UsageError(
                f"a {_SINGULAR[kind]} of your own cannot be called {name!r}: {entry.module} has one of that name; "
                "rename it."
            )
    if kind != "oracles":
        _DEFINED[kind, name] = plugin


def entries(kind: Kind) -> tuple[Entry, ...]:
    """Everything of one kind, sorted by family and name."""
    found = [entry for entry in _everything().entries if entry.kind == kind]
    return tuple(sorted(found, key=lambda entry: (entry.family or "", entry.name)))


def importable(found: Iterable[Entry]) -> Iterator[Entry]:
    """Those that can be imported, which they then are; each of the others is a problem from now on."""
    for entry in found:
        try:
            entry.load()
        except GahbError as error:
            leave_out(entry, printable(error))
            continue
        yield entry


def leave_out(entry: Entry, reason: str) -> None:
    """Report a plugin as a problem from now on, for the first reason that is found."""
    found = _everything()
    if (entry.module, entry.class_name) not in found.left_out:
        found.left_out.add((entry.module, entry.class_name))
        found.problems[Problem(entry.where, reason)] = None


def problems() -> tuple[Problem, ...]:
    """The plugins that are left out, as far as is known without importing any."""
    return tuple(_everything().problems)


def lookup(kind: Kind, name: str) -> type[Any] | None:
    """The class of a plugin, by its name or alias, also if it was defined in this process alone; None if unknown.

    Raises
    ------
    UsageError
        For the name of oracles of several families, or a file that cannot be imported.
    """
    matches = [entry for entry in entries(kind) if name in entry.names]
    if len({entry.module for entry in matches}) > 1:
        owners = ", ".join(sorted(entry.of for entry in matches))
        raise UsageError(f"{name!r} is an oracle of several families ({owners}): say which, with family=...")
    return matches[0].load() if matches else _DEFINED.get((kind, name))


def unknown_plugin(kind: Kind, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name; what is left out is named too, as it may be what was meant."""
    error = unknown(_SINGULAR[kind], name, known)
    return UsageError(" ".join([str(error), *(f"{problem}." for problem in problems())]))


def make(kind: Kind, text: str) -> Any:
    """The plugin described by a spec.

    Raises
    ------
    UsageError
        For an unknown name or parameter, or a value that is not allowed.
    """
    parsed = specs.parse(text)
    found = lookup(kind, parsed.name)
    if found is None:
        raise unknown_plugin(kind, parsed.name, [entry.name for entry in entries(kind)])
    return found.from_parameters(dict(parsed.parameters))


@cache
def _everything() -> _Found:
    """All plugins, read once a process: first those of this package, then those of others, by name of entry point."""
    found = _Found()
    for group in _FOLDERS:
        for path in sorted((_ROOT / group).rglob("*.py")):
            module = ".".join((_PACKAGE, *path.relative_to(_ROOT).with_suffix("").parts))
            _read(found, group, module.removesuffix(".__init__"), str(path.relative_to(_ROOT.parent)))
    for group in _FOLDERS:
        for point in sorted(_entry_points(found, f"{_PACKAGE}.{group}"), key=_order):
            where = f"the entry point {point.name!r}{_package(point)} ({point.value})"
            try:
                module = point.module
            except (AttributeError, ValueError):  # its text is not of the form that this takes apart
                found.problems[Problem(where, "it names no module: write my_package.my_file")] = None
                continue
            if not _read(found, group, module, where):
                reason = "its file states no plugin, a class with a literal `name: ClassVar = ...`"
                found.problems[Problem(where, reason)] = None
    return found


def _entry_points(found: _Found, group: str) -> list[Any]:
    """The entry points of a group; a package whose file of entry points cannot be read is a problem.

    They are of importlib.metadata, or of its backport, which takes its place where another package imports it.
    """
    try:
        return list(metadata.entry_points(group=group))
    except Exception:  # one such package is enough; find which
        points: list[Any] = []
        for package in metadata.distributions():
            try:
                points += package.entry_points.select(group=group)
            except Exception as error:
                where = f"the package {package.metadata['Name']}"
                found.problems[Problem(where, f"its entry points cannot be read ({reason_of(error)})")] = None
        return list({(point.name, point.value, _package(point)): point for point in points}.values())


def _order(point: Any) -> tuple[str, str, str]:
    return point.name, _package(point), point.value


def _package(point: Any) -> str:
    return "" if point.dist is None else f" of the package {point.dist.name}"


def _read(found: _Found, group: str, module: str, where: str) -> bool:
    """Add the plugins of one file; whether it has any, or cannot be read."""
    found.modules.add(module)
    try:
        stated = plugins(module)
    except Exception as error:  # whatever is wrong with a file of somebody else's, the others work
        found.problems[Problem(where, f"it cannot be read ({reason_of(error)})")] = None
        return True
    for plugin in stated:
        try:
            _add(found, _entry(group, plugin, where))
        except Exception as error:
            found.problems[Problem(where, f"its class {plugin.name} cannot be read ({reason_of(error)})")] = None
    return bool(stated)


def _add(found: _Found, entry: Entry) -> None:
    """Add a plugin, unless its name is taken: then the first keeps it, and those of this package come first."""
    for other in found.entries:
        if (other.module, other.class_name) == (entry.module, entry.class_name):
            return  # one file, named by two entry points
        if _same_scope(entry, other) and (taken := sorted(other.names & entry.names)):
            reason = f"its {_SINGULAR[entry.kind]} {taken[0]!r} has the name of one in {other.module}; rename it"
            found.problems[Problem(entry.where, reason)] = None
            return
    found.entries.append(entry)


def _same_scope(entry: Entry, other: Entry) -> bool:
    """Whether two plugins must have different names: oracles of one law, and a denoiser and an oracle of any law."""
    return entry.family == other.family if entry.kind == other.kind else _clash(entry.kind, other.kind)


def _clash(kind: Kind, other: Kind) -> bool:
    """Whether one of each kind, of whatever law, may not have the same name."""
    return kind == other != "oracles" or {kind, other} == {"oracles", "denoisers"}


def _entry(group: str, plugin: Class, where: str) -> Entry:
    literals, parameters = plugin.inherited()
    check_literals(literals)
    laws = plugin.arguments_of("OracleOf")
    kind: Any = "oracles" if laws else literals.get("kind", group)
    law = next(filter(None, laws), None)
    family = None if law is None else law.inherited()[0].get("name")
    return Entry(
        kind=kind,
        name=literals["name"],
        aliases=tuple(literals.get("aliases", ())),
        knows=literals.get("knows", "") if kind in ("oracles", "denoisers") else "",
        summary=(ast.get_docstring(plugin.node) or "").partition("\n")[0],
        source=literals.get("source", ""),
        parameters=tuple(parameters),
        module=plugin.file.module,
        class_name=plugin.name,
        family=family,
        of=family or ("" if law is None else f"any {law.name.lower()} law"),
        facts=literals.get("facts", {}),
        by_default=tuple(literals.get("by_default", ())) if kind == "denoisers" else (),
        where=where,
    )
