"""What the pages take from the repository: numbers of committed results, parameters, options, outputs, public names.

Every function here may be called in a page between double braces, and gives Markdown. Nothing is computed anew.
"""

import ast
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gahb_bench.core import registry

_ROOT = Path(__file__).parents[1]
_BASELINE = _ROOT / "reports" / "baseline"


def parameters(kind: str, name: str) -> str:
    """The parameters of a plugin: its name in a spec, what it means, its default and limits."""
    entry = _entry(kind, name)
    if not entry.parameters:
        return "It has no parameters."
    rows = [
        [
            f"`{each.name}`",
            f"{each.description}{f' ({each.limits})' if each.limits else ''}",
            f"`{each.default or repr('')}`",
        ]
        for each in entry.parameters
    ]
    return _table(["parameter", "meaning", "default"], rows)


def source(kind: str, name: str) -> str:
    """Who described a plugin, with addresses to follow."""
    return _linked(_entry(kind, name).source)


def plugins(kind: str) -> str:
    """All plugins of a kind: name, what each is, its source."""
    rows = []
    for entry in registry.entries(kind):  # pyright: ignore[reportArgumentType]
        also = f" (also {', '.join(f'`{alias}`' for alias in entry.aliases)})" if entry.aliases else ""
        rows.append([f"`{entry.name}`{also}", entry.summary, _linked(entry.source)])
    return _table(["name", "what it is", "source"], rows)


def oracles(law: str) -> str:
    """The oracles of a law, and what each knows."""
    found = [entry for entry in registry.entries("oracles") if entry.family == law]
    return _table(["oracle", "knows", "what it is"], [[f"`{each.name}`", each.knows, each.summary] for each in found])


def cite(law: str) -> str:
    """How a number on a law is cited: the source of the law, and what makes the number reproducible."""
    return (
        f"The law: {source('families', law)}. The number: this package "
        "([CITATION.cff](https://citation-file-format.github.io) in the repository), with the spec of the law in its "
        "canonical form (`family` in every table), the noise level, the number of images, seed and split, and the "
        f"versions that `run.json` states (package {version('package')}, results {version('results')} at present)."
    )


def networks() -> str:
    """Architectures: parameters and receptive field of each preset."""
    rows = []
    for entry in registry.entries("networks"):
        for preset, (count, field) in entry.facts.items():
            reach = f"{field} x {field}" if field else "the whole image"
            rows.append([f"`{entry.name}`", entry.summary, preset, f"{count:,}", reach, _linked(entry.source)])
    return _table(["network", "what it is", "preset", "parameters", "receptive field", "source"], rows)


def regrets(family: str) -> str:
    """What the committed baseline says of each denoiser on a law: `reports/baseline/summary.csv`."""
    rows = []
    for row in _rows(_BASELINE / "summary.csv"):
        if row["family"] == family:
            mean, bits = (_interval(row, name) for name in ("mean_regret_db", "excess_bits"))
            worst = (
                f"{float(row['worst_regret_db']):.2f} at σ = {float(row['worst_sigma']):.2g}"
                if row["worst_sigma"]
                else "–"
            )
            slope = f"{float(row['exponent']):.2f}" if row["exponent"] else "–"
            rows.append([f"`{row['denoiser']}`", row["knows"], mean, worst, bits, slope])
    if not rows:
        raise LookupError(f"the baseline holds no {family}")
    return _table(["denoiser", "knows", "mean regret, dB", "worst, dB", "excess bits a pixel", "exponent"], rows)


def optimum(family: str) -> str:
    """The reference of a law in the committed baseline, at every second noise level."""
    known = {row["sigma"]: row for row in _rows(_BASELINE / "curves.csv") if row["family"] == family}
    if not known:
        raise LookupError(f"the baseline holds no {family}")
    rows = []
    for row in list(known.values())[::2]:
        low, middle, high = (float(row[f"reference_{end}"] or "nan") for end in ("low", "mse", "high"))
        value = f"{middle:.3e}" if low == high else f"{low:.3e} to {high:.3e}"
        rows.append(
            [f"{float(row['sigma']):.2g}", value, f"{middle / float(row['sigma']) ** 2:.3g}", row["reference_kind"]]
        )
    return _table(["σ", "MMSE a pixel", "over σ²", "reference"], rows)


def summary(family: str, denoiser: str, column: str, digits: int = 2) -> str:
    """One number of the committed baseline's `summary.csv`."""
    for row in _rows(_BASELINE / "summary.csv"):
        if (row["family"], row["denoiser"]) == (family, denoiser):
            return f"{float(row[column]):.{digits}f}"
    raise LookupError(f"the baseline holds no {denoiser} on {family}")


