"""The tutorials of `docs/tutorials/` as pages: carried out, with what their cells print and draw.

    python docs/lessons.py first_curve    carries one out, and says what its page holds

A tutorial is a Python program in percent format: `# %% [markdown]` begins a cell of text, `# %%` one of code. As in a
notebook, a cell shows what it prints, the table or text that is its last expression, and the figures it has drawn. A
warning is an error. What is made is kept in `build/lessons/` under a digest of the tutorial, this file and the package,
so that a test and a build of the documentation carry a tutorial out once.
"""

import ast
import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
_STORE = ROOT / "build" / "lessons"
_CELL = re.compile(r"^# %%(?P<text> \[markdown\])?\n", re.MULTILINE)
_STRICT = ("-W", "error", "-W", "ignore:`torch.jit.script` is deprecated:DeprecationWarning")
_DPI = 110


def page(tutorial: Path) -> tuple[str, list[Path]]:
    """The Markdown of a tutorial and its pictures, made now if they are not there.

    Raises
    ------
    RuntimeError
        If a cell raises or warns; with what it said.
    """
    kept = _STORE / f"{tutorial.stem}-{_digest(tutorial)}"
    if not kept.exists():
        shutil.rmtree(kept, ignore_errors=True)
        _STORE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_STORE) as place:
            made = Path(place) / "made"
            made.mkdir()
            _carry_out(tutorial, made)
            for old in _STORE.glob(f"{tutorial.stem}-*"):
                shutil.rmtree(old, ignore_errors=True)
            made.replace(kept)
    return (kept / "page.md").read_text(encoding="utf-8"), sorted(kept.glob("*.png"))


def cells(program: str) -> list[tuple[bool, str]]:
    """The cells of a program in percent format: whether each is text, and what stands in it."""
    before, *parts = _CELL.split(program)
    if before.strip():
        raise ValueError("a tutorial begins with a cell: '# %% [markdown]'.")
    kinds, bodies = parts[::2], parts[1::2]
    return [
        (True, re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()) if kind else (False, body.strip())
        for kind, body in zip(kinds, bodies, strict=True)
    ]


def _carry_out(tutorial: Path, out: Path) -> None:
    """In a process of its own with one thread, in an empty folder, with an empty store."""
    with tempfile.TemporaryDirectory() as place:
        surroundings = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "GAHB_BENCH_HOME": f"{place}/home",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        words = [sys.executable, *_STRICT, __file__, str(tutorial), str(out)]
        done = subprocess.run(words, cwd=place, env=surroundings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{tutorial.name}: {done.stdout}{done.stderr}")


def _write(tutorial: Path, out: Path) -> None:
    """Carry out each cell, and write `page.md` and its pictures."""
    known: dict[str, Any] = {"__name__": "__main__"}
    parts: list[str] = []
    for is_text, body in cells(tutorial.read_text(encoding="utf-8")):
        if is_text:
            parts.append(body)
        else:
            parts.append(f"```python\n{body}\n```")
            parts += _shown(body, known, tutorial, out)
    parts.append(f"*This page is `docs/tutorials/{tutorial.name}`, carried out while the documentation is built.*")
    (out / "page.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _shown(code: str, known: dict[str, Any], tutorial: Path, out: Path) -> list[str]:
    """What a cell shows: what it prints, its last expression, its figures."""
    from matplotlib import pyplot
    from matplotlib.artist import Artist

    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(tree, tutorial.name, "exec"), known)
        value = eval(compile(ast.Expression(last.value), tutorial.name, "eval"), known) if last else None
    shown = [f"```text\n{said.getvalue().rstrip()}\n```"] if said.getvalue().strip() else []
    if value is not None and not isinstance(value, Artist):
        shown.append(_table(value) if hasattr(value, "columns") else f"```text\n{value!r}\n```")
    for number in pyplot.get_fignums():
        name = f"{tutorial.stem}-{len(list(out.glob('*.png'))) + 1}.png"
        pyplot.figure(number).savefig(out / name, dpi=_DPI)
        shown.append(f"![{_about(pyplot.figure(number))}]({name})")
        pyplot.close(number)
    return shown


def _about(figure: Any) -> str:
    """What a figure shows, for those who do not see it: titles, and what its axes are called."""
    said = [text for axes in figure.axes for text in (axes.get_title("left") or axes.get_title(), axes.get_ylabel())]
    rows = [label.get_text() for axes in figure.axes if not axes.lines for label in axes.get_yticklabels()]
    return "; ".join(dict.fromkeys(text for text in said + rows if text)) or "Images"


def _table(frame: Any) -> str:
    """A DataFrame; its index is shown if it has a name."""
    frame = frame.reset_index() if any(frame.index.names) else frame
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    lines = [[str(name) for name in frame.columns], ["---"] * len(frame.columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _digest(tutorial: Path) -> str:
    return hashlib.sha256(tutorial.read_bytes() + _package()).hexdigest()[:16]


@cache
def _package() -> bytes:
    """What a tutorial depends on beside its own text."""
    files = [Path(__file__), *sorted((ROOT / "gahb_bench").rglob("*.py")), *sorted((ROOT / "datasets").rglob("*.*"))]
    found = hashlib.sha256(sys.version.encode())
    for file in files:
        found.update(file.read_bytes())
    return found.digest()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _write(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        text, pictures = page(ROOT / "docs" / "tutorials" / f"{sys.argv[1]}.py")
        print(text, *pictures, sep="\n")
