"""Denoisers that users bring: any callable ``(y, sigma) -> x_hat``."""

import importlib
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.core import registry
from gahb_bench.core.denoiser import D, Denoiser, Facts
from gahb_bench.core.digest import Content
from gahb_bench.core.errors import DenoiserError, UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images, Knows

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class UserDenoiser(Denoiser):
    """A user's callable ``(y, sigma) -> x_hat``; ``torch.nn.Module`` included.

    It is called with float images ``(n, c, h, w)`` and with sigma as a float when all images share it, otherwise as
    a tensor ``(n,)``. A module is put in evaluation mode for the call.
    """

    name: ClassVar[str] = "user"
    listed: ClassVar = False  # it is made by `wrap`, not from a spec
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
    def own_facts(self) -> Facts:
        """Brought by the user; its digest is of weights, attributes, and the source files beside the callable's own.

        A callable whose source Python cannot find has a digest of its own each time it is wrapped, so that no stored
        result is ever taken for its.
        """
        found = Content()
        found.add(self._call)
        if not found.sourced:
            found.text(self._unrepeatable)
        return Facts(digest=found.digest(), fitted=self._fitted, brought=True)

    @property
    def _fitted(self) -> int | None:
        return None

    def bind(self: D, family: Family) -> D:
        del family
        return self

    def estimate(self, y: Images, sigma: Tensor) -> Tensor:
        try:
            x_hat = self.call(y, sigma)
        except Exception as error:
            if y.shape[1] == 1:
                raise
            raise DenoiserError(
                f"{self.spec} failed on images of {y.shape[1]} channels: {reason_of(error)}. If it was made for one, "
                "name it as callable:path=(module:name),channels=1; it is then applied to each channel alone."
            ) from error
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
    def _fitted(self) -> int | None:
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
    for entry in (*registry.entries("oracles"), *registry.entries("denoisers")):
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
