"""Makes families, denoisers and networks from what a user has: text, things already made, callables, files."""

from collections.abc import Callable
from typing import Any

from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.network import Network
from gahb_bench.denoisers.brought.files import refuse_bare_path
from gahb_bench.denoisers.brought.user import UserDenoiser
from gahb_bench.networks.recipe import shipped, shipped_for

WEIGHTS = ".safetensors"


def family(spec: str | Family) -> Family:
    """The family described by a spec: ``gb.family("calpha:size=32")``.

    Raises
    ------
    UsageError
        For an unknown family or parameter, or a value that is not allowed.
    """
    if isinstance(spec, Family):
        return spec
    if not isinstance(spec, str):
        raise UsageError(f"a family is named by a spec, like 'calpha:size=32', or is a Family, not {spec!r}.")
    return registry.make("families", spec)


def denoiser(spec: str | Denoiser | Callable[..., Any], family: str | Family | None = None) -> Denoiser:
    """Any denoiser by spec, or a user's callable ``(y, sigma) -> x_hat`` as a denoiser.

    Oracles, and denoisers that know a training set, need the family. ``module:callable`` names a callable on the
    Python path; a path that ends in ``.safetensors``, and the name of shipped weights, are short for
    ``network:weights=...``.

    Raises
    ------
    UsageError
        For an unknown name or parameter, or an oracle that does not exist for this family.
    """
    law = None if family is None else _family(family)
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
    made: Denoiser = _denoiser_class(parsed.name, law).from_parameters(dict(parsed.parameters))
    return made.bind(law) if law is not None else made


def network(spec: str | Network) -> Network:
    """The architecture described by a spec: ``gb.network("edm-unet:width=32")``; ``preset=paper`` names a size.

    Raises
    ------
    UsageError
        For an unknown architecture, preset or parameter, or a value that is not allowed.
    """
    return registry.make("networks", spec) if isinstance(spec, str) else spec


def default_denoisers(family: Family) -> list[str]:
    """The family's oracles, the shipped networks that were trained on it, then what is shown beside them."""
    networks = [specs.format_spec("network", {"weights": name}) for name in shipped_for(family.spec)]
    shown = registry.importable(entry for entry in registry.entries("denoisers") if entry.by_default)
    beside = [spec for entry in shown for spec in entry.by_default]
    return [*family.optimum.defaults(), *networks, *beside]


_family = family  # a parameter of `denoiser` has the same name


def _denoiser_class(name: str, law: Family | None) -> type[Denoiser]:
    """The class of a denoiser: an oracle of the law first, then what runs on any."""
    oracle = None if law is None else law.optimum.oracle(name)
    found = oracle or registry.lookup("denoisers", name) or (registry.lookup("oracles", name) if law is None else None)
    if found is None:
        oracles = registry.entries("oracles") if law is None else law.optimum.oracles
        known = [*(oracle.name for oracle in oracles), *(entry.name for entry in registry.entries("denoisers"))]
        raise registry.unknown_plugin("denoisers", name, known)
    return found
