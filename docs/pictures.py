"""Every picture of the documentation, and every output of a command that it shows.

    python docs/pictures.py                makes all of them
    python docs/pictures.py law-disks run  those of these names

Pictures stand in `docs/pictures/`, outputs in `docs/examples/`. Commands are typed as a reader would, in a folder that
holds this package's `reports/` and nothing else. Pages are photographed by Chromium, which only this script needs.
"""

import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gahb_bench.reporting.figure.drawing import style

HERE = Path(__file__).parent
ROOT = HERE.parent
PICTURES, OUTPUTS = HERE / "pictures", HERE / "examples"
COLOURS, SHADES = 256, 64  # of a stored picture; of a gallery, whose noise cannot be compressed
BASELINE = "reports/baseline"
LINES = ("#111827", "#0d9488", "#dc2626", "#4338ca")

# Examples are carried out in a folder of their own each, and a picture of the same name is drawn from what they left.

# The spec whose images the page of a law shows, and the law and the denoisers whose curves stand in the baseline.
GALLERIES = {
    "besov": "besov",
    "calpha": "calpha",
    "calpha-contours": "calpha-contours",
    "coloured": "coloured:of=disks",
    "disks": "disks",
    "gmm": "gmm",
    "hierarchy": "hierarchy",
    "levy": "levy:jumps=bernoulli-laplace",
    "markov-contours": "markov-contours",
    "shuffled": "shuffled:of=calpha",
}
CURVES = {
    "besov": ("besov:size=32", "mmse,genie,network:weights=besov-32,wavelet:shifts=all,tv"),
    "calpha": ("calpha:size=32", "mmse,local-mmse,network:weights=calpha-32,wavelet:shifts=all,tv"),
    "calpha-contours": (
        "calpha-contours:size=32",
        "genie,straightened,network:weights=contours-32,wavelet:shifts=all,tv",
    ),
    "disks": ("disks:size=32", "mmse,projection,tangent,network:weights=disks-32,tv"),
    "gmm": ("gmm:size=32", "mmse,wiener-data,wavelet:shifts=all,tv"),
    "hierarchy": ("hierarchy:depth=5", "mmse,network:weights=hierarchy-32,wavelet:shifts=all,tv"),
    "markov-contours": ("markov-contours:size=32", "mmse,wavelet:shifts=all,curvelet,tv"),
    "shuffled": (
        "shuffled:of=(calpha:size=32)",
        "mmse,network:weights=shuffled-calpha-32,wiener-data,wavelet:shifts=all",
    ),
}


@dataclass(frozen=True)
class Example:
    """Commands, typed one after the other after `python -m gahb_bench`, and how much of what they print is shown."""

    commands: tuple[str, ...]
    lines: int = 60
    progress: bool = False  # also what is printed on standard error
    code: int = 0  # exit code of each


EXAMPLES = {
    "compare": Example(
        (f"compare {BASELINE} {BASELINE} --map wavelet:shifts=all=tv --only 'calpha:size=32/wavelet*'",), code=1
    ),
    "generate": Example(("generate --family disks:size=32 --images 16 --noise --out disks.npz",)),
    "geometry": Example(
        ("geometry --family calpha:size=16 --denoisers mmse,local-mmse --sigmas 0.03,0.1,0.3 --images 2 --out basis",)
    ),
    "list": Example(("list samplers", "list networks"), lines=44),
    "plan": Example(("run --family calpha --denoisers mmse,wavelet --dry-run",)),
    "reference": Example(("reference --family markov-contours:size=16 --sigmas 0.1,0.3 --images 16",)),
    "report": Example((f"report {BASELINE} --family calpha:size=32 --family disks:size=32 --out page",)),
    "run": Example(("run --family calpha",)),
    "show": Example(("show --family disks --images 4 --out disks.png",)),
    "train": Example(
        (
            "train --family calpha:size=16 --network mixture:components=1 --steps 400 --validate-every 50 --out mine",
            "run --family calpha:size=16 --denoisers mmse,mine/best.safetensors --images 32 --out scored",
        ),
        progress=True,
    ),
    "tune": Example(("tune --denoiser tv --family calpha:size=16 --sigmas 0.03,0.1,0.3 --images 16",)),
    "verify": Example(("verify --family calpha:size=16 --images 64 --sigmas 0.1",)),
}


