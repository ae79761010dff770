"""Which denoiser of one table stands for which of another: by name, by architecture, by content, by file's name."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Facts
from gahb_bench.core.errors import UsageError, printable, unknown

Address = tuple[str, str]  # family and denoiser
Contents = Mapping[Address, Facts]  # what is known of denoisers beside their specs

_FILES = ("weights", "file", "path")  # parameters of a denoiser that name a file, which may have moved


def resolve(text: str, names: Iterable[str]) -> str:
    """The denoiser among these that is meant: by its spec, or by the path in it; the text itself where none is."""
    known = set(names)
    if text in known:
        return text
    found = [name for name in sorted(known) if (file := _file(name)) and Path(file).absolute() == Path(text).absolute()]
    return found[0] if len(found) == 1 else text


def check_mapping(mapping: Any) -> None:
    """Refuse what does not say which denoiser stands for which.

    Raises
    ------
    UsageError
    """
    if not isinstance(mapping, Mapping) or not all(isinstance(name, str) for pair in mapping.items() for name in pair):
        raise UsageError(f"mapping is a dictionary of denoisers' names, like {{'old': 'new'}}, not {mapping!r}.")


def meant(text: str, known: Contents) -> dict[str, list[str]]:
    """The denoisers that are meant, by family: the one of this name (`resolve`), or networks of an architecture.

    Of an architecture they are those that were trained on the very family. It is named by its spec, or by a part of it,
    ``edm-unet`` for ``edm-unet:width=16``, where that is part of no other.

    Returns
    -------
    dict
        Family to names; without the families that have none.

    Raises
    ------
    UsageError
        If several architectures may be meant.
    """
    names = _names(known)
    name = resolve(text, names)
    if name in names:
        return {family: [name] for family, other in known if other == name}
    trained: dict[str, dict[str, list[str]]] = {}
    for (family, name), facts in known.items():
        if facts.architecture and facts.trained_on == family:
            trained.setdefault(facts.architecture, {}).setdefault(family, []).append(name)
    if text in trained:
        return trained[text]
    try:
        part = specs.parse(text)
    except UsageError:
        return {}
    fitting = [network for network in trained if _is_part(part, specs.parse(network))]
    whole = [network for network in fitting if part == specs.parse(network)] or fitting
    if len(whole) > 1:
        raise UsageError(
            f"{text!r} may be any of the architectures {', '.join(sorted(whole))}: give the whole spec of one."
        )
    return trained[whole[0]] if whole else {}


def _is_part(part: specs.Spec, whole: specs.Spec) -> bool:
    return part.name == whole.name and part.parameters.items() <= whole.parameters.items()


def asked(mapping: Mapping[str, str], ours: Contents, theirs: Contents) -> dict[Address, tuple[str, Address]]:
    """Which of theirs the mapping lets stand for which of ours, and whether by its name or by its architecture."""
    told: dict[Address, tuple[str, Address]] = {}
    names = _names(ours), _names(theirs)
    for old, new in sorted(mapping.items(), key=lambda both: resolve(both[0], names[0]) not in names[0]):
        mine, others = meant(old, ours), meant(new, theirs)
        if not mine:
            raise unknown("denoiser of the baseline", old, names[0])
        named = all(resolve(text, known) in known for text, known in zip((old, new), names, strict=True))
        for family, found in mine.items():
            if any((family, name) in told for name in found):
                continue
            several = others.get(family, [new])
            _refuse_several(old, family, found, "{}=NEW")
            _refuse_several(new, family, several, f"{found[0]}={{}}")
            told[family, found[0]] = ("name" if named else "architecture", (family, several[0]))
    return told


def _refuse_several(network: str, family: str, found: list[str], form: str) -> None:
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} networks of {network} were trained on {family} ({', '.join(map(printable, found))}): say "
            f"which is meant there, --map {printable(form.format(found[0]))}."
        )


def partners(
    told: Mapping[Address, tuple[str, Address]], ours: Contents, theirs: Contents
) -> dict[Address, tuple[str, Address]]:
    """Which of theirs stands for each of ours, and by what: name, architecture, content of its file or that's name."""
    wanted = {mine: told.get(mine, ("name", mine)) for mine in ours}
    found = {mine: (way, other) for mine, (way, other) in wanted.items() if other in theirs}
    for way, tell in (("content", _content), ("file name", file_name)):
        taken = {other for _, other in found.values()}
        left = [mine for mine in ours if mine not in found and mine not in told]
        others = [other for other in theirs if other not in taken and other not in ours]
        mine_by, other_by = _by_key(left, ours, tell), _by_key(others, theirs, tell)
        found |= {mine_by[key]: (way, other_by[key]) for key in mine_by.keys() & other_by.keys()}
    return found


def _by_key(
    addresses: Iterable[Address], known: Contents, tell: Callable[[Address, Contents], Hashable | None]
) -> dict[Hashable, Address]:
    """The addresses by what tells them apart; those that it does not tell apart are left out."""
    keys = {address: tell(address, known) for address in addresses}
    counts = Counter(keys.values())
    return {key: address for address, key in keys.items() if key is not None and counts[key] == 1}


def _content(address: Address, known: Contents) -> Hashable | None:
    """Family, the spec without its file, and what that holds."""
    digest = known[address].digest
    return (address[0], _with_file(address[1], ""), digest) if digest and _file(address[1]) else None


def file_name(address: Address, known: Contents) -> Hashable | None:
    """Family, the spec with the file's name alone, and the architecture, where that is known."""
    file = _file(address[1])
    return (address[0], _with_file(address[1], PurePath(file).name), known[address].architecture) if file else None


def _file(name: str) -> str:
    """The file that a denoiser comes from, as its spec says it; empty where it says none."""
    try:
        parameters = specs.parse(name).parameters
    except UsageError:  # a user's callable has a name of another form
        return ""
    return next((parameters[key] for key in _FILES if key in parameters), "")


def _with_file(name: str, file: str) -> str:
    """The spec of a denoiser that comes from a file, with another file."""
    parsed = specs.parse(name)
    key = next(key for key in _FILES if key in parsed.parameters)
    return specs.format_spec(parsed.name, {**parsed.parameters, key: file})


def _names(addresses: Iterable[Address]) -> set[str]:
    return {name for _, name in addresses}
