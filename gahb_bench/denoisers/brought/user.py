"""Denoisers that users bring: any callable ``(y, sigma) -> x_hat``."""

import importlib
import inspect
import re
import secrets
import sys
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.core import registry
from gahb_bench.core.denoiser import DEFAULTS, Denoiser, Facts
from gahb_bench.core.digest import Content, modules_of
from gahb_bench.core.errors import UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images, Knows
from gahb_bench.core.spec import format_spec, head
from gahb_bench.denoisers.brought.conventions import AdaptedNetwork
from gahb_bench.denoisers.brought.guard import undisturbed
from gahb_bench.denoisers.brought.watch import Seen, watch

P = TypeVar("P", bound="PythonDenoiser")

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_FILE = re.compile(r"(?P<folder>[^,=:]*/)?(?P<module>[^/,=:]+)\.py(:(?P<call>[A-Za-z_][\w.]*))?(?P<options>,.*)?")


class PythonDenoiser(AdaptedNetwork):
    """A denoiser that is Python code of the user's.

    It is called with float images ``(n, c, h, w)`` of its own, to do with as it likes. The modules that it is, holds or
    names are in evaluation mode for the call, and what it changes of the process is put back.
    """

    graph: ClassVar = False

    _call: Any = PrivateAttr()
    _label: str = PrivateAttr(default="")
    _modules: list[torch.nn.Module] | None = PrivateAttr(default=None)
    _keyword: str | None = PrivateAttr(default=None)
    _seen: Seen = PrivateAttr(default_factory=Seen)
    _records: bool = PrivateAttr(default=False)  # it asks for gradients
    _unrepeatable: str = PrivateAttr(default_factory=lambda: secrets.token_hex(8))

    @property
    def own_facts(self) -> Facts:
        """Brought by the user; the digest is of all that its results depend on, as far as it can be followed.

        Where that is not far enough it has a digest of its own each time it is made, so that no stored result is ever
        taken for its.
        """
        found = Content()
        found.add(self._call)
        for path in sorted(self._seen.files):
            found.file(path)
        unfollowed = self._seen.beyond or found.unfollowed
        if unfollowed:
            found.text(self._unrepeatable)
        return Facts(digest=found.digest(), fitted=self._fitted, brought=True, unfollowed=unfollowed)

    def followed(self: P, family: Family) -> P:
        """The same, once it has been called on an image without content: what it opens then is part of its digest."""
        y, sigma = torch.full((1, *family.shape), 0.5), torch.full((1,), 0.1, dtype=torch.float64)
        with watch(self._seen), torch.no_grad():
            try:
                self._estimate(y, sigma)
            except BaseException as error:  # it will be told when it is scored
                if isinstance(error, KeyboardInterrupt):
                    raise
        return self

    def run(self, y: Images, *sigma: Any) -> Any:
        if self._modules is None:
            self._modules = [self._call] if isinstance(self._call, torch.nn.Module) else modules_of(self._call)
        with undisturbed(self._modules):
            if torch.is_grad_enabled():
                return self._called(y, *sigma)
            return self._without_gradients(y, *sigma)

    def _called(self, y: Images, *sigma: Any) -> Any:
        if self._keyword is None:
            self._keyword = _keyword(self._call)
        return self._call(y, **{self._keyword: sigma[0]}) if self._keyword and sigma else self._call(y, *sigma)

    def _without_gradients(self, y: Images, *sigma: Any) -> Any:
        """Called where none are recorded; one that differentiates something itself asks for them by its error."""
        kept = y.clone()
        if not self._records:
            try:
                return self._called(y, *sigma)
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
        with torch.enable_grad():
            answer = self._called(kept, *sigma)
        self._records = True
        return answer.detach() if isinstance(answer, Tensor) else answer

    @property
    def importable(self) -> str:
        """Where another process finds it, ``module:callable``; empty for a callable without such a name."""
        return ""

    def __reduce__(self) -> Any:
        """By its name where it has one: what a callable holds may be of this process alone."""
        if not self.importable:
            return super().__reduce__()
        return _import_again, (type(self), self.importable, self.parameters, self._name, self._seen)

    @property
    def _fitted(self) -> int | None:
        """The number of parameters of a module; None for other code, and while some have no shape yet."""
        if not isinstance(self._call, torch.nn.Module):
            return None
        parameters = list(self._call.parameters())
        lazy = any(torch.nn.parameter.is_lazy(parameter) for parameter in parameters)
        return None if lazy else sum(parameter.numel() for parameter in parameters)


class UserDenoiser(PythonDenoiser):
    """A user's callable ``(y, sigma) -> x_hat``, with options of how it is called."""

    name: ClassVar[str] = "user"
    knows: ClassVar[Knows] = "nothing"
    listed: ClassVar = False  # it is made by `wrap`, not from a spec

    @property
    def spec(self) -> str:
        return self._name or format_spec(self._label, self.changed)

    @property
    def importable(self) -> str:
        return self._label if is_path(self._label) else ""

    def written(self) -> str:
        if is_path(self._label):
            return format_spec("callable", {"path": self._label, **self.changed})
        return f"gb.denoiser({', '.join([self._label, *(f'{key}={value!r}' for key, value in self.changed.items())])})"


