"""What every denoiser offers: ``x_hat = D(y, sigma)``."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar, final

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.core import registry
from gahb_bench.core.digest import join_digests
from gahb_bench.core.errors import EstimateError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.files import content_digest
from gahb_bench.core.images import Images, Knows, per_image_sigma
from gahb_bench.core.plugin import Plugin
from gahb_bench.core.spec import format_spec

D = TypeVar("D", bound="Denoiser")

Differentiation = Literal["exact", "autograd", "difference", "none"]

DEFAULTS = "defaults"  # among denoisers: what is scored unless told otherwise
UNTUNED = "untuned"  # with this word `Facts.tuning` begins where a parameter follows a rule


@dataclass(frozen=True)
class Facts:
    """What a run records of a denoiser, beside its spec and what it knows.

    digest : hash of what the spec does not say (weights, the user's code, a table); empty where the spec says all
    fitted : how many numbers of it were fitted to images (weights, tuned parameters); None where that is not stated
    brought : whether the user brought it from elsewhere: then it may have been made for other units
    nan_reason : what it means when an image's estimate is NaN; empty where it never vouches for that
    tuning : where the value of its tuned parameter comes from, in words; empty where it has none
    tuned : the values found by tuning: noise level, value, and whether that lies at an end of the range searched
    architecture, trained_on : of trained weights, the network and the family, as specs
    unfollowed : what its results depend on that the digest does not hold; then none of them is used again
    """

    digest: str = ""
    fitted: int | None = None
    brought: bool = False
    nan_reason: str = ""
    tuning: str = ""
    tuned: tuple[tuple[float, float, bool], ...] = ()
    architecture: str = ""
    trained_on: str = ""
    unfollowed: str = ""


class Denoiser(Plugin):
    """A stateless map ``(y, sigma) -> x_hat``. A subclass states its parameters, what it `knows`, and `estimate`.

    of : the law it is made for, where it is an oracle of one law alone
    by_default : specs of it that a run shows unless told otherwise
    looks : how it is drawn, a hue and a marker of `gahb_bench.reporting.study.style`, by ``""`` or ``parameter=value``
    """

    kind: ClassVar = "denoisers"
    knows: ClassVar[Knows] = "nothing"
    of: ClassVar[type[Family]] = Family
    by_default: ClassVar[tuple[str, ...]] = ()
    looks: ClassVar[dict[str, tuple[str, str]]] = {}
    _family: Family | None = PrivateAttr(default=None)
    _name: str = PrivateAttr(default="")

    @property
    def spec(self) -> str:
        """Canonical spec, or the name that the user gave it."""
        return self._name or super().spec

    def named(self: D, name: str) -> D:
        """The same under a name of one's choice, by which tables and figures call it."""
        same = self.model_copy()
        same._name = name
        return same

    @property
    def look(self) -> tuple[str, str, str] | None:
        """Hue, marker, and the parameters that chose them (the rest decides the dash); None where it states none."""
        changed = [format_spec("", {key: value}).removeprefix(":") for key, value in sorted(self.changed.items())]
        key = next((text for text in reversed(changed) if text in self.looks), "")
        return (*self.looks[key], key) if key in self.looks else None

    def written(self) -> str:
        """How the user writes it."""
        return super().spec

    def units_to_try(self) -> "list[Denoiser]":
        """The same for other units, where its own are the user's to say."""
        return []

    def followed(self: D, family: Family) -> D:
        """The same, with all found out that its results on a family depend on; foreign code is called once for that."""
        del family
        return self

    @classmethod
    def found_among(cls) -> registry.Kind:
        """Where it is found by its name: an oracle of one law is found there alone."""
        return cls.kind if cls.of is Family else "oracles"

    @abstractmethod
    def estimate(self, y: Images, sigma: Tensor) -> Images:
        """The estimate: ``y`` is ``(n, c, h, w)`` floating point, ``sigma`` is ``(n,)`` float64, both checked."""

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Images:
        """Denoise.

        Parameters
        ----------
        y : Tensor, shape (n, c, h, w), floating point
            Noisy images ``x + sigma z``.
        sigma : float, or Tensor of shape (n,)
            Standard deviation of the noise in image units, > 0.

        Returns
        -------
        Tensor, shape (n, c, h, w), dtype and device of ``y``
            A denoiser that cannot vouch for an image returns NaN for it; ``facts.nan_reason`` says why.

        Raises
        ------
        UsageError
            For images or noise levels of the wrong kind or shape, or a denoiser that lacks what it must know.
        """
        if not isinstance(y, Tensor):
            raise UsageError(f"{self.name} takes a torch tensor of images (n, c, h, w), not {type(y).__name__}.")
        if y.ndim != 4 or not y.is_floating_point():
            raise UsageError(f"{self.name} takes floating-point images (n, c, h, w), not {y.dtype} {tuple(y.shape)}.")
        if self.needs_family and self._family is None:
            raise UsageError(
                f"{self.name} knows the {self.knows}: name its family, gb.denoiser({self.name!r}, family=...)."
            )
        levels = per_image_sigma(sigma, y)
        if y.shape[0] == 0:
            return y.clone()
        work = y.float() if y.dtype in (torch.float16, torch.bfloat16) else y
        return self.estimate(work, levels).to(y.dtype)

    @property
    def needs_family(self) -> bool:
        """Whether the family must be known (everything but ``knows = nothing``)."""
        return self.knows != "nothing"

    @property
    def derivative(self) -> Differentiation:
        """How its derivative in y is found: as a subclass states, and a test measures.

        ``exact``: from a closed form, `PosteriorMean.covariance`; ``autograd``: by automatic differentiation, also
        under `torch.func`; ``difference``: by differences of estimates, since it leaves torch; ``none``: it has none.
        """
        return "autograd"

    @property
    def own_facts(self) -> Facts:
        """What a subclass states of itself; the digest of its code is not its concern."""
        return Facts()

    @property
    @final
    def facts(self) -> Facts:
        """What a run records of it, beside its spec.

        Code that is not of this package is part of the digest, and so is what a name of the user's choice stands for.
        """
        stated = self.own_facts
        hidden = content_digest(self.written().encode()) if self._name else ""
        return replace(stated, digest=join_digests(hidden, stated.digest, self.code_digest()))

    @property
    def fitted(self) -> int | None:
        """How many numbers of it were fitted to images; None where that is not stated."""
        return self.own_facts.fitted

    def refuse_other(self, family: Family) -> None:
        """Refuse a family for which it was not made, where it was made for one and what it does depends on that.

        Raises
        ------
        UsageError
        """
        own = self._family
        if own is not None and self.needs_family and (own.spec, own.digest) != (family.spec, family.digest):
            raise UsageError(
                f"{self.spec} was made for {own.spec}, not for {family.spec}: give its spec, {self.written()!r}, to "
                "have it made for each family, or a callable, lambda y, sigma: denoiser(y, sigma), to score it so."
            )

    @property
    def family(self) -> Family:
        """The family this denoiser was made for."""
        if self._family is None:
            raise UsageError(f"{self.name} needs a family: gb.denoiser({self.name!r}, family=...).")
        return self._family

    def bind(self: D, family: Family) -> D:
        """The same denoiser for a family.

        Raises
        ------
        UsageError
            If it is an oracle of another law.
        """
        if not isinstance(family, self.of):
            raise UsageError(f"{self.name} here is the oracle of {self.of.name!r}, not of {family.spec!r}.")
        bound = self.model_copy()
        bound._family = family
        return bound


def check_estimate(x_hat: Any, y: Tensor, name: str) -> Tensor:
    """Refuse an estimate that is not a floating-point tensor of the shape of ``y``.

    Raises
    ------
    EstimateError
    """
    if not isinstance(x_hat, Tensor) or x_hat.shape != y.shape:
        got = tuple(x_hat.shape) if isinstance(x_hat, Tensor) else type(x_hat).__name__
        raise EstimateError(f"{name} returned {got}, but an estimate has the shape of its input, {tuple(y.shape)}.")
    if not x_hat.is_floating_point():
        raise EstimateError(f"{name} returned {x_hat.dtype}, but an estimate is floating point, like its input.")
    return x_hat
