"""A hash of everything that a Python callable or class depends on, as far as it can be followed."""

import dis
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.files import read_file
from gahb_bench.core.origins import file_of, function_of, is_installed, module_of, version_of

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_KNOWN = ("gahb_bench", "pydantic", "builtins", "abc", "typing")
_ENVIRONMENT = {"environ", "getenv", "environb"}
_DEPTH, _OBJECTS = 50, 50_000  # beyond this nothing is followed, and the hash says so


class Content:
    """Gathers what the results of a callable or a class depend on.

    That is source files of the modules that it comes from and that those import, code, the globals that the code names,
    weights and other attributes, and the versions of installed packages. ``unfollowed`` says what is not in the hash.
    """

    def __init__(self) -> None:
        self.unfollowed = ""
        self.modules: list[torch.nn.Module] = []  # those that were met on the way
        self._hash = hashlib.sha256()
        self._seen: dict[int, Any] = {}  # kept, so that no other object gets the same id
        self._sources: dict[str, str] = {}  # by module: in whatever order they are met, the hash is the same

    def digest(self) -> str:
        sources = "".join(f"{name} {source}\n" for name, source in sorted(self._sources.items()))
        return hashlib.sha256(self._hash.digest() + sources.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._hash.update(f"{len(data)}:".encode() + data)

    def file(self, path: Path) -> None:
        """A file by its content; one that is not there counts too, since it may come."""
        if path.exists() and not (path.is_file() or path.is_dir()):
            self.cannot_follow(f"it reads {path}, a device or a pipe")
        self._sources[f"{path.name} {_content(path)}"] = ""  # wherever it lies

    def cannot_follow(self, what: str) -> None:
        """Say what the hash does not hold; the first that is said is kept."""
        self.unfollowed = self.unfollowed or what

    def add(self, value: Any, depth: int = 0) -> None:
        """Follow a value: arrays by their bytes, containers and objects by what they hold, code by what it names."""
        if isinstance(value, Tensor):
            self.text(f"{value.dtype} {'' if torch.nn.parameter.is_lazy(value) else tuple(value.shape)}")
            value = _bytes(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            self.text(f"{value.dtype} {value.shape}")
            self._hash.update(np.ascontiguousarray(value).tobytes())
            return
        if isinstance(value, str | bytes | int | float | complex | None):
            self._repr(value)
            return
        if id(value) in self._seen:
            return
        if depth > _DEPTH or len(self._seen) > _OBJECTS:
            self.cannot_follow("it holds too much to be followed")
            return
        self._seen[id(value)] = value
        if isinstance(value, types.ModuleType):
            self._source(value)
        elif isinstance(value, type):
            self._class(value, depth)
        elif isinstance(value, dict):
            for key, held in list(value.items()):
                self.add(key, depth + 1)
                self.add(held, depth + 1)
        elif isinstance(value, np.ndarray):  # of objects
            self.add(value.tolist(), depth + 1)
        elif isinstance(value, list | tuple):
            self.text(f"{type(value).__name__} {len(value)}")
            for held in value:
                self.add(held, depth + 1)
        elif isinstance(value, set | frozenset):  # whose order differs from process to process
            self.text(f"set {sorted(_ADDRESS.sub('', repr(held)) for held in value)}")
        elif isinstance(value, functools.partial):
            self.text("partial")
            self.add((value.func, value.args, value.keywords), depth)
        elif isinstance(value, types.MethodType):
            self.add((value.__func__, value.__self__), depth)
        elif isinstance(value, types.FunctionType):
            self._function(value, depth)
        elif isinstance(value, types.CodeType):
            self._code(value, {}, depth)
        else:
            self._object(value, depth)

    def add_class(self, cls: type) -> None:
        """Follow a class: its source, methods and attributes; not the classes it is made from."""
        self.text(cls.__qualname__)
        self._origin(cls, required=True)
        for name, value in sorted(vars(cls).items()):
            code = function_of(value)
            if code is not None or not (name.startswith("__") or name == "_abc_impl"):
                self.text(name)
                self.add(value if code is None else code, depth=2)

    def _function(self, function: types.FunctionType, depth: int) -> None:
        if is_installed(function.__module__):
            self._installed(function.__module__)
            self.text(function.__qualname__)
        else:
            self._origin(function, required=True)
            self._code(function.__code__, function.__globals__, depth)
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        wrapped = getattr(function, "__wrapped__", None)
        self.add((function.__defaults__, function.__kwdefaults__, cells, wrapped), depth + 1)

    def _class(self, cls: type, depth: int) -> None:
        """A class that code names or an object is of, with those that it is made from."""
        self.text(f"{cls.__module__}.{cls.__qualname__}")
        for part in cls.__mro__:
            if is_installed(part.__module__):
                self._installed(part.__module__)
                continue
            self._origin(part, required=True)
            for name, value in list(vars(part).items()):
                code = function_of(value)
                if code is not None:
                    self._code(code.__code__, code.__globals__, depth)
                elif not (name.startswith("__") or name == "_abc_impl"):
                    self.text(name)
                    self.add(value, depth + 1)

    def _object(self, value: Any, depth: int) -> None:
        kind = type(value)
        self._repr(value)
        if isinstance(value, functools._lru_cache_wrapper):
            self.add(value.__wrapped__, depth + 1)
            return
        if inspect.isroutine(value):  # built in, or compiled
            if not is_installed(getattr(value, "__module__", None) or "builtins"):
                self.cannot_follow(f"{value!r} has no source")
            return
        self.add(kind, depth + 1)
        held: dict[str, Any] = dict(getattr(value, "__dict__", {}))
        slots = (slot for part in kind.__mro__ for slot in getattr(part, "__slots__", ()) if isinstance(slot, str))
        held |= {slot: getattr(value, slot) for slot in slots if slot != "__dict__" and hasattr(value, slot)}
        if isinstance(value, torch.nn.Module):
            self.modules.append(value)
            compiled = value._modules.get("_orig_mod")
            self.add(dict(value.state_dict()), depth + 1)
            self.text(str(getattr(value, "code", "")))
            if isinstance(value, torch.jit.ScriptModule | torch.fx.GraphModule):
                return
            held = {"_orig_mod": compiled} if compiled is not None else held
            held.pop("training", None)  # the mode: it is set for the call
        elif not held:
            try:
                held = {"state": value.__reduce_ex__(4)[1:3]}
            except Exception:  # it cannot be copied: a lock, an open file, a program of another language
                self.cannot_follow(f"{_ADDRESS.sub('', repr(value))[:80]} cannot be looked into")
        self.add(held, depth + 1)

    def _origin(self, target: Any, *, required: bool) -> None:
        """The source that defines a function or class."""
        module = sys.modules.get(getattr(target, "__module__", None) or "")
        if module is not None and file_of(module) is not None:
            self._source(module)
            return
        try:
            self.text(inspect.getsource(target))
        except (OSError, TypeError):
            if required:
                self.cannot_follow(f"{getattr(target, '__qualname__', target)!s} has no source that Python can find")

    def _source(self, module: types.ModuleType) -> None:
        """A module's source, and that of the modules that it imports; of installed packages their version."""
        name = module.__name__
        if is_installed(name):
            self._installed(name)
            return
        path = file_of(module)
        if name in self._sources or path is None:
            return
        self._sources[name] = _content(path)
        for held in list(vars(module).values()):
            other = held if isinstance(held, types.ModuleType) else sys.modules.get(module_of(held))
            if other is not None and other is not module:
                self._source(other)

    def _installed(self, module: str) -> None:
        top = module.partition(".")[0]
        self._sources.setdefault(top, version_of(top))

    def _code(self, code: types.CodeType, names: dict[str, Any], depth: int) -> None:
        """The code that will run, which may not be the file's any more, and what it names."""
        self.text(f"{code.co_name} {code.co_code.hex()} {code.co_names}")
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, names, depth)
            elif isinstance(constant, frozenset):
                self.text(f"set {sorted(map(repr, constant))}")
            else:
                self._repr(constant)
        if _ENVIRONMENT & set(code.co_names):
            self.cannot_follow("it reads environment variables")
        for name in code.co_names:
            if name in names:
                self._named(names[name], code.co_names, depth)
        for name in _imports(code):
            self._imported(name, code.co_names, depth)

    def _named(self, value: Any, names: tuple[str, ...], depth: int) -> None:
        """A global; of a module, what the code takes from it."""
        self.add(value, depth + 1)
        if isinstance(value, types.ModuleType) and not is_installed(value.__name__):
            for name in names:
                if name in vars(value) and vars(value)[name] is not value:
                    self._named(vars(value)[name], names, depth + 1)

    def _imported(self, name: str, names: tuple[str, ...], depth: int) -> None:
        """A module that code imports when it runs, which may not have happened yet."""
        if name in sys.modules:
            self._named(sys.modules[name], names, depth)
            return
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        if found is not None and found.origin and not is_installed(name):
            self.file(Path(found.origin))

    def _repr(self, value: object) -> None:
        try:
            self.text(_ADDRESS.sub("", repr(value)))
        except Exception:
            self.text(type(value).__name__)


def modules_of(call: Any) -> list[torch.nn.Module]:
    """The modules that a callable is, holds or names."""
    found = Content()
    found.add(call)
    return found.modules


def is_foreign(cls: type) -> bool:
    """Whether a class is neither of this package nor of what every plugin is made from."""
    return cls.__module__.partition(".")[0] not in _KNOWN


def join_digests(*digests: str) -> str:
    """One digest of several; those that are empty say nothing."""
    stated = [digest for digest in digests if digest]
    if len(stated) < 2:
        return "".join(stated)
    return hashlib.sha256("+".join(stated).encode()).hexdigest()[:16]


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except OSError:
        return "cannot be read"


def _bytes(value: Tensor) -> np.ndarray:
    """The numbers of a tensor; none where it has none yet."""
    if torch.nn.parameter.is_lazy(value) or value.is_meta:
        return np.empty(0)
    value = value.detach().cpu()
    flat = value.to_dense() if value.layout != torch.strided else value
    return flat.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy()


def _imports(code: types.CodeType) -> Iterator[str]:
    """The modules that code imports itself, by their full names."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield str(instruction.argval)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