def carry_out(example: Example, folder: Path) -> str:
    """What a reader would see: each command and what it prints, without the folder that it was made in."""
    (folder / "reports").mkdir(exist_ok=True)
    for name in ("baseline", "matched.toml"):
        link = folder / "reports" / name
        if not link.exists():
            link.symlink_to(ROOT / "reports" / name)
    surroundings = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GAHB_BENCH_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    said = []
    for command in example.commands:
        done = subprocess.run(
            [sys.executable, "-m", "gahb_bench", *shlex.split(command)],
            cwd=folder,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if example.progress else subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != example.code:
            raise SystemExit(f"{command}: {done.stdout}{done.stderr or ''}")
        printed = done.stdout.replace(f"{folder}/", "").replace("home/", "~/.cache/gahb_bench/").rstrip().splitlines()
        printed = [
            line for line in printed if not line.endswith("min so far)")
        ]  # said when nothing else is, by the clock
        shown = printed if len(printed) <= example.lines else [*printed[: example.lines], "[...]"]
        said.append("\n".join([f"$ python -m gahb_bench {command}", *shown]))
    return "\n\n".join(said) + "\n"


def gallery(spec: str, folder: Path) -> Image.Image:
    """Images of a law, clean and noisy, by the command `show`."""
    carry_out(Example((f"show --family '{spec}' --images 5 --sigmas 0.03,0.3 --out gallery.png",)), folder)
    return Image.open(folder / "gallery.png")


def curves(law: str, folder: Path) -> Image.Image:
    """Curves of the committed baseline, by the command `report`."""
    family, denoisers = CURVES[law]
    command = f"report {BASELINE} --family '{family}' --denoisers '{denoisers}' --figure curves.png"
    carry_out(Example((command,)), folder)
    return Image.open(folder / "curves.png")


def photograph(page: Path, height: int) -> Image.Image:
    """The top of an HTML page, 1280 pixels wide."""
    target = page.with_suffix(".photograph.png")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=20000"]
    taken = [f"--screenshot={target}", f"--window-size=1280,{height}", page.absolute().as_uri()]
    subprocess.run(["chromium", *options, *taken], check=True, capture_output=True)
    return Image.open(target)


def page_of_a_run(folder: Path) -> Image.Image:
    """The page of the first command of the documentation."""
    return photograph(next(folder.glob("reports/runs/*/report.html")), 1900)


def page_of_several(folder: Path) -> Image.Image:
    """The page of two laws of the baseline."""
    return photograph(folder / "page" / "report.html", 1500)


def page_of_a_comparison(folder: Path) -> Image.Image:
    """The comparison that the page of `compare` shows, as HTML."""
    (command,) = EXAMPLES["compare"].commands
    carry_out(Example((f"{command} --format html --out compared.html",), code=1), folder)
    return photograph(folder / "compared.html", 1000)


def page_of_a_geometry(folder: Path) -> Image.Image:
    """The page of `geometry`."""
    return photograph(folder / "basis" / "report.html", 1500)


def learning(folder: Path) -> Image.Image:
    """Regret during the training that the page of `train` shows, at every second noise level that it validates."""
    log = [json.loads(line) for line in (folder / "mine" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in log if row.get("regret_db")]
    figure, axes = _axes()
    levels = np.geomspace(10**-2.5, 10**0.5, len(rows[0]["regret_db"]))
    for place, colour in zip(range(0, len(levels), 2), LINES, strict=False):
        values = [row["regret_db"][place] for row in rows]
        steps = [row["step"] for row in rows]
        axes.semilogy(steps, values, color=colour, marker="o", label=f"σ = {levels[place]:.2g}")
    axes.set_xlabel("step")
    axes.set_ylabel("regret, dB")
    axes.legend(frameon=False)
    return _drawn(figure)


def tuned_values(_: Path) -> Image.Image:
    """The tuned parameters that the package holds for one law, against the noise level."""
    table = pd.read_parquet(ROOT / "datasets" / "tables" / "tuned.parquet")
    figure, axes = _axes()
    table = table[(table["family"] == "calpha:size=32") & ~table["quantity"].isin(["mse", "at_edge"])]
    for denoiser, colour in zip(("tv", "gaussian-blur", "curvelet"), LINES, strict=False):
        rows = table[table["denoiser"] == denoiser].sort_values("sigma")
        axes.loglog(
            rows["sigma"], rows["value"], color=colour, marker="o", label=f"{denoiser}: {rows['quantity'].iloc[0]}"
        )
    axes.set_xlabel("σ")
    axes.set_ylabel("tuned parameter")
    axes.legend(frameon=False)
    return _drawn(figure)


def _axes() -> tuple[Figure, Axes]:
    with style({}):
        figure = Figure(figsize=(5, 3), layout="constrained")
        return figure, figure.subplots()


def _drawn(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    with style({}):
        figure.savefig(file, format="png", dpi=120)
    return Image.open(file)


DRAWN: dict[str, Callable[[Path], Image.Image]] = {
    **{f"law-{law}": partial(gallery, spec) for law, spec in GALLERIES.items()},
    **{f"curves-{law}": partial(curves, law) for law in CURVES},
    "compare": page_of_a_comparison,
    "geometry": page_of_a_geometry,
    "report": page_of_several,
    "run": page_of_a_run,
    "train": learning,
    "tune": tuned_values,
}


def main(words: Sequence[str]) -> None:
    """Make what is asked for: the output of an example, then the picture of its name from what it left."""
    for name in [*EXAMPLES, *(drawn for drawn in DRAWN if drawn not in EXAMPLES)]:
        if words and name not in words:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if name in EXAMPLES:
                said = carry_out(EXAMPLES[name], folder)
                (OUTPUTS / f"{name}.txt").write_text(said, encoding="utf-8")
                print(f"{name}.txt: {len(said.splitlines())} lines", flush=True)
            if name in DRAWN:
                picture = DRAWN[name](folder).convert("RGB")
                colours = SHADES if name.startswith("law-") else COLOURS
                picture = picture.quantize(colours, dither=Image.Dither.NONE)
                picture.save(PICTURES / f"{name}.png", optimize=True)
                print(f"{name}.png: {(PICTURES / f'{name}.png').stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
