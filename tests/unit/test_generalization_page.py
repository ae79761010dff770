"""The page of a study of generalisation, from its files alone: what it says, and that it needs nothing else."""

import re

import numpy as np
import pandas as pd
import pytest

from gahb_bench.core.errors import FigureWarning, StoreError
from gahb_bench.reporting.generalization import figures
from gahb_bench.reporting.generalization.content import content_of
from gahb_bench.reporting.generalization.report import write_report
from gahb_bench.running.generalization import folder as files

SIZES, SIGMAS, SPLITS = (1, 10), (0.1, 0.3), ("train-a", "train-b")
STUDY = {
    "family": "calpha:size=8",
    "network": "edm-unet:width=4",
    "sizes": [1, 10, 100],
    "steps": 20,
    "batch": 4,
    "images": 5,
    "samples": 6,
    "theories": 3,
    "patches": 30,
}
MEASURES = ("test_bits", "train_bits", "nearest_ratio", "nearest_share", "shifted_ratio", "shifted_share")
# Distances in dB at n = 1 and 10, on training images: the memoriser is nearest, with a tie, then the truth.
DISTANCES = {
    "memoriser": (-20.0, 5.0),
    "local": (-19.95, 1.0),
    "truth": (0.0, -7.25),
    "gaussian score": (-3.0, -1.0),
}


def rows(sizes=SIZES, theories=True):
    made = []

    def add(n, measure, value, split=None, sigma=None, theory=None):
        denoiser = None if theory is None else "its spec"
        address = {"family": STUDY["family"], "network": STUDY["network"], "n": n, "split": split, "sigma": sigma}
        interval = {"value": value, "low": value - 0.1, "high": value + 0.1, "images": 5}
        made.append({**address, "measure": measure, "theory": theory, "denoiser": denoiser, **interval})

    for place, n in enumerate(sizes):
        add(n, "sample_correlation", 0.25 + 0.5 * place)
        for which, split in enumerate(SPLITS):
            for measure in (
                "test_bits",
                "train_bits",
                *(f"{each}_{what}" for each in ("nearest", "shifted") for what in ("ratio", "share")),
            ):
                add(n, measure, 0.5 * place + 0.125 * which, split)
            for sigma in SIGMAS:
                for kind in ("train", "test"):
                    add(n, f"t_{kind}", place + 0.0625 * which, split, sigma)
                    add(n, f"r_{kind}", 0.01 * which, split, sigma)
                    add(n, f"{kind}_regret_db", 4 * sigma - place, split, sigma)
                    for theory, values in DISTANCES.items() if theories else ():
                        add(n, f"distance_{kind}_db", values[place] + 2 * which - 1, split, sigma, theory)
        for sigma in SIGMAS:
            add(n, "model_variance", 1 - 0.75 * place, None, sigma)
    return pd.DataFrame(made, columns=list(files.COLUMNS))


def pictures(sizes=SIZES):
    image = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(3, 1, 8, 8)
    return {
        f"n={n}/{what}-{network}": np.array([0.125, 0.25, 0.375]) if what.endswith("distance") else image
        for n in sizes
        for what in ("sample", "nearest", "nearest-distance", "moved", "moved-distance")
        for network in ("a", "b")
    }


def write(folder, table, drawn, study=STUDY, command="gahb_bench generalization"):
    folder.mkdir(exist_ok=True)
    files.begin(folder, study, {"python": "3"}, command)
    files.write_rows(folder / "generalization.csv", table)
    files.write_pictures(folder / "pictures.npz", drawn)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = write(tmp_path_factory.mktemp("generalization") / "out", rows(), pictures())
    write_report(made)
    return made


