"""Makes families, denoisers, samplers, problems from what a user has: text, things already made, callables, files."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gahb_bench.channels.problem import Problem
from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import GahbError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.inverse import PosteriorMethod
from gahb_bench.core.network import Network
from gahb_bench.core.operator import Operator
from gahb_bench.core.sampler import Sampler
from gahb_bench.denoisers.brought import user
from gahb_bench.denoisers.brought.files import refuse_bare_path
from gahb_bench.denoisers.tunable import Tunable
from gahb_bench.denoisers.wiener_data import gaussian_part
from gahb_bench.networks.recipe import shipped
from gahb_bench.samplers.teleport import Teleport
from gahb_bench.tuning import tuned_when_bound

WEIGHTS = ".safetensors"


def family(spec: str | Family) -> Family:
    """The family described by a spec: ``gb.family("calpha:size=32")``.

    Raises
    ------
    UsageError
        For an unknown family or parameter, or a value that is not allowed.

    Examples
    --------
    >>> law = family("calpha:size=32,alpha=3")
    >>> law.shape, law.spec
    ((1, 32, 32), 'calpha:alpha=3,size=32')
    """
    if isinstance(spec, Family):
        return spec
    if not isinstance(spec, str):
        raise UsageError(f"a family is named by a spec, like 'calpha:size=32', or is a Family, not {spec!r}.")
    return registry.make("families", spec)


def denoiser(
    spec: str | Denoiser | Callable[..., Any],
    family: str | Family | None = None,
    tune: bool = True,
    progress: Callable[[int, int], object] = lambda *_: None,
    **options: Any,
) -> Denoiser:
    """Any denoiser by spec, or a user's callable ``(y, sigma) -> x_hat`` as a denoiser.

    Oracles, and denoisers that know a training set, need the family. ``module:callable`` names a callable on the
    Python path; a path that ends in ``.safetensors``, and the name of shipped weights, are short for
    ``network:weights=...``.

    Where a classical denoiser has a parameter to tune and no table is stored for the family, it is tuned now, on a few
    images of split ``val`` (seconds), and the table is kept; without ``tune`` it follows a rule in sigma alone, and is
    called untuned. ``progress`` is told (done, total) of the noise levels.

    ``options`` say how a callable is called and what it returns, as those of ``callable:`` do (`list denoisers`):
    ``gb.denoiser(net, returns="noise", range="0:255")``. ``mine=SPEC`` names a denoiser ``mine``.

    Raises
    ------
    UsageError
        For an unknown name or parameter, or an oracle that does not exist for this family.

    Examples
    --------
    >>> law = family("calpha:size=16")
    >>> [denoiser(spec, law).knows for spec in ("mmse", "wavelet:rule=bayes")]
    ['law', 'nothing']
    >>> def halved(y, sigma):
    ...     return y / 2
    >>> denoiser(halved).spec
    'halved'
    """
    law = None if family is None else _family(family)
    made = _unbound(spec, law, options)
    if law is not None:
        made.refuse_other(law)
    bound = made if law is None else made.bind(law)
    if tune and law is not None and isinstance(bound, Tunable) and bound.needs_tuning:
        return bound.with_table(tuned_when_bound(bound, law, progress))
    return bound


def denoisers(several: Any, law: Family) -> list[Denoiser]:
    """A list of denoisers for a family, or a dictionary of them by names of one's choice.

    Raises
    ------
    UsageError
        As `denoiser`; or if it is neither a list nor a dictionary.
    """
    return [denoiser(made, law) for made in untuned(several, law)]


def untuned(several: Any, law: Family) -> list[Denoiser]:
    """The same, none tuned yet: what is refused is refused before that."""
    if isinstance(several, Mapping):
        for name in several:
            if not isinstance(name, str) or not name.strip() or not name.isprintable():
                raise UsageError(f"a denoiser's name is text on one line, not {name!r}.")
        given = {
            name: spec if isinstance(spec, str | Denoiser) else user.wrap(spec, name) for name, spec in several.items()
        }
        return [_named(denoiser(spec, law, tune=False), name) for name, spec in given.items()]
    refuse_no_list(several)
    return [denoiser(spec, law, tune=False) for spec in several]


def refuse_no_list(several: Any) -> None:
    """Refuse denoisers that do not come as a list.

    Raises
    ------
    UsageError
    """
    if isinstance(several, str | bytes) or not isinstance(several, Iterable):
        raise UsageError(
            f"denoisers come as a list, like ['mmse', net], or by names, {{'mine': net}}: not {several!r}."
        )


def look(spec: str, law: Family | None) -> tuple[str, str, str] | None:
    """How a denoiser is drawn (`Denoiser.look`), by its name in a table; None where the catalogue has none of it.

    Nothing of the user's is imported for that.
    """
    if user.is_path(specs.head(spec)) or specs.name_given(spec)[0]:
        return None
    try:
        parsed = specs.parse(spec)
        oracles = [entry for entry in registry.entries("oracles") if law is None and parsed.name in entry.names]
        if oracles:  # whose one is not known: those of a name look alike
            return oracles[0].load().from_parameters(dict(parsed.parameters)).look
        return _unbound(spec, law).look
    except GahbError:
        return None


def _named(made: Denoiser, name: str) -> Denoiser:
    if made.spec == name:
        return made
    user.check_name(name)
    return made.named(name)


def _unbound(
    spec: str | Denoiser | Callable[..., Any], law: Family | None, options: dict[str, Any] | None = None
) -> Denoiser:
    """The denoiser that is meant, not yet bound to the law."""
    if not isinstance(spec, str):
        return user.wrap(spec, **options or {})
    if options:
        raise UsageError(
            f"the options of {spec!r} stand in its spec, name:key=value; beside it go those of a callable."
        )
    name, inner = specs.name_given(spec)
    if name:
        return _named(_unbound(inner, law), name)
    if ":" not in spec and (spec.endswith(WEIGHTS) or spec in shipped()):
        spec = specs.format_spec("network", {"weights": spec})
    user.refuse_other_forms(spec)
    if user.is_path(spec):
        seen = user.Seen()
        return user.wrap(user.load(spec, seen), spec, seen)
    refuse_bare_path(spec)
    parsed = specs.parse(spec)
    return _denoiser_class(parsed.name, law).from_parameters(dict(parsed.parameters))


def names_denoiser(before: str, key: str, value: str) -> bool:
    """Whether ``key=value`` in a list is a denoiser under a name, and no parameter of the spec before it."""
    parameters = _parameters(before)
    if parameters is None:
        return specs.looks_like_spec(before, key, value)
    return key not in parameters and (specs.looks_like_spec(before, key, value) or _parameters(value) is not None)


def _parameters(spec: str) -> set[str] | None:
    """The parameters that a denoiser may have, whatever the law; None where the spec names none that is known."""
    head = specs.head(spec)
    name = "network" if head.endswith(WEIGHTS) or head in shipped() else head.partition(":")[0]
    found = registry.lookup("denoisers", name)
    oracles = [entry for entry in registry.entries("oracles") if name in entry.names]
    if found is None and not oracles:
        return _parameters("callable") if user.is_path(head) else None
    return {*(found.model_fields if found else ()), *(each.name for entry in oracles for each in entry.parameters)}


def network(spec: str | Network) -> Network:
    """The architecture described by a spec: ``gb.network("edm-unet:width=32")``; ``preset=paper`` names a size.

    Raises
    ------
    UsageError
        For an unknown architecture, preset or parameter, or a value that is not allowed.

    Examples
    --------
    >>> network("edm-unet:width=16").spec
    'edm-unet:width=16'
    """
    return registry.make("networks", spec) if isinstance(spec, str) else spec


def sampler(spec: str | Sampler, family: str | Family | None = None) -> Sampler:
    """The sampler described by a spec: ``ascent:beta=0.1``; `teleport` needs a family, of which it knows two moments.

    Raises
    ------
    UsageError
        For an unknown sampler or parameter, or a value that is not allowed.
    """
    if not isinstance(spec, str | Sampler):
        raise UsageError(f"a sampler is named by a spec, like 'heun', or is a Sampler, not {spec!r}.")
    made = registry.make("samplers", spec) if isinstance(spec, str) else spec
    if family is not None and isinstance(made, Teleport):
        return made.given(gaussian_part(_family(family), made.n))
    return made


def posterior_method(spec: str | PosteriorMethod) -> PosteriorMethod:
    """The method of inverse problems described by a spec: ``dps:weight=0.5``.

    Raises
    ------
    UsageError
        For an unknown method or parameter, or a value that is not allowed.
    """
    if isinstance(spec, PosteriorMethod):
        return spec
    if not isinstance(spec, str):
        raise UsageError(f"a method is named by a spec, like 'pigdm', or is a PosteriorMethod, not {spec!r}.")
    return registry.make("posteriors", spec)


def operator(spec: str | Operator) -> Operator:
    """The linear operator described by a spec: ``mask:keep=0.5``.

    Raises
    ------
    UsageError
        For an unknown operator or parameter, or a value that is not allowed.
    """
    if isinstance(spec, Operator):
        return spec
    if not isinstance(spec, str):
        raise UsageError(f"an operator is named by a spec, like 'mask:keep=0.5', or is an Operator, not {spec!r}.")
    return registry.make("operators", spec)


def problem(spec: str | Operator, family: str | Family) -> Problem:
    """An inverse problem: what an operator measures of images of a family, ``gb.problem("mask:keep=0.5", "calpha")``.

    Raises
    ------
    UsageError
        For an unknown operator, family or parameter, or an operator that cannot measure images of that shape.

    Examples
    --------
    >>> law = family("calpha:size=8")
    >>> seen = problem("mask:keep=0.5", law).measure(law.sample(range(2)), 0.1)
    >>> seen.y.shape, bool((seen.y[seen.mask.expand_as(seen.y) == 0] == 0).all())
    (torch.Size([2, 1, 8, 8]), True)
    """
    return Problem(operator(spec), _family(family))


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


def tunable(spec: str, family: Family) -> Tunable:
    """A denoiser with a tuned parameter, bound to a family and not tuned here.

    Raises
    ------
    UsageError
        If it has none; the message names those that have one.
    """
    made = denoiser(spec, family, tune=False)
    if not isinstance(made, Tunable):
        found = registry.importable(registry.entries("denoisers"))
        names = ", ".join(entry.name for entry in found if issubclass(entry.load(), Tunable))
        raise UsageError(f"{made.spec} has no parameter to tune: choose one of {names}.")
    return made
