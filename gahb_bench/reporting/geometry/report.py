"""The page of a folder of geometry, and its figures as files."""

import base64
from pathlib import Path

from markupsafe import Markup

from gahb_bench.core.files import explain_errors, write_atomically
from gahb_bench.reporting.geometry import figures
from gahb_bench.reporting.geometry.content import QUANTITIES, Family, families
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.running.geometry_folder import Geometry, read


def write_report(folder: Path) -> None:
    """Write ``report.html`` and a PNG a figure into a folder of geometry, from its files alone.

    Raises
    ------
    StoreError
        If the folder holds no geometry, or cannot be written.
    """
    made = read(folder)
    shown = families(made)
    pictures = {family.anchor: draw(family, made) for family in shown}
    files = {"report.html": render(made, shown, pictures).encode()}
    for number, family in enumerate(shown):
        suffix = f"-{number}" if len(shown) > 1 else ""
        files |= {f"{name}{suffix}.png": content for name, content in pictures[family.anchor].items()}
    for name, content in files.items():
        with explain_errors(folder):
            write_atomically(folder / name, lambda file, content=content: file.write(content))


def draw(family: Family, made: Geometry) -> dict[str, bytes]:
    """The figures of one family, by name."""
    drawn: dict[str, bytes | None] = {
        "spectra": figures.spectra(family),
        "overlap": figures.overlap(family),
        "adaptivity": figures.adaptivity(family),
    }
    for sigma in family.sigmas:
        drawn[f"eigenvectors-{sigma:.4g}"] = figures.eigenvectors(family, made, sigma)
        drawn[f"fields-{sigma:.4g}"] = figures.fields(family, made, sigma)
    return {name: content for name, content in drawn.items() if content is not None}


def render(made: Geometry, shown: list[Family], pictures: dict[str, dict[str, bytes]]) -> str:
    """The whole page as text."""
    encoded = {
        anchor: {name: Markup(base64.b64encode(content).decode()) for name, content in drawn.items()}
        for anchor, drawn in pictures.items()
    }
    environment = jinja_environment()
    return environment.from_string(template("geometry.html")).render(
        families=shown,
        pictures=encoded,
        quantities=QUANTITIES,
        manifest=made.manifest,
        failures=made.failures,
        style=Markup(template("page.css")),
    )
