"""Verification of one law, and of all: which identities its kind of optimum has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gahb_bench import make
from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.optimum import Check
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.verification.bounds import bracket_identities, linear_identities
from gahb_bench.verification.identities import SIGMAS, exact_identities

FEWEST_IMAGES = 64  # below, the statistical identities see nothing


@dataclass(frozen=True)
class Verified:
    """One check of one law: ``optimum`` is the kind of its reference."""

    family: str
    optimum: str
    check: Check


def verify(family: str | Family, images: int = 256, seed: int = 0, sigmas: Sequence[float] = SIGMAS) -> Iterator[Check]:
    """Measure what shows a law's optimum to be right, one check after the other.

    Parameters
    ----------
    family : str or Family
    images : int
        Images for the statistical identities, from split ``val``.
    seed : int
    sigmas : sequence of float
        Noise levels at which they are measured.

    Raises
    ------
    UsageError
        If nothing is known of the law's optimum that could be verified.
    """
    law = make.family(family)
    oracle = posterior_mean(law)
    if oracle is not None:
        return exact_identities(law, oracle, images, seed, sigmas)
    reference = law.reference(sigmas)
    if reference.kind == "linear":
        return linear_identities(law, make.denoiser(reference.attained_by[-1], law), images, seed, sigmas)
    if reference.kind == "bracket":
        return bracket_identities(law, images, seed, sigmas)
    raise _unknown(law)


def check_known(law: Family, sigmas: Sequence[float] = SIGMAS) -> None:
    """Refuse a law of whose optimum nothing is known."""
    if posterior_mean(law) is None and law.reference(sigmas).kind == "none":
        raise _unknown(law)


def _unknown(law: Family) -> UsageError:
    return UsageError(
        f"{law.spec} has no optimum to verify: neither an exact posterior mean, nor the best linear denoiser, nor a "
        "bracket is known."
    )


def verify_laws(
    laws: Sequence[Family], images: int = 256, seed: int = 0, sigmas: Sequence[float] = SIGMAS
) -> Iterator[Verified]:
    """The same for several laws."""
    for law in laws:
        kind = law.reference(sigmas).kind
        for check in verify(law, images, seed, sigmas):
            yield Verified(law.spec, kind, check)


def all_laws() -> list[Family]:
    """Every law of the catalogue at its defaults, and its `variants`."""
    laws = [make.family(entry.name) for entry in registry.importable(registry.entries("families"))]
    return [law for default in laws for law in (default, *map(make.family, default.variants))]
