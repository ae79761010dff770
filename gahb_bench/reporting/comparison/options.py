"""What a comparison is asked: margins by family, denoisers that stand for others, and what is left out."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gahb_bench.core.errors import UsageError, printable
from gahb_bench.core.files import read_toml
from gahb_bench.scoring.compare import check_margin
from gahb_bench.scoring.partners import Contents, meant


class _Margins(BaseModel):
    """The file of margins."""

    model_config = ConfigDict(extra="forbid")
    families: dict[str, float]


def read_margins(path: Path) -> dict[str, float]:
    """Margins in dB by family spec or glob, from a TOML file: ``[families]`` and lines ``"calpha*" = 0.05``.

    Raises
    ------
    UsageError
        If the file cannot be read, is not of that form, or a margin is negative.
    """
    form = 'write a table [families] with lines like "calpha*" = 0.05'
    try:
        margins = _Margins.model_validate(read_toml(path)).families
    except OSError as error:
        raise UsageError(f"cannot read the margins {path}: {error.strerror or error}.") from None
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise UsageError(f"cannot read the margins {path}: missing or wrong: {fields}; {form}.") from None
    except ValueError as error:
        raise UsageError(f"cannot read the margins {path}: {error}; {form}.") from None
    for margin in margins.values():
        check_margin(margin)
    return margins


def read_mapping(texts: Sequence[str], baseline: Contents, others: Sequence[Contents]) -> dict[str, str]:
    """``old=new``, cut at the ``=`` that leaves what means something in the baseline and in a candidate (`meant`)."""
    found: dict[str, str] = {}
    for text in texts:
        cuts = [(text[:place].strip(), text[place + 1 :].strip()) for place, mark in enumerate(text) if mark == "="]
        fitting = [(old, new) for old, new in cuts if meant(old, baseline) and any(meant(new, one) for one in others)]
        if len(fitting) != 1:
            raise UsageError(
                f"cannot read --map {text!r}: it is old=new, the spec or the path of a denoiser of the baseline, or an "
                f"architecture trained on a law of it ({_known([baseline])}), and the same of a candidate "
                f"({_known(others)})."
            )
        old, new = fitting[0]
        if any(meant(old, baseline) == meant(other, baseline) for other in found):
            raise UsageError(f"the denoiser {old!r} is mapped twice: map it once.")
        found[old] = new
    return found


def _known(runs: Sequence[Contents]) -> str:
    """What `meant` finds in some runs: the names of denoisers, and architectures on the laws they were trained on."""
    known = [(*address, facts) for run in runs for address, facts in run.items()]
    names = {name for _, name, _ in known}
    names |= {facts.architecture for family, _, facts in known if facts.architecture and facts.trained_on == family}
    return ", ".join(sorted(map(printable, names)))


def fits(row: object, pattern: str) -> bool:
    """Whether a row's family or one of its denoisers is as the glob says, or both as ``FAMILY/DENOISER`` says."""
    family, denoiser, candidate = (getattr(row, name) for name in ("family", "denoiser", "candidate"))
    left, slash, right = pattern.partition("/")
    names = (denoiser, candidate)
    if slash and fnmatchcase(family, left):
        return any(fnmatchcase(name, right) for name in names)
    return any(fnmatchcase(name, pattern) for name in (family, *names))


def margin_of(family: str, margins: Mapping[str, float], default: float) -> float:
    """The margin of a family: of its exact spec, else of the first glob that fits, else the default."""
    if family in margins:
        return margins[family]
    return next((value for pattern, value in margins.items() if fnmatchcase(family, pattern)), default)
