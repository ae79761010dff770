"""The page: one self-contained file that opens offline, with its data, its scripts and its style inside."""

import base64
import gzip
import hashlib
import json
import re
from functools import lru_cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from gahb_bench.core.spec import format_value
from gahb_bench.reporting.page.charts import page_data
from gahb_bench.reporting.page.gallery import ERROR_SCALE, Gallery
from gahb_bench.reporting.page.images import WORST
from gahb_bench.reporting.study import sentences, words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.leaderboard import STEPS, leaderboard, step
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.provenance import commands, facts, settings
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.study.style import GREY, INK, KNOWS, theory_dashes
from gahb_bench.scoring.losses import worst_images
from gahb_bench.scoring.summary import FIT_RANGE

_SCRIPTS = ("page.js", "charts.js", "table.js", "images.js", "gallery.js", "download.js", "draw.js")
# The path of each marker about the origin, for legends; plotly draws the same shapes.
_MARKER_PATHS = {
    "circle": "M4,0A4,4 0 1,1 -4,0A4,4 0 1,1 4,0Z",
    "square": "M-3.6,-3.6H3.6V3.6H-3.6Z",
    "diamond": "M0,-5L5,0L0,5L-5,0Z",
    "triangle-up": "M0,-4.8L4.6,3.4H-4.6Z",
    "triangle-down": "M0,4.8L4.6,-3.4H-4.6Z",
    "x": "M-2.9,-4.7L0,-1.8L2.9,-4.7L4.7,-2.9L1.8,0L4.7,2.9L2.9,4.7L0,1.8L-2.9,4.7L-4.7,2.9L-1.8,0L-4.7,-2.9Z",
}


def render(content: Content, galleries: dict[str, Gallery], geometry: str = "") -> str:
    """The whole page as text; ``geometry`` is the address of a page of Jacobians, if there is one."""
    data = _script_json(page_data(content, galleries))
    plotly, packed = _plotly()
    code = "\n".join(template(name) for name in _SCRIPTS)
    environment = jinja_environment()
    environment.filters |= {"breakable": _breakable, "plan": lambda plan: json.dumps(plan, indent=2)}
    environment.globals |= {
        "words": words,
        "sentences": sentences,
        "format_value": format_value,
        "marker_path": _MARKER_PATHS,
        "fit_range": FIT_RANGE,
        "ink": INK,
        "grey": GREY,
    }
    return environment.get_template("page.html").render(
        content=content,
        board=leaderboard(content) if len(content.sections) > 1 else None,
        steps=STEPS,
        step=step,
        sections=[_section(section, galleries.get(section.anchor)) for section in content.sections],
        knows=[word for word in KNOWS if any(m.knows == word for s in content.sections for m in s.methods)],
        labels=content.sigma_labels,
        style=Markup(template("page.css")),
        data=Markup(data),
        plotly=Markup(packed),
        code=Markup(code),
        policy=_policy(plotly, code),
        error_scale=ERROR_SCALE,
        facts=facts,
        geometry=geometry,
        settings=settings(content),
    )


def jinja_environment() -> jinja2.Environment:
    """Templates of this package: everything is escaped, and a name that is missing is an error."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template(name: str) -> str:
    """The text of a template."""
    return (resources.files("gahb_bench.reporting.page") / "templates" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> tuple[str, str]:
    """Plotly's script, and the same compressed, as base64: it is by far the largest part of a page."""
    script = get_plotlyjs()
    return script, base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _breakable(label: str) -> Markup:
    """A name, escaped, that may be broken over lines after its punctuation."""
    return Markup("<wbr>").join(re.split(r"(?<=[:,=])(?!\()|(?<==\()", label))


def _policy(*scripts: str) -> str:
    """Content security policy: these scripts (unpacked) and no others, and nothing is fetched from anywhere."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _script_json(data: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _section(section: Section, gallery: Gallery | None) -> dict[str, Any]:
    """What the template needs of one family."""
    groups = [(word, [m for m in section.methods if m.knows == word]) for word in KNOWS]
    closest, attaining = section.closest, section.attaining and section.attaining.label
    return {
        "section": section,
        "kind": words.REFERENCE_KIND[section.reference.kind],
        "reference_name": words.REFERENCE_NAME[section.reference.kind],
        "regret_to": words.REGRET_TO[section.reference.kind],
        "how_sure": words.how_sure(section.reference),
        "theory": theory_dashes(section.reference.curves),
        "labels": {method.label for method in section.methods},
        "asymptotic": section.reference.asymptotic_exponent,
        "groups": [(word, methods) for word, methods in groups if methods],
        "closest": closest,
        "gallery": gallery,
        "first": None if gallery is None else _first_cell(gallery),
        "theory_fit": next((m.fit.reference for m in section.methods if m.fit is not None), float("nan")),
        "rivals": [_rival(method, section) for method in section.methods if method.honest],
        "commands": commands(section),
        "worst": _worst(section, closest),
        "chosen": _chosen(section, closest),
        "image_axis": sentences.image_axis(section.kinds, attaining, section.reference),
    }


def _worst(section: Section, method: Method | None) -> list[tuple[int, float]]:
    """The images on which a method loses most at its worst noise level."""
    if method is None or method.worst is None:
        return []
    return worst_images(method.image_db[section.sigmas.index(method.worst.sigma)], WORST)


def _chosen(section: Section, closest: Method | None) -> int:
    """The method whose images are listed first: the closest to the optimum, else the first that is not the optimum."""
    others = [m for m in section.methods if m is not section.attaining]
    return section.methods.index(closest or (others or section.methods)[0])


def _rival(method: Method, section: Section) -> dict[str, Any]:
    """Whether a method is at its best on a family, and the values that tuning found."""
    planned = method.planned.plan
    answer, why = sentences.at_its_best(planned, section.spec)
    labels = words.sigma_labels([sigma for sigma, _, _ in planned.tuned])
    values = [(labels[sigma], value, edge) for sigma, value, edge in planned.tuned]
    edge = sentences.at_the_edge(planned)
    return {"method": method, "answer": answer, "why": words.visible(why), "found": values, "edge": edge}


def _first_cell(gallery: Gallery) -> dict[str, Any]:
    """Where the gallery opens: the middle noise level, the first image."""
    level = len(gallery.levels) // 2
    return {"level": level, "cell": gallery.cells[level][0], "clean": gallery.clean[0]}
