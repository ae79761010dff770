"""Denoisers that users bring: any callable ``(y, sigma) -> x_hat``."""

import functools
import hashlib
import importlib
import inspect
import re
import secrets
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench import catalog
from gahb_bench.denoisers.base import D, Denoiser
from gahb_bench.errors import DenoiserError, UsageError, reason_of
from gahb_bench.families.base import Family
from gahb_bench.types import Images, Knows

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEPTH = 6  # how deep a callable's attributes are followed for its digest


class UserDenoiser(Denoiser):
    """A user's callable ``(y, sigma) -> x_hat``; ``torch.nn.Module`` included.

    It is called with float images ``(n, c, h, w)`` and with sigma as a float when all images share it, otherwise as
    a tensor ``(n,)``. A module is put in evaluation mode for the call.
    """

    name: ClassVar[str] = f"{'user'}"  # computed, so the catalogue does not list it: made by `wrap`
    brought: ClassVar[bool] = True
    _call: Callable[..., Any] = PrivateAttr()
    _label: str = PrivateAttr()
    _unrepeatable: str = PrivateAttr(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def is_path(cls, text: str) -> bool:
        """Whether the text has the form ``module:callable``."""
        return _PATH.fullmatch(text) is not None

    @classmethod
    def load(cls, path: str) -> Denoiser:
        """Import ``module:callable`` from the Python path or the current folder."""
        module_name, _, attribute = path.partition(":")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module is foreign code: it may even try to end the program
            raise UsageError(
                f"cannot load the denoiser {path!r}: {reason_of(error)}. It names a callable "
                "(y, sigma) -> x_hat as module:callable; a parameter of a denoiser is written name:key=value."
            ) from error
        return cls.wrap(found, label=path)

    @classmethod
    def wrap(cls, call: Any, label: str | None = None) -> Denoiser:
        """A denoiser from a callable; a Denoiser is one already, and is given back as it is.

        With a label, a Denoiser that the catalogue cannot make again from its spec is named by the label instead.

        Raises
        ------
        UsageError
            If it cannot be called, or has the name of a denoiser of the catalogue.
        """
        if isinstance(call, Denoiser):
            known = type(call).__module__.startswith("gahb_bench.") and not isinstance(call, UserDenoiser)
            if label is None or known:
                return call
            call = call._call if isinstance(call, UserDenoiser) else _without_family(call, label)
        if isinstance(call, type) or not callable(call):
            raise UsageError(
                f"{label or call!r} is not a callable (y, sigma) -> x_hat; give a function or an instance."
            )
        kind = UserNetwork if isinstance(call, torch.nn.Module) else cls
        made = kind()
        made._call = call
        name = label or str(getattr(call, "__name__", type(call).__name__))
        _refuse_taken(name)
        made._label = "".join(letter if letter.isprintable() else "?" for letter in name)
        return made

    @property
    def spec(self) -> str:
        return self._label

    @property
    def digest(self) -> str:
        """Hash of the weights, the attributes, and the source files beside the callable's own.

        A callable whose source Python cannot find has a digest of its own each time it is wrapped, so that no stored
        result is ever taken for its.
        """
        found = _Content()
        found.add(self._call)
        if not found.sourced:
            found.text(self._unrepeatable)
        return found.digest()

    def bind(self: D, family: Family) -> D:
        del family
        return self

    def estimate(self, y: Images, sigma: Tensor) -> Tensor:
        x_hat = self.call(y, sigma)
        if not isinstance(x_hat, Tensor):
            raise DenoiserError(f"{self.spec} returned {type(x_hat).__name__}, not a tensor of shape {tuple(y.shape)}.")
        if not x_hat.is_floating_point():
            raise DenoiserError(
                f"{self.spec} returned {x_hat.dtype}, but an estimate is floating point, like its input."
            )
        return x_hat

    def call(self, y: Images, *sigma: Tensor) -> Any:
        """What the callable returns for images and noise levels ``(n,)``, or for images alone."""
        levels = [float(s[0]) if len(s) and bool((s == s[0]).all()) else s.to(y.dtype) for s in sigma]
        if not isinstance(self._call, torch.nn.Module):
            return self._call(y, *levels)
        training = self._call.training
        self._call.eval()
        try:
            return self._call(y, *levels)
        finally:
            self._call.train(training)


class UserNetwork(UserDenoiser):
    """A user's ``torch.nn.Module``: it knows what it was trained on."""

    knows: ClassVar[Knows] = "training set"

    @property
    def needs_family(self) -> bool:
        return False

    @property
    def fitted(self) -> int | None:
        """The number of parameters of the module; None while some have no shape yet."""
        module: Any = self._call
        parameters = list(module.parameters())
        lazy = any(torch.nn.parameter.is_lazy(parameter) for parameter in parameters)
        return None if lazy else sum(parameter.numel() for parameter in parameters)


def _refuse_taken(name: str) -> None:
    """Refuse a name under which the catalogue has a denoiser: their rows could not be told apart."""
    first, colon, rest = name.partition(":")
    if colon and "=" not in rest:
        return  # module:callable, which no spec can be
    for entry in (*catalog.entries("oracles"), *catalog.entries("denoisers")):
        if first == entry.name or first in entry.aliases:
            raise UsageError(
                f"a denoiser of your own cannot be called {name!r}: the catalogue has one of that name; rename it."
            )


def _without_family(denoiser: Denoiser, label: str) -> Denoiser:
    if denoiser.needs_family:
        raise UsageError(
            f"{label} is a Denoiser that knows the {denoiser.knows}, and a run cannot tell it the family: "
            "give a callable (y, sigma) -> x_hat."
        )
    return denoiser


class _Content:
    """Gathers what a callable's results depend on: source files, code, weights, attributes."""

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


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
