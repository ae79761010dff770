"""A hash of everything that a Python callable or class depends on, as far as it can be followed."""

import functools
import hashlib
import inspect
import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_KNOWN = ("gahb_bench", "pydantic", "builtins", "abc", "typing")
_DEPTH = 6  # how deep a callable's attributes are followed


class Content:
    """Gathers what the results of a callable or a class depend on: source files, code, weights, attributes."""

    def __init__(self) -> None:
        self.sourced = True
        self._hash = hashlib.sha256()
        self._seen: dict[int, Any] = {}  # kept, so that no other object gets the same id
        self._folders: set[Path] = set()

    def digest(self) -> str:
        return self._hash.hexdigest()[:16]

    def text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._hash.update(f"{len(data)}:".encode() + data)

    def add(self, value: Any, depth: int = 0) -> None:
        """Follow a value: arrays by their bytes, containers and objects by what they hold, others by their repr."""
        if isinstance(value, Tensor) and torch.nn.parameter.is_lazy(value):
            self.text("not yet initialised")
            return
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            self.text(f"{value.dtype} {tuple(value.shape)}")
            flat = value.to_dense() if value.layout != torch.strided else value
            value = flat.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy()
        if isinstance(value, np.ndarray) and value.dtype != object:
            self.text(f"{value.dtype} {value.shape}")
            self._hash.update(np.ascontiguousarray(value).tobytes())
            return
        if isinstance(value, type | types.ModuleType | str | bytes | int | float | complex | None):
            self._repr(value)
            return
        if id(value) in self._seen or depth > _DEPTH:
            return
        self._seen[id(value)] = value
        if isinstance(value, dict):
            for key, held in value.items():
                self._repr(key)
                self.add(held, depth + 1)
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
        else:
            self._object(value, depth)

    def add_class(self, cls: type) -> None:
        """Follow a class: its source files, methods and attributes; not the classes it is made from."""
        self.text(cls.__qualname__)
        self._files(cls, required=True)
        for name, value in sorted(vars(cls).items()):
            code = _code_of(value)
            if code is not None or not (name.startswith("__") or name == "_abc_impl"):
                self.text(name)
                self.add(value if code is None else code, depth=2)

    def _function(self, function: types.FunctionType, depth: int) -> None:
        self._files(function, required=depth <= 1)
        self._code(function.__code__)
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        wrapped = getattr(function, "__wrapped__", None)
        self.add((function.__defaults__, function.__kwdefaults__, cells, wrapped), depth + 1)

    def _object(self, value: Any, depth: int) -> None:
        kind = type(value)
        self._files(value if inspect.isroutine(value) else kind, required=depth <= 1)
        for method in vars(kind).values():
            if isinstance(method, types.FunctionType):
                self._code(method.__code__)
        self._repr(value)
        held = dict(getattr(value, "__dict__", {}))
        if isinstance(value, torch.nn.Module):
            self.add(value.state_dict(), depth + 1)
            for part in value.modules():
                self._files(type(part), required=False)
            self.text(str(getattr(value, "code", "")))
            held.pop("training", None)  # the mode: it is set for the call
        self.add(held, depth + 1)

    def _files(self, target: Any, *, required: bool) -> None:
        """The source file that defines a function or class, and every other one in its folder."""
        try:
            file = Path(inspect.getsourcefile(target) or "")
            if not file.is_file():
                self.text(inspect.getsource(target))
            elif file.parent not in self._folders:
                self._folders.add(file.parent)
                for path in sorted(file.parent.glob("*.py")):
                    self.text(path.name)
                    self.text(path.read_text(encoding="utf-8", errors="surrogateescape"))
        except (OSError, TypeError):
            self.sourced = self.sourced and not required

    def _code(self, code: types.CodeType) -> None:
        """The code that will run, which is not the file's where that was changed after its import."""
        self.text(f"{code.co_name} {code.co_code.hex()} {code.co_names}")
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            elif isinstance(constant, frozenset):
                self.text(f"set {sorted(map(repr, constant))}")
            else:
                self._repr(constant)

    def _repr(self, value: object) -> None:
        try:
            self.text(_ADDRESS.sub("", repr(value)))
        except Exception:
            self.text(type(value).__name__)


def is_foreign(cls: type) -> bool:
    """Whether a class is neither of this package nor of what every plugin is made from."""
    return cls.__module__.partition(".")[0] not in _KNOWN


def join_digests(*digests: str) -> str:
    """One digest of several; those that are empty say nothing."""
    stated = [digest for digest in digests if digest]
    if len(stated) < 2:
        return "".join(stated)
    return hashlib.sha256("+".join(stated).encode()).hexdigest()[:16]


def _code_of(value: Any) -> types.FunctionType | None:
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


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
