"""Small packages of other people for tests: the law that CONTRIBUTING.md shows, and installing it without pip."""

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def contributed_law() -> str:
    """The source of the law that CONTRIBUTING.md shows."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- a law with its optimum -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def install(place: Path, name: str, files: Mapping[str, str], entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Write a package and its metadata as an installer would, into a folder for the Python path.

    ``files`` by path; ``entry_points`` by group (``families``, ``denoisers``, ``networks``), then by name.
    """
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(content, encoding="utf-8")
    metadata = place / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[gahb_bench.{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