def baseline(key: str) -> str:
    """What the baseline's `run.json` states: `command`, `images`, `sigmas`, `results_version`."""
    kept = json.loads((_BASELINE / "run.json").read_text(encoding="utf-8"))
    value = kept.get(key, kept["plan"].get(key))
    return f"{len(value)}" if isinstance(value, list) else f"{value}"


def truth(law: str) -> str:
    """The rows of `reports/truth.md` of a law and its variants."""
    lines = (_ROOT / "reports" / "truth.md").read_text(encoding="utf-8").splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| law |"))
    rows = [line for line in lines[head + 2 :] if re.match(rf"\| `{law}[:`]", line)]
    if not rows:
        raise LookupError(f"reports/truth.md holds no {law}")
    return "\n".join([*lines[head : head + 2], *rows])


def options(command: str) -> str:
    """The arguments and options of a command, as its `--help` has them."""
    rows = []
    for each in _command(command).params:
        names = (
            ", ".join(f"`{name}`" for name in each.opts) if each.param_type_name == "option" else f"`{each.metavar}`"
        )
        rows.append([names, each.help or ""])
    return _table(["option", "meaning"], [row for row in rows if row[0] != "`--help`"])


def purpose(command: str) -> str:
    """The first paragraphs of a command's `--help`."""
    return (_command(command).help or "").strip()


def commands() -> list[str]:
    """The names of all commands."""
    return list(_group().commands)


def output(name: str) -> str:
    """What a command printed when `docs/pictures.py` carried it out, with the command."""
    text = (_ROOT / "docs" / "examples" / f"{name}.txt").read_text(encoding="utf-8")
    return f"```console\n{text.rstrip()}\n```"


def excerpt(path: str, marker: str) -> str:
    """What stands in a file after `<!-- marker -->`: to `<!-- /marker -->`, or the block of code that follows."""
    text = (_ROOT / path).read_text(encoding="utf-8")
    _, begin, rest = text.partition(f"<!-- {marker} -->\n")
    if not begin:
        raise LookupError(f"{path} holds no <!-- {marker} -->")
    if f"<!-- /{marker} -->" in rest:
        return rest.partition(f"<!-- /{marker} -->")[0].strip()
    return re.match(r"(```.*?\n```)\n", rest, re.DOTALL)[1]  # pyright: ignore[reportOptionalSubscript]


def file(path: str, language: str) -> str:
    """A file of the repository as a block of code."""
    return f"```{language}\n{(_ROOT / path).read_text(encoding='utf-8').rstrip()}\n```"


def public() -> list[str]:
    """`gahb_bench.__all__`, read without importing it."""
    tree = ast.parse((_ROOT / "gahb_bench" / "__init__.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    )


def api() -> str:
    """A directive for each public name; of modules, their public members."""
    return "\n\n".join(f"::: gahb_bench.{name}" for name in public())


def rooms() -> str:
    """The folders and files of the package, and what each is for: the first line of its docstring."""
    rows = []
    for path in sorted((_ROOT / "gahb_bench").iterdir()):
        inside = path / "__init__.py" if path.is_dir() else path
        if inside.suffix == ".py" and inside.is_file() and not inside.samefile(_ROOT / "gahb_bench" / "__init__.py"):
            about = ast.get_docstring(ast.parse(inside.read_text(encoding="utf-8"))) or ""
            rows.append([f"`{path.name}{'/' if path.is_dir() else ''}`", about.partition("\n")[0]])
    return _table(["room", "what it is for"], rows)


def version(what: str) -> str:
    """A version that the code states: `package`, `results` (of scores) or `schema` (of a run's folder)."""
    path, pattern = {
        "package": ("pyproject.toml", r'^version = "(.*)"'),
        "results": ("gahb_bench/running/plan.py", r"^RESULTS_VERSION = (\d+)"),
        "schema": ("gahb_bench/running/folder.py", r"^SCHEMA = (\d+)"),
    }[what]
    return re.search(pattern, (_ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)[1]  # pyright: ignore[reportOptionalSubscript]


def _entry(kind: str, name: str) -> registry.Entry:
    return next(entry for entry in registry.entries(kind) if entry.name == name)  # pyright: ignore[reportArgumentType]


def _group() -> Any:
    import typer

    from gahb_bench.cli import app

    return typer.main.get_command(app)


def _command(name: str) -> Any:
    return _group().commands[name]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _interval(row: dict[str, str], name: str) -> str:
    """A value with its 95 % interval."""
    if not row[name]:
        return "–"
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{float(value):.3g}" + (f" ({float(low):.3g} to {float(high):.3g})" if low and high else "")


def _linked(text: str) -> str:
    """Addresses of papers as links."""
    text = re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"doi:(10\.\S+?)(?=[,;)]?(\s|$))", r"[doi:\1](https://doi.org/\1)", text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
