"""What mkdocs does beside reading Markdown: values from committed results, files from elsewhere, formulas as MathML.

A page may hold `{{ name(arguments) }}`, where `name` is one of `values.py`; it is carried out while the page is read,
and an unknown name or file ends the build. Formulas between dollars become MathML, which browsers draw by themselves.
The tutorials are carried out (`lessons.py`).
"""

import html
import re
import sys
from pathlib import Path
from typing import Any

import jinja2

sys.path[:0] = [str(Path(__file__).parent)]
import lessons  # noqa: E402
import values  # noqa: E402

ROOT = Path(__file__).parents[1]

# Files that stand elsewhere in the repository and are pages or pictures here too, at the same path.
ELSEWHERE = ["CHANGELOG.md", "CONTRIBUTING.md", "reports/*.md", "reports/*.png", "reports/geometry/*/*.png"]
ELSEWHERE += ["reports/architectures/*.png", "reports/sampling/*.png", "reports/posterior/*.png"]
ELSEWHERE += ["reports/generalization/**/*.png"]

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_BARS = re.compile(r"(?<!\\)\|(.+?)(?<!\\)\|")  # an opening and a closing one: they have no space inside
_FUNCTION = re.compile("<mi>(log|ln|exp|cos|sin)</mi>")
_NAMES = {name: value for name, value in vars(values).items() if callable(value) and not name.startswith("_")}


def elsewhere() -> list[str]:
    """The paths of the files that are there of `ELSEWHERE`."""
    return sorted({str(path.relative_to(ROOT)) for pattern in ELSEWHERE for path in ROOT.glob(pattern)})


def on_files(files: Any, config: Any) -> Any:
    """Add the files from elsewhere, and the tutorials with their pictures."""
    from mkdocs.structure.files import File

    for path in elsewhere():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for tutorial in lessons.TUTORIALS:
        markdown, pictures = lessons.page(tutorial)
        files.append(File.generated(config, f"tutorials/{tutorial.stem}.md", content=markdown))
        for picture in pictures:
            files.append(File.generated(config, f"tutorials/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Carry out what stands in double braces."""
    return markdown if page.file.generated_by else rendered(markdown)


def on_page_content(html_text: str, **_: Any) -> str:
    """Formulas as MathML."""
    return _FORMULA.sub(_mathml, html_text)


def rendered(markdown: str) -> str:
    """A page's Markdown with its values in it."""
    surroundings = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        comment_start_string="{#-",  # {# and {% may stand in a formula
        block_start_string="{%-",
        keep_trailing_newline=True,
        autoescape=False,
    )
    return surroundings.from_string(markdown).render(_NAMES)


def _mathml(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    tex = html.unescape(found[2]).replace(r"\lvert", "|").replace(r"\rvert", "|")
    made = convert(_BARS.sub(r"\\left|\1\\right|", tex), display="inline" if found[1] == "span" else "block")
    return _FUNCTION.sub(r'<mspace width="0.16em"/>\g<0><mspace width="0.16em"/>', made)
