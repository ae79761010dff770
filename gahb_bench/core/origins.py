"""Where code comes from: Python and installed packages, which their versions tell enough of, or the user."""

import functools
import sys
import sysconfig
import types
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gahb_bench.core.environment import version


def is_users(path: Path) -> bool:
    """Whether a file is neither of Python nor of an installed package."""
    return not any(path.is_relative_to(place) for place in _places())


def module_of(value: Any) -> str:
    """The module in which a function or class is defined; empty for other values."""
    if not isinstance(value, type | types.FunctionType):
        return ""
    return value.__module__ or ""


def file_of(module: types.ModuleType) -> Path | None:
    """The Python file of a module; None where it has none."""
    file = getattr(module, "__file__", None)
    path = Path(file) if file else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def function_of(value: Any) -> types.FunctionType | None:
    """The function behind a method or a property; None for what is none, and for those that pydantic adds."""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    if isinstance(value, types.FunctionType) and not value.__module__.startswith("pydantic"):
        return value
    return None


@cache
def is_installed(module: str | None) -> bool:
    """Whether a module is of Python itself or of an installed package, which its version tells enough of."""
    top = (module or "").partition(".")[0]
    if top == "gahb_bench" or top in sys.stdlib_module_names:
        return top != "__main__"
    found = sys.modules.get(top)
    file = getattr(found, "__file__", None)
    return bool(file) and not is_users(Path(str(file)).resolve())


@cache
def _places() -> tuple[Path, ...]:
    """Where Python and installed packages are."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    libraries = [str(Path(place).parent) for place in named[:2] if place]  # with the archive that Python looks for
    return tuple(Path(place).resolve() for place in {*named, *libraries, str(Path(__file__).parents[1])} if place)


@cache
def version_of(top: str) -> str:
    """The version of the installed package that holds a module; empty where none does."""
    return version(_distributions().get(top, [top])[0]) or ""


@cache
def _distributions() -> Any:
    return metadata.packages_distributions()
