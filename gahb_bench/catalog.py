"""Finds families, oracles, denoisers and networks by file, lazily.

A plugin is a class with a literal ``name`` in one of the folders below. The folders are read as text (`ast`), so
listing everything imports nothing; a file is imported when one of its names is asked for. An oracle in a file named
like a family belongs to that family; an oracle in any other file serves every family.
"""

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from gahb_bench import spec as specs
from gahb_bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from gahb_bench.denoisers.base import Denoiser
    from gahb_bench.families.base import Family
    from gahb_bench.networks.base import Network

Kind = Literal["families", "oracles", "denoisers", "networks"]
_PACKAGE = "gahb_bench"
WEIGHTS = ".safetensors"

# What a run shows beside the oracles of a family, unless told otherwise.
DEFAULT_DENOISERS = (
    "identity",
    "gaussian-blur",
    "tv",
    "wavelet",
    "wavelet:shifts=all",
    "wavelet:rule=bayes,shifts=all",
    "ideal",
    "ideal:basis=fourier",
)


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
    """One plugin, known by reading its file without importing it."""

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

    def load(self) -> Any:
        """Import the file and return the class."""
        return getattr(importlib.import_module(self.module), self.class_name)


@cache
def entries(kind: Kind) -> tuple[Entry, ...]:
    """Everything of one kind, sorted by family and name."""
    found = [entry for path in sorted(_folder(kind).glob("*.py")) for entry in _read(kind, path)]
    return tuple(sorted(found, key=lambda entry: (entry.family or "", entry.name)))


def family(spec: "str | Family") -> "Family":
    """The family described by a spec: ``gb.family("calpha:size=32")``.

    Raises
    ------
    UsageError
        For an unknown family or parameter, or a value that is not allowed.
    """
    if not isinstance(spec, str):
        return spec
    parsed = specs.parse(spec)
    return _find("family", entries("families"), parsed.name).load().from_parameters(dict(parsed.parameters))


def denoiser(spec: "str | Denoiser | Callable[..., Any]", family: "str | Family | None" = None) -> "Denoiser":
    """Any denoiser by spec, or a user's callable ``(y, sigma) -> x_hat`` as a denoiser.

    Oracles, and denoisers that know a training set, need the family. ``module:callable`` names a callable on the
    Python path; a path that ends in ``.safetensors``, and the name of shipped weights, are short for
    ``network:weights=...``.

    Raises
    ------
    UsageError
        For an unknown name or parameter, or an oracle that does not exist for this family.
    """
    from gahb_bench.denoisers.base import Denoiser
    from gahb_bench.denoisers.files import refuse_bare_path
    from gahb_bench.denoisers.user import UserDenoiser
    from gahb_bench.networks.recipe import shipped

    law = globals()["family"](family) if family is not None else None
    if isinstance(spec, Denoiser):
        return spec if law is None or not spec.needs_family else spec.bind(law)
    if not isinstance(spec, str):
        return UserDenoiser.wrap(spec)
    if ":" not in spec and (spec.endswith(WEIGHTS) or spec in shipped()):
        spec = specs.format_spec("network", {"weights": spec})
    if UserDenoiser.is_path(spec):
        return denoiser(UserDenoiser.load(spec), law)
    refuse_bare_path(spec)
    parsed = specs.parse(spec)
    entry = _find("denoiser", denoiser_entries(law.name if law else None), parsed.name)
    made: Denoiser = entry.load().from_parameters(dict(parsed.parameters))
    return made.bind(law) if law is not None else made


def network(spec: "str | Network") -> "Network":
    """The architecture described by a spec: ``gb.network("edm-unet:width=32")``; ``preset=paper`` names a size.

    Raises
    ------
    UsageError
        For an unknown architecture, preset or parameter, or a value that is not allowed.
    """
    if not isinstance(spec, str):
        return spec
    parsed = specs.parse(spec)
    return _find("network", entries("networks"), parsed.name).load().from_parameters(dict(parsed.parameters))


