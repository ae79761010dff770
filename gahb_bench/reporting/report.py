"""The report of a run: a page, a text and a figure, made from the files of its folder alone."""

from pathlib import Path

from gahb_bench.reporting import figures, html, markdown
from gahb_bench.reporting.content import content
from gahb_bench.reporting.folder import read
from gahb_bench.reporting.gallery import galleries
from gahb_bench.running.store import explained, write_atomically


def write_report(folder: Path) -> None:
    """Write ``report.html``, ``report.md`` and ``curves.png`` into a run's folder.

    Everything is made from the folder's files, so it can be done again at any time, with the same result. All three
    are made before the first is written, and each is written whole or not at all.

    Parameters
    ----------
    folder : Path
        A run's folder, complete or with failed cells: ``run.json``, ``scores.parquet``, ``curves.csv`` and the
        estimates it keeps.

    Raises
    ------
    StoreError
        If the folder holds no run, a file of it cannot be read, or the folder cannot be written.
    """
    run = read(folder)
    worked_out = content(run)
    made = {
        "report.html": html.render(worked_out, galleries(worked_out, folder)).encode(),
        "report.md": markdown.render(worked_out).encode(),
        "curves.png": figures.png(worked_out),
    }
    for name, data in made.items():
        with explained(folder):
            write_atomically(folder / name, lambda file, data=data: file.write(data))
