"""The report of one run or of several: a page, a text and a figure, made from the files of their folders alone."""

from collections.abc import Sequence
from pathlib import Path

from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import explain_errors, refuse_overwriting, refuse_replacing, write_atomically
from gahb_bench.reporting.figure.drawing import attempt
from gahb_bench.reporting.page import html
from gahb_bench.reporting.page.gallery import galleries
from gahb_bench.reporting.study.content import Content, content
from gahb_bench.reporting.text import markdown
from gahb_bench.running.folder import REPORT, read, refuse_file_of_a_run

_MARK = b"gahb_bench</title>"  # in every page of ours
GEOMETRY = "geometry"  # the folder, in that of a run, whose page is linked


def write_report(folder: Path) -> None:
    """Write ``report.html``, ``report.md`` and ``curves.png`` into a run's folder.

    Everything is made from the folder's files, so it can be done again at any time, with the same result. All three
    are made before the first is written, and each is written whole or not at all. A figure that cannot be drawn costs
    itself alone, with a `FigureWarning`: an older one is removed.

    Parameters
    ----------
    folder : Path
        A run's folder, complete or with failed cells (`gahb_bench.running.folder`); where it keeps no pictures, the
        page has none.

    Raises
    ------
    StoreError
        If the folder holds no run, a file of it cannot be read, or the folder cannot be written.
    """
    write(content(read(folder)), folder)


def write(worked_out: Content, folder: Path) -> None:
    """Write the three files of a report into a folder, made if need be.

    Where the folder holds one of geometry (`gahb_bench.running.geometry`), the page links to that one's page.

    Raises
    ------
    StoreError
        If the folder cannot be written, or holds files of these names that are neither a run's nor a report's.
    """
    if not (folder / "run.json").exists() and not _is_ours(folder / "report.html"):
        refuse_overwriting(folder, REPORT)
    beside = f"{GEOMETRY}/report.html" if (folder / GEOMETRY / "report.html").is_file() else ""
    made: dict[str, bytes | None] = {
        "report.html": html.render(worked_out, galleries(worked_out), beside).encode(),
        "report.md": markdown.render(worked_out).encode(),
        "curves.png": attempt("curves.png", lambda: _figure(worked_out)),
    }
    with explain_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
        with explain_errors(folder):
            if data is None:
                (folder / name).unlink(missing_ok=True)
            else:
                write_atomically(folder / name, lambda file, data=data: file.write(data))


def _figure(worked_out: Content) -> bytes:
    from gahb_bench.reporting.figure import figures  # where matplotlib cannot be imported, the rest is written

    return figures.png(worked_out)


def _is_ours(page: Path) -> bool:
    """Whether a page was written by this program."""
    return page.is_file() and _MARK in page.read_bytes()


def merged(folders: Sequence[Path], families: Sequence[str] = (), denoisers: Sequence[str] = ()) -> Content:
    """What the report of several runs says; families and denoisers choose what is shown.

    Raises
    ------
    UsageError
        If a folder is given twice, nothing is left to show, or two runs have different numbers for the same thing.
    StoreError
        If a folder holds no run, or a file of it cannot be read.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a run's folder is given twice: give each once.")
    found = content(*map(read, folders), families=families, denoisers=denoisers)
    if not found.sections:
        raise UsageError("nothing is left to show: none of the denoisers asked for ran on the families asked for.")
    return found


def write_figure(worked_out: Content, path: Path, width: str) -> None:
    """Write the curves as a figure for a paper; the kind of file is that of the name's ending.

    Raises
    ------
    UsageError
        For an ending or a width that is not known, or more families than fit on a page.
    StoreError
        If the file cannot be written, or is there and not of this program.
    """
    from gahb_bench.reporting.figure import drawing, paper

    refuse_file_of_a_run(path, "--figure")
    refuse_replacing(path, drawing.MARKS, "--figure")
    made = paper.figure(worked_out, path.suffix, width)
    with explain_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(made))
