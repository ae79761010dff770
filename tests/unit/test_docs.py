"""The documentation: links and pictures are there, every law and command has a page, and its Python runs."""

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from gahb_bench.core import registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))

TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))

# What has no page yet; a name leaves these lists when its page is there.
LAWS_WITHOUT_A_PAGE: set[str] = set()
COMMANDS_WITHOUT_A_PAGE: set[str] = set()

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


@cache
def script(name: str):
    """A script of `docs/`, as a module."""
    specification = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules[f"docs_{name}"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@cache
def rendered(page: str) -> str:
    """A page with its values, without its code; a value that is not there is an error."""
    return CODE.sub("", script("hooks").rendered((DOCS / page).read_text(encoding="utf-8")))


def links(page: str) -> list[tuple[bool, str, str]]:
    """What a page refers to in this repository: whether it is a picture, the path from `docs/`, the heading."""
    found = []
    for picture, target in LINK.findall(rendered(page)):
        if not target.startswith(("http:", "https:")):
            path, _, heading = target.partition("#")
            whole = (DOCS / page).parent / path if path else DOCS / page
            found.append((bool(picture), str(whole.resolve().relative_to(DOCS)), heading))
    return found


def headings(path: Path) -> set[str]:
    """The anchors of a page."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", each).strip().lower()) for each in found}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_refers_to_is_there(page):
    elsewhere = [*script("hooks").elsewhere(), *(f"tutorials/{each.stem}.md" for each in TUTORIALS)]
    for _, path, heading in links(page):
        assert (DOCS / path).is_file() or path in elsewhere, f"{page} refers to {path}"
        if heading:
            assert heading in headings(DOCS / path if (DOCS / path).is_file() else ROOT / path), (
                f"{page}: {path}#{heading}"
            )


def test_a_broken_link_is_found(monkeypatch):
    monkeypatch.setitem(globals(), "rendered", lambda page: "[one](nowhere.md), [two](concepts.md#nothing-such)")
    with pytest.raises(AssertionError, match=r"nowhere\.md"):
        test_what_a_page_refers_to_is_there("index.md")


def test_pictures_are_those_of_the_script():
    shown = {path for page in PAGES for picture, path, _ in links(page) if picture and path.startswith("pictures/")}
    made = {f"pictures/{name}.png" for name in script("pictures").DRAWN}
    assert shown == made == {f"pictures/{path.name}" for path in (DOCS / "pictures").iterdir()}


def test_outputs_are_those_of_the_script():
    asked = {name for page in PAGES for name in re.findall(r'output\("(.*?)"\)', (DOCS / page).read_text("utf-8"))}
    made = set(script("pictures").EXAMPLES)
    assert asked == made == {path.stem for path in (DOCS / "examples").iterdir()}
    for name in made:
        said = (DOCS / "examples" / f"{name}.txt").read_text(encoding="utf-8")
        for command in script("pictures").EXAMPLES[name].commands:
            assert f"$ python -m gahb_bench {command}\n" in said, f"{name}.txt is of another command"
        assert not re.search(r"(^|\s)/\w", said), f"{name}.txt names a folder of a machine"


def test_every_law_and_every_command_has_a_page():
    laws = {entry.name for entry in registry.entries("families") if entry.module.startswith("gahb_bench.")}
    for folder, names, without in (
        ("laws", laws, LAWS_WITHOUT_A_PAGE),
        ("commands", set(script("values").commands()), COMMANDS_WITHOUT_A_PAGE),
    ):
        pages = {path.stem for path in (DOCS / folder).glob("*.md")} - {"index"}
        assert names - without == pages, f"docs/{folder}/"


def test_every_page_is_in_the_contents():
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    made = [f"tutorials/{each.stem}.md" for each in TUTORIALS]
    assert [page for page in PAGES + made if not re.search(rf"(- |: ){re.escape(page)}$", contents, re.MULTILINE)] == []


def test_a_value_that_is_not_there_ends_the_build():
    values = script("values")
    for ask in (
        lambda: values.regrets("no such law"),
        lambda: values.summary("calpha:size=32", "nobody", "exponent"),
        lambda: values.truth("nothing"),
        lambda: values.excerpt("README.md", "nothing such"),
    ):
        with pytest.raises(LookupError):
            ask()
    assert values.summary("calpha:size=32", "mmse", "mean_regret_db") == "0.00"


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=[each.stem for each in TUTORIALS])
def test_a_tutorial_is_carried_out(tutorial):
    """Each cell, with one thread and warnings as errors; what it claims of its numbers it asserts."""
    markdown, pictures = script("lessons").page(tutorial)
    shown = [target for picture, target in LINK.findall(CODE.sub("", markdown)) if picture]
    assert shown == [picture.name for picture in sorted(pictures, key=lambda each: shown.index(each.name))] != []
    assert "assert " in markdown


@pytest.mark.parametrize(
    ("cell", "said"),
    [("assert 1 == 2", "AssertionError"), ("import warnings\nwarnings.warn('hot')", "UserWarning: hot")],
)
def test_a_tutorial_that_fails_ends_the_build(tmp_path, monkeypatch, cell, said):
    lessons = script("lessons")
    monkeypatch.setattr(lessons, "_STORE", tmp_path / "store")
    tutorial = tmp_path / "wrong.py"
    tutorial.write_text(f"# %% [markdown]\n# # Wrong\n\n# %%\n{cell}\n")
    with pytest.raises(RuntimeError, match=said):
        lessons.page(tutorial)
    assert list((tmp_path / "store").iterdir()) == []


def test_cells_show_what_a_notebook_shows(tmp_path, monkeypatch):
    lessons = script("lessons")
    monkeypatch.setattr(lessons, "_STORE", tmp_path / "store")
    tutorial = tmp_path / "lesson.py"
    code = "import pandas as pd\nprint('two', 2)\npd.DataFrame({'a': [1.23456], 'b': ['x']})"
    tutorial.write_text(f"# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\n{code}\n\n# %%\n7 * 6\n")
    markdown, pictures = lessons.page(tutorial)
    assert pictures == []
    assert markdown.startswith("# Title\n\nText.\n\n```python\nimport pandas")
    assert "```text\ntwo 2\n```\n\n| a | b |\n| --- | --- |\n| 1.23 | x |\n" in markdown
    assert "7 * 6\n```\n\n```text\n42\n```" in markdown
    tutorial.write_text(tutorial.read_text().replace("7 * 6", "7 * 7"))
    assert "49" in lessons.page(tutorial)[0], "what is kept is of this text alone"


WITH_PYTHON = [page for page in PAGES if "```python" in (DOCS / page).read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(page):
    """Blocks marked `python`, one after the other; those marked `py` take files or minutes that are not there."""
    known = {"__name__": "page"}
    for code in PYTHON.findall((DOCS / page).read_text(encoding="utf-8")):
        exec(compile(code, page, "exec"), known)
