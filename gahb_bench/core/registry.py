"""Finds plugins, lazily: in the folders of this package, and in other packages by their entry points.

A plugin is a class with a literal ``name``, and not ``listed = False``. Files are read as text (`ast`), so listing
everything imports nothing; a file is imported when one of its names is asked for. A class with ``knows`` in the folder
(or file) of a family is an oracle of that family. A file that cannot be read is a `Problem`, and breaks nothing else.
"""

import ast
import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

from gahb_bench.core import spec as specs
from gahb_bench.core.errors import UsageError, printable, reason_of, unknown

Kind = Literal["families", "oracles", "denoisers", "networks"]
_PACKAGE = "gahb_bench"
_ROOT = Path(__file__).parents[1]
_FOLDERS = ("families", "denoisers", "networks")  # folders of this package, and names of groups of entry points
_SINGULAR = {"families": "family", "oracles": "oracle", "denoisers": "denoiser", "networks": "network"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


_DEFINED: WeakValueDictionary[tuple[str, str], type[Any]] = WeakValueDictionary()  # outside of files, in this process


@dataclass(frozen=True)
class Parameter:
    """One parameter of a plugin, as its source states it."""

    name: str
    type: str
    default: str
    limits: str
    description: str


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
    family: str | None
    facts: dict[str, tuple[int, int | None]]  # of networks: (parameters, receptive field) by preset
    by_default: tuple[str, ...]  # of denoisers: specs of it that a run shows unless told otherwise

    def load(self) -> type[Any]:
        """Import the file and return the class.

        Raises
        ------
        UsageError
            If the file cannot be imported.
        """
        try:
            return getattr(importlib.import_module(self.module), self.class_name)
        except (ImportError, KeyboardInterrupt):
            raise
        except Exception as error:  # a plugin of somebody else's may raise anything
            raise UsageError(
                f"the {_SINGULAR[self.kind]} {self.name!r} cannot be used: importing {self.module} failed with "
                f"{reason_of(error)}. Mend that file, or remove it."
            ) from error


@dataclass(frozen=True)
class Problem:
    """A plugin that cannot be read: where it is, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where} cannot be read and is left out: {self.reason}"


@dataclass
class _Found:
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Class:
    """A class as it is written, and the file that it is written in."""

    node: ast.ClassDef
    file: "_File"


@dataclass(frozen=True, eq=False)
class _File:
    """One file of source, read as text."""

    module: str
    classes: dict[str, ast.ClassDef]
    imported: dict[str, tuple[str, str]]  # local name -> (module, name there)


def define(kind: str, name: str, plugin: type[Any]) -> None:
    """Make a class known by its name in this process, where no file has one of that name."""
    _DEFINED[kind, name] = plugin


def entries(kind: Kind) -> tuple[Entry, ...]:
    """Everything of one kind, sorted by family and name."""
    found = [entry for entry in _everything().entries if entry.kind == kind]
    return tuple(sorted(found, key=lambda entry: (entry.family or "", entry.name)))


def problems() -> tuple[Problem, ...]:
    """The plugins that cannot be read."""
    return tuple(_everything().problems)


def lookup(kind: Kind, name: str) -> type[Any] | None:
    """The class of a plugin, by its name or alias, also if it was defined in this process alone; None if unknown.

    Raises
    ------
    UsageError
        For the name of oracles of several families, or a file that cannot be imported.
    """
    matches = [entry for entry in entries(kind) if name == entry.name or name in entry.aliases]
    if len({entry.module for entry in matches}) > 1:
        owners = ", ".join(str(entry.family) for entry in matches)
        raise UsageError(f"{name!r} is an oracle of several families ({owners}): say which, with family=...")
    return matches[0].load() if matches else _DEFINED.get((kind, name))


def unknown_plugin(kind: Kind, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name; what could not be read is named too, as it may be what was meant."""
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
    """All plugins of this package and of others; read once a process."""
    found = _Found()
    for group in _FOLDERS:
        for path in sorted((_ROOT / group).rglob("*.py")):
            module = ".".join((_PACKAGE, *path.relative_to(_ROOT).with_suffix("").parts))
            _read(found, group, module, str(path.relative_to(_ROOT.parent)))
    for group in _FOLDERS:
        for point in sorted(metadata.entry_points(group=f"{_PACKAGE}.{group}"), key=lambda point: point.name):
            package = "" if point.dist is None else f" of the package {point.dist.name}"
            _read(found, group, point.module, f"the entry point {point.name!r}{package} ({point.value})")
    _give_owners(found)
    return found


def _read(found: _Found, group: str, module: str, where: str) -> None:
    """Add the plugins of one file."""
    try:
        file = _file(module)
        for name, node in file.classes.items():
            stated = _members(node)[0]
            if "name" in stated and stated.get("listed", True):
                found.entries.append(_entry(group, _Class(node, file), name))
    except Exception as error:  # whatever is wrong with a file of somebody else's, the others work
        found.problems.append(Problem(where, printable(error)))


def _entry(group: str, plugin: _Class, class_name: str) -> Entry:
    literals, parameters = _inherited(plugin)
    kind: Any = "oracles" if group == "families" and literals.get("knows") else group
    return Entry(
        kind=kind,
        name=literals["name"],
        aliases=tuple(literals.get("aliases", ())),
        knows=literals.get("knows", "") if kind in ("oracles", "denoisers") else "",
        summary=(ast.get_docstring(plugin.node) or "").partition("\n")[0],
        source=literals.get("source", ""),
        parameters=tuple(parameters),
        module=plugin.file.module,
        class_name=class_name,
        family=None,
        facts=literals.get("facts", {}),
        by_default=tuple(literals.get("by_default", ())) if kind == "denoisers" else (),
    )


def _give_owners(found: _Found) -> None:
    """Oracles belong to the family of their file, else to that of their folder."""
    of_file = {entry.module: entry.name for entry in found.entries if entry.kind == "families"}
    inside = f"{_PACKAGE}.families"
    of_folder = {
        folder: name for module, name in of_file.items() if (folder := module.rpartition(".")[0]) not in ("", inside)
    }
    for position, entry in enumerate(found.entries):
        if entry.kind == "oracles":
            owner = of_file.get(entry.module) or of_folder.get(entry.module.rpartition(".")[0])
            found.entries[position] = Entry(**{**vars(entry), "family": owner})


@cache
def _file(module: str) -> _File:
    """A module's source, read as text; nothing is imported."""
    body = ast.parse(_source(module).read_text(encoding="utf-8")).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }
    return _File(module, classes, imported)


