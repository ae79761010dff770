"""The denoisers that a command takes where none is named."""

from gahb_bench import make
from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import GahbError, printable
from gahb_bench.core.family import Family
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.networks.recipe import shipped_for


def scored(law: Family) -> list[str | Denoiser]:
    """The family's oracles, the shipped networks that were trained on it, then what is shown beside them.

    A plugin of which a spec that it states cannot be made is left out, and is a problem from then on.
    """
    networks = [specs.format_spec("network", {"weights": name}) for name in shipped_for(law.spec)]
    shown = registry.importable(entry for entry in registry.entries("denoisers") if entry.by_default)
    return [*law.optimum.defaults(), *networks, *(made for entry in shown for made in _made_by_default(entry, law))]


def differentiated(law: Family) -> list[str | Denoiser]:
    """The family's oracles that have a derivative, and the shipped networks that were trained on it."""
    oracles = [spec for spec in law.optimum.defaults() if make.denoiser(spec, law, tune=False).derivative != "none"]
    return [*oracles, *(specs.format_spec("network", {"weights": name}) for name in shipped_for(law.spec))]


def sampled(law: Family) -> list[str | Denoiser]:
    """The exact posterior mean, where it is known, and the shipped networks that were trained on the family."""
    exact = posterior_mean(law)
    networks = [specs.format_spec("network", {"weights": name}) for name in shipped_for(law.spec)]
    return [*([] if exact is None else [exact.spec]), *networks]


def _made_by_default(entry: registry.Entry, law: Family) -> list[Denoiser]:
    """What a plugin shows unless told otherwise, made for a law but not tuned."""
    try:
        made = [make.denoiser(spec, law, tune=False) for spec in entry.by_default]
    except GahbError as error:
        registry.leave_out(entry, f"a spec of its `by_default` cannot be made: {printable(error)}")
        return []
    if any(type(each) is not entry.load() for each in made):
        registry.leave_out(entry, f"its `by_default` should name specs of {entry.name} itself")
        return []
    return list({each.spec: each for each in made}.values())