def denoiser_entries(family: str | None) -> tuple[Entry, ...]:
    """Every denoiser that can run on a family: its oracles, the oracles of any family, and the denoisers."""
    oracles = [entry for entry in entries("oracles") if family is None or entry.family in (None, family)]
    return (*oracles, *entries("denoisers"))


def default_denoisers(family: "Family") -> list[str]:
    """The family's oracles, the shipped networks that were trained on it, then what is shown beside them."""
    from gahb_bench.networks.recipe import shipped_for

    module = oracle_module(family.name)
    networks = [specs.format_spec("network", {"weights": name}) for name in shipped_for(family.spec)]
    return [*(module.defaults(family) if module else ()), *networks, *DEFAULT_DENOISERS]


def oracle_module(family: str) -> ModuleType | None:
    """The file in ``oracles/`` that belongs to a family, or None where no optimum is known."""
    module = family.replace("-", "_")
    if not (_folder("oracles") / f"{module}.py").exists():
        return None
    return importlib.import_module(f"{_PACKAGE}.oracles.{module}")


def _find(what: str, known: tuple[Entry, ...], name: str) -> Entry:
    matches = [entry for entry in known if name == entry.name or name in entry.aliases]
    if not matches:
        raise unknown(what, name, [entry.name for entry in known])
    if len({entry.module for entry in matches}) > 1:
        owners = ", ".join(str(entry.family) for entry in matches)
        raise UsageError(f"{name!r} is an oracle of several families ({owners}): say which, with family=...")
    return matches[0]


def _folder(kind: Kind) -> Path:
    return Path(__file__).parent / kind


def _read(kind: Kind, path: Path) -> list[Entry]:
    """The plugins of one file."""
    found = []
    families = {p.stem for p in _folder("families").glob("*.py")} if kind == "oracles" else set()
    owner = path.stem.replace("_", "-") if path.stem in families - {"base", "__init__"} else None
    for node in _classes(path).values():
        literals, parameters = _members(node)
        if "name" in literals:
            literals, parameters = _inherited(path, node)
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            found.append(
                Entry(
                    kind=kind,
                    name=literals["name"],
                    aliases=tuple(literals.get("aliases", ())),
                    knows=literals.get("knows", ""),
                    summary=summary,
                    source=literals.get("source", ""),
                    parameters=tuple(parameters),
                    module=f"{_PACKAGE}.{kind}.{path.stem}",
                    class_name=node.name,
                    family=owner,
                    facts=literals.get("facts", {}),
                )
            )
    return found


@cache
def _classes(path: Path) -> dict[str, ast.ClassDef]:
    """The classes of one file, by name."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


def _inherited(path: Path, node: ast.ClassDef) -> tuple[dict[str, Any], list[Parameter]]:
    """Members of a class and of the classes it is made from, as far as they stand in files of the same folder."""
    literals, parameters = _members(node)
    for base in [base.id for base in node.bases if isinstance(base, ast.Name)]:
        home = next((other for other in sorted(path.parent.glob("*.py")) if base in _classes(other)), None)
        if home is not None:
            above, more = _inherited(home, _classes(home)[base])
            literals = {**above, **literals}
            known = {parameter.name for parameter in parameters}
            parameters += [parameter for parameter in more if parameter.name not in known]
    return literals, parameters


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
                continue  # computed class attributes are of no concern to the catalogue
        elif not item.target.id.startswith("_"):
            parameters.append(_parameter(item.target.id, annotation, item.value))
    return literals, parameters


def _parameter(name: str, annotation: str, value: ast.expr) -> Parameter:
    keywords: dict[str, Any] = {}
    if isinstance(value, ast.Call):
        keywords = {word.arg: ast.literal_eval(word.value) for word in value.keywords if word.arg}
        value = value.args[0]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = ", ".join(f"{sign} {keywords[word]}" for word, sign in signs.items() if word in keywords)
    default = specs.format_value(ast.literal_eval(value))
    return Parameter(name, annotation, default, limits, keywords.get("description", ""))