def _source(module: str) -> Path:
    """Where a module's source is."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {top!r}")
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = path / "__init__.py" if path.is_dir() else path.with_name(path.name + ".py")
    if not path.is_file():
        raise ModuleNotFoundError(f"there is no module {module!r}")
    return path


def _inherited(plugin: _Class) -> tuple[dict[str, Any], list[Parameter]]:
    """Members of a class and of the classes it is made from, wherever they are written."""
    literals, parameters = _members(plugin.node)
    for base in plugin.node.bases:
        above = _base(plugin.file, base)
        if above is not None:
            more_literals, more = _inherited(above)
            literals = {**more_literals, **literals}
            known = {parameter.name for parameter in parameters}
            parameters += [parameter for parameter in more if parameter.name not in known]
    return literals, parameters


def _base(file: _File, base: ast.expr) -> _Class | None:
    """A base class, if its source can be read; what cannot be read adds nothing to a listing."""
    name = base.value if isinstance(base, ast.Subscript) else base
    if not isinstance(name, ast.Name):
        return None
    if name.id in file.classes:
        return _Class(file.classes[name.id], file)
    module, there = file.imported.get(name.id, ("", ""))
    if module.partition(".")[0] not in (_PACKAGE, file.module.partition(".")[0]):
        return None
    home = _file(module)
    return _Class(home.classes[there], home) if there in home.classes else None


def _members(node: ast.ClassDef) -> tuple[dict[str, Any], list[Parameter]]:
    """Literal class attributes, and fields, of a plugin class."""
    literals: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for item in node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None):
            continue
        annotation = ast.unparse(item.annotation)
        if annotation.startswith("ClassVar"):
            try:
                literals[item.target.id] = ast.literal_eval(item.value)
            except ValueError:
                continue  # computed class attributes are of no concern to the registry
        elif not item.target.id.startswith("_"):
            parameters.append(_parameter(item.target.id, annotation, item.value))
    return literals, parameters


def _parameter(name: str, annotation: str, value: ast.expr) -> Parameter:
    keywords: dict[str, ast.expr] = {}
    if isinstance(value, ast.Call):
        keywords = {word.arg: word.value for word in value.keywords if word.arg}
        value = value.args[0] if value.args else keywords.get("default", value)
    limits = ", ".join(f"{sign} {_shown(keywords[word])}" for word, sign in _SIGNS.items() if word in keywords)
    described = keywords.get("description", ast.Constant(""))
    description = str(described.value) if isinstance(described, ast.Constant) else ast.unparse(described)
    return Parameter(name, annotation, _shown(value), limits, description)


def _shown(value: ast.expr) -> str:
    """A value as it is written in a spec; as it stands in the source where it is computed."""
    try:
        return specs.format_value(ast.literal_eval(value))
    except ValueError:
        return ast.unparse(value)