def words_of(folder):
    """The page without its style, pictures and marks, on one line."""
    text = re.sub(
        r"<style>.*?</style>|data:image/png;base64,[^\"]*", "", (folder / "report.html").read_text(), flags=re.S
    )
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_the_page_says_the_numbers(folder):
    words = words_of(folder)
    assert "calpha:size=8 , edm-unet:width=4 , 20 steps of 4 images" in words
    assert "on 5 noisy images of each kind and 6 samples" in words
    for cells in ("1 0.03 0.03 0.4 1.2 0.4 1.2 1.00 1.00", "10 1.03 1.03 -0.6 0.2 -0.6 0.2 0.25 0.25"):
        assert cells in words, "t, train regret, test regret, model variance: means over the networks"
    for cells in ("1 0.062 0.062 0.25 0.06 0.06 0.06 0.06", "10 0.562 0.562 0.75 0.56 0.56 0.56 0.56"):
        assert cells in words, "bits, correlation, nearest training image"
    assert "n = 100 is missing" in words


def test_the_page_says_which_theory_is_nearest(folder):
    words = words_of(folder)
    assert words.count("1 memoriser = local -20.0 dB; truth 0.0 dB memoriser = local -20.0 dB; truth 0.0 dB") == 2
    assert words.count("10 truth -7.2 dB truth -7.2 dB") == 2
    assert words.count("1 -20.0 -19.9 -3.0 0.0") == 4, "all distances, at two noise levels on two kinds of images"
    content = content_of(files.read(folder))
    assert content.theories == ["memoriser", "local", "gaussian score", "truth"]
    first, second = (f"{names} (σ 0.1 to 0.3)" for names in ("memoriser = local", "truth"))
    expected = "n={}: nearest on training images to {near}; on test images to {near}"
    assert content.closing == [expected.format(1, near=first), expected.format(10, near=second)]


def test_the_page_is_self_contained(folder):
    page = (folder / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert 'name="viewport"' in page
    assert page.count("data:image/png;base64,") == 4 + len(SIZES)
    images = re.findall(r"<img[^>]*>", page)
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    for name in ("transition", "regret", "samples", "theories", "mosaic-1", "mosaic-10"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_made_from_the_files_alone_and_the_same_again(folder):
    before = (folder / "report.html").read_bytes()
    write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_without_theories_and_samples_there_is_nothing_of_them(tmp_path):
    made = write(
        tmp_path / "out", rows([1], theories=False), {name: values[:0] for name, values in pictures([1]).items()}
    )
    (made / "mosaic-7.png").write_bytes(b"of an earlier study")
    (made / "mine.png").write_bytes(b"of the user")
    assert write_report(made).closing == []
    page = (made / "report.html").read_text()
    assert "Which theory" not in page
    assert page.count("data:image/png;base64,") == 3
    assert sorted(path.name for path in made.glob("*.png")) == [
        "mine.png",
        "regret.png",
        "samples.png",
        "transition.png",
    ]


def test_a_figure_that_fails_costs_itself_alone(tmp_path, monkeypatch):
    made = write(tmp_path / "out", rows(), pictures())

    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "regret", fail)
    with pytest.warns(FigureWarning, match=r"regret\.png could not be drawn: .*no ink"):
        write_report(made)
    assert not (made / "regret.png").exists()
    assert (made / "transition.png").exists()
    assert (made / "report.html").read_text().count("data:image/png;base64,") == 5


def test_what_others_wrote_is_shown_as_text(tmp_path):
    made = write(tmp_path / "out", rows(), pictures(), {**STUDY, "network": "<script>"}, command="<b>bold</b>")
    write_report(made)
    page = (made / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


@pytest.mark.parametrize("name", ["run.json", "generalization.csv", "pictures.npz"])
@pytest.mark.parametrize("bytes_left", [1, 50])
def test_a_folder_that_cannot_be_read(tmp_path, name, bytes_left):
    made = write(tmp_path / "out", rows(), pictures())
    (made / name).write_bytes((made / name).read_bytes()[:bytes_left])
    with pytest.raises(StoreError, match="make it again"):
        write_report(made)