class UserNetwork(UserDenoiser):
    """A user's ``torch.nn.Module``: it knows what it was trained on."""

    knows: ClassVar[Knows] = "training set"


def _keyword(call: Any) -> str:
    """The keyword by which a callable takes sigma, where it takes it by that alone; else an empty text."""
    try:
        signature = inspect.signature(call.forward if isinstance(call, torch.nn.Module) else call)
    except (TypeError, ValueError):  # it has none that Python knows
        return ""
    try:
        signature.bind("y", "sigma")
    except TypeError:
        only = [part for part in signature.parameters.values() if part.kind is part.KEYWORD_ONLY]
        asked = [part.name for part in only if part.default is part.empty or part.name == "sigma"]
        return asked[0] if len(asked) == 1 else ""
    return ""


def is_path(text: str) -> bool:
    """Whether the text has the form ``module:callable``."""
    return _PATH.fullmatch(text) is not None


def refuse_other_forms(spec: str) -> None:
    """Refuse a Python file, or ``module:callable`` with options behind it, where a denoiser is named.

    Raises
    ------
    UsageError
        Saying how it is written.
    """
    if match := _FILE.fullmatch(spec):
        call, options = f"{match['module']}:{match['call'] or 'NAME'}", match["options"] or ""
        below = (match["folder"] or "").removeprefix("./").replace("/", ".") + call
        meant = below if is_path(below) else call
        raise UsageError(
            f"{spec!r} names a file of Python: write its module and a callable in it, "
            f"{f'callable:path=({meant}){options}' if options else meant}, found from the working folder or on the "
            "Python path."
        )
    path = head(spec)
    known = (entry.names for kind in ("oracles", "denoisers") for entry in registry.entries(kind))
    if is_path(path) and path != spec and not any(path.partition(":")[0] in names for names in known):
        options = spec[len(path) :]
        raise UsageError(f"{spec!r} has options behind {path}: write callable:path=({path}){options}.")


def load(path: str, seen: Seen) -> Any:
    """What ``module:callable`` names on the Python path or in the current folder.

    Raises
    ------
    UsageError
        If it cannot be imported, or is not there.
    """
    module_name, _, attribute = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with watch(seen):
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
    return found


def _import_again(cls: type[P], path: str, parameters: dict[str, Any], name: str, seen: Seen) -> P:
    """A callable in another process, by its name; the files that it opened before count as opened."""
    made = cls.from_parameters(parameters)
    made._call, made._seen, made._name = load(path, seen), seen, name
    if isinstance(made, UserDenoiser):
        made._label = path
    return made


def wrap(call: Any, label: str = "", seen: Seen | None = None, **options: Any) -> Denoiser:
    """A denoiser from a callable; a Denoiser is one already, and is given back as it is.

    With a label, a Denoiser that the catalogue cannot make again from its spec is named by the label instead.

    Raises
    ------
    UsageError
        If it cannot be called, has the name of a denoiser of the catalogue, or an option is not allowed.
    """
    if isinstance(call, Denoiser):
        if options:
            raise UsageError(f"{call.spec} is a Denoiser already: give its options where it is made.")
        if not label or (type(call).__module__.startswith("gahb_bench.") and not isinstance(call, UserDenoiser)):
            return call
        if not isinstance(call, UserDenoiser) and call.needs_family:
            raise UsageError(
                f"{label} is a Denoiser that knows the {call.knows}, and a run cannot tell it the family: "
                "give a callable (y, sigma) -> x_hat."
            )
        return call.named(label)
    if isinstance(call, type) or not callable(call):
        raise UsageError(f"{label or call!r} is not a callable (y, sigma) -> x_hat; give a function or an instance.")
    made = (UserNetwork if isinstance(call, torch.nn.Module) else UserDenoiser).from_parameters(options)
    made._call, made._seen = call, seen or Seen()
    name = label or str(getattr(call, "__name__", type(call).__name__))
    check_name(name)
    made._label = "".join(letter if letter.isprintable() else "?" for letter in name)
    return made


def check_name(name: str) -> None:
    """Refuse a name for a denoiser that could not be told from others, or could not be written in a list.

    Raises
    ------
    UsageError
        If the catalogue has a denoiser of that name, it stands for several, or it has a comma.
    """
    if "," in name:
        raise UsageError(f"a denoiser of your own cannot be called {name!r}: commas part names in a list; rename it.")
    first, colon, rest = name.partition(":")
    if colon and "=" not in rest:
        return  # module:callable, which no spec can be
    if name == DEFAULTS:
        raise UsageError(
            f"a denoiser of your own cannot be called {name!r}: the word stands for what is scored if none are given; "
            "rename it."
        )
    for entry in (*registry.entries("oracles"), *registry.entries("denoisers")):
        if first == entry.name or first in entry.aliases:
            raise UsageError(
                f"a denoiser of your own cannot be called {name!r}: the catalogue has one of that name; rename it."
            )
