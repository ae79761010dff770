"""Denoisers that users bring: any callable ``(y, sigma) -> x_hat``."""

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.denoisers.base import D, Denoiser
from gahb_bench.errors import DenoiserError, UsageError
from gahb_bench.families.base import Family
from gahb_bench.types import Images, Knows

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class UserDenoiser(Denoiser):
    """A user's callable ``(y, sigma) -> x_hat``; ``torch.nn.Module`` included.

    It is called with float images ``(n, c, h, w)`` and with sigma as a float when all images share it, otherwise as
    a tensor ``(n,)``. A module is put in evaluation mode for the call.
    """

    name: ClassVar[str] = f"{'user'}"  # computed, so the catalogue does not list it: made by `wrap`
    _call: Callable[..., Any] = PrivateAttr()
    _label: str = PrivateAttr()

    @classmethod
    def is_path(cls, text: str) -> bool:
        """Whether the text has the form ``module:callable``."""
        return _PATH.fullmatch(text) is not None

    @classmethod
    def load(cls, path: str) -> "UserDenoiser":
        """Import ``module:callable`` from the Python path or the current folder."""
        module_name, _, attribute = path.partition(":")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:
            raise UsageError(
                f"cannot load the denoiser {path!r}: {type(error).__name__}: {error}. It names a callable "
                "(y, sigma) -> x_hat as module:callable; a parameter of a denoiser is written name:key=value."
            ) from error
        return cls.wrap(found, label=path)

    @classmethod
    def wrap(cls, call: Any, label: str | None = None) -> "UserDenoiser":
        """A denoiser from a callable."""
        if isinstance(call, type) or not callable(call):
            raise UsageError(
                f"{label or call!r} is not a callable (y, sigma) -> x_hat; give a function or an instance."
            )
        kind = UserNetwork if isinstance(call, torch.nn.Module) else cls
        made = kind()
        made._call = call
        name = label or str(getattr(call, "__name__", type(call).__name__))
        made._label = "".join(letter if letter.isprintable() else "?" for letter in name)
        return made

    @property
    def spec(self) -> str:
        return self._label

    @property
    def digest(self) -> str:
        """Hash of the weights and of the source text, where Python can find it."""
        content = hashlib.sha256()
        if isinstance(self._call, torch.nn.Module):
            for key, value in self._call.state_dict().items():
                content.update(
                    key.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
                )
        target = self._call if inspect.isroutine(self._call) else type(self._call)
        try:
            content.update(inspect.getsource(target).encode())
        except (OSError, TypeError):
            content.update(repr(target).encode())
        return content.hexdigest()[:16]

    def bind(self: D, family: Family) -> D:
        del family
        return self

    def estimate(self, y: Images, sigma: Tensor) -> Tensor:
        shared = bool((sigma == sigma[:1]).all()) if len(sigma) else True
        level = float(sigma[0]) if shared and len(sigma) else sigma.to(y.dtype)
        x_hat = self._evaluate(y, level)
        if not isinstance(x_hat, Tensor):
            raise DenoiserError(f"{self.spec} returned {type(x_hat).__name__}, not a tensor of shape {tuple(y.shape)}.")
        return x_hat

    def _evaluate(self, y: Images, sigma: float | Tensor) -> Any:
        if not isinstance(self._call, torch.nn.Module):
            return self._call(y, sigma)
        training = self._call.training
        self._call.eval()
        try:
            return self._call(y, sigma)
        finally:
            self._call.train(training)


class UserNetwork(UserDenoiser):
    """A user's ``torch.nn.Module``: it knows what it was trained on."""

    knows: ClassVar[Knows] = "training set"

    @property
    def needs_family(self) -> bool:
        return False
