"""Plugins as their source states them: classes, literal attributes and fields, read as text; nothing is imported."""

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gahb_bench.core import spec as specs

_PACKAGE = "gahb_bench"
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_STATES_NAME = re.compile(r"^\s+name\s*:\s*ClassVar", re.MULTILINE)
_COMPUTED = "(computed)"  # the default of a field that has a `default_factory`


@dataclass(frozen=True)
class Parameter:
    """One parameter of a plugin, as its source states it."""

    name: str
    type: str
    default: str
    limits: str
    description: str


@dataclass(frozen=True, eq=False)
class File:
    """One file of source, read as text."""

    module: str
    classes: dict[str, ast.ClassDef]
    imported: dict[str, tuple[str, str]]  # local name -> (module, name there)

    def find(self, name: str) -> "Class | None":
        """A class by its name in this file, also if it is imported from this package or from the file's own."""
        if name in self.classes:
            return Class(name, self.classes[name], self)
        module, there = self.imported.get(name, ("", ""))
        if module.partition(".")[0] not in (_PACKAGE, self.module.partition(".")[0]):
            return None
        return read(module).find(there)


@dataclass(frozen=True)
class Class:
    """A class as it is written, and the file that it is written in."""

    name: str
    node: ast.ClassDef
    file: File

    @property
    def is_plugin(self) -> bool:
        """Whether it states a plugin: a class with a literal ``name`` of its own, and not ``listed = False``."""
        stated = _members(self.node)[0]
        return "name" in stated and stated.get("listed", True) is not False

    def inherited(self) -> tuple[dict[str, Any], tuple[Parameter, ...]]:
        """Literal attributes and parameters, also of the classes it is made from, wherever they are written."""
        literals, parameters = _members(self.node)
        for base in self.node.bases:
            above = self.file.find(_name(base))  # what cannot be found adds nothing to a listing
            if above is not None:
                more_literals, more = above.inherited()
                literals = {**more_literals, **literals}
                known = {parameter.name for parameter in parameters}
                parameters += tuple(parameter for parameter in more if parameter.name not in known)
        return literals, parameters

    def arguments_of(self, generic: str) -> "list[Class | None]":
        """What ``X`` is where this class, or one above it, is made from ``generic[X]``; None if it cannot be found."""
        found: list[Class | None] = []
        for base in self.node.bases:
            if isinstance(base, ast.Subscript) and _name(base) == generic:
                found.append(self.file.find(_name(base.slice)))
            elif (above := self.file.find(_name(base))) is not None:
                found += above.arguments_of(generic)
        return found


def plugins(module: str) -> list[Class]:
    """The plugins that a module states; one that holds the ``name`` of none is not read further.

    Raises
    ------
    As `read`.
    """
    if not _STATES_NAME.search(_text(module)):
        return []
    file = read(module)
    return [found for name, node in file.classes.items() if (found := Class(name, node, file)).is_plugin]


@cache
def read(module: str) -> File:
    """A module's source, read as text.

    Raises
    ------
    ModuleNotFoundError
        If there is no such module.
    OSError, SyntaxError, ValueError
        If its source cannot be read.
    """
    body = ast.parse(_text(module)).body
    package = module if _find(module).name == "__init__.py" else module.rpartition(".")[0]
    imported = {
        alias.asname or alias.name: (_absolute(node, package), alias.name)
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return File(module, {node.name: node for node in body if isinstance(node, ast.ClassDef)}, imported)


def _text(module: str) -> str:
    return _find(module).read_text(encoding="utf-8")


@cache
def _find(module: str) -> Path:
    """Where a module's source is; only its outermost package is looked up by Python itself."""
    top, *rest = module.split(".")
    found = importlib.util.find_spec(top)
    if found is not None and rest:
        inside = [Path(place, *rest) for place in found.submodule_search_locations or ()]
        candidates = [file for place in inside for file in (place / "__init__.py", place.with_name(f"{rest[-1]}.py"))]
    else:
        candidates = [Path(found.origin)] if found is not None and found.origin else []
    path = next((file for file in candidates if file.is_file()), None)
    if path is None:
        raise ModuleNotFoundError(f"there is no module {module!r}")
    return path


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that an import is from, by its full name."""
    relative = "." * node.level + (node.module or "")
    return importlib.util.resolve_name(relative, package) if node.level else relative


def _name(expression: ast.expr) -> str:
    """The name of a base class, without what stands in brackets; empty where it is no plain name."""
    inner = expression.value if isinstance(expression, ast.Subscript) else expression
    return inner.id if isinstance(inner, ast.Name) else ""


@cache
def _members(node: ast.ClassDef) -> tuple[dict[str, Any], tuple[Parameter, ...]]:
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
                continue  # computed class attributes are of no concern to a listing
        elif not item.target.id.startswith("_"):
            parameters.append(_parameter(item.target.id, annotation, item.value))
    return literals, tuple(parameters)


def _parameter(name: str, annotation: str, value: ast.expr) -> Parameter:
    """A parameter from its annotation and its default, which may stand in ``Field(default, ...)``."""
    keywords: dict[str, ast.expr] = {}
    default: ast.expr | None = value
    if isinstance(value, ast.Call) and _name(value.func) == "Field":
        keywords = {word.arg: word.value for word in value.keywords if word.arg}
        default = value.args[0] if value.args else keywords.get("default")
    shown = _shown(default) if default is not None else _COMPUTED if "default_factory" in keywords else ""
    limits = ", ".join(f"{sign} {_shown(keywords[word])}" for word, sign in _SIGNS.items() if word in keywords)
    described = keywords.get("description", ast.Constant(""))
    description = str(described.value) if isinstance(described, ast.Constant) else ast.unparse(described)
    return Parameter(name, annotation, shown, limits, description)


def _shown(value: ast.expr) -> str:
    """A value as it is written in a spec; as it stands in the source where it is computed."""
    try:
        return specs.format_value(ast.literal_eval(value))
    except ValueError:
        return ast.unparse(value)
