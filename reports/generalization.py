"""reports/generalization.md: when networks stop copying their training images, beside memoriser, truth and theories.

    python -m gahb_bench generalization --family calpha:size=32 --network edm-unet:width=16 --sizes 1,10,100,1000,10000
        --steps 1700 --batch 16 --out FOLDER/calpha           trains and measures (half an hour of one core); so do
                                                              disks:size=32 into disks, hierarchy:depth=5 into hierarchy
    python reports/generalization.py FOLDER                   keeps what is finished, then makes the page

Of each law the table, the study and the figures are kept in reports/generalization/, no weights.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np

from gahb_bench.reporting.generalization.content import KINDS, Content, cell
from gahb_bench.reporting.generalization.report import FIGURES, write_report
from gahb_bench.running.generalization.folder import TRUTH, read_rows

HERE = Path(__file__).parent
FOLDER = HERE / "generalization"
LAWS = {"calpha": "calpha:size=32", "disks": "disks:size=32", "hierarchy": "hierarchy:depth=5"}  # by folder
DASH = "–"


def keep(source: Path) -> None:
    """Take tables and figures of the studies in a folder into the project."""
    for name in LAWS:
        if not (source / name / "pictures.npz").exists():
            continue
        content = write_report(source / name)
        target = FOLDER / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        mosaics = [f"mosaic-{n}" for n in content.sizes]
        for file in ("generalization.csv", "run.json", *(f"{figure}.png" for figure in (*FIGURES, *mosaics))):
            shutil.copyfile(source / name / file, target / file)
        print(f"kept {name}: n = {', '.join(map(str, content.sizes))}", flush=True)


def kept() -> dict[str, Content]:
    """The studies that are in, by folder."""
    found = {}
    for name in LAWS:
        path = FOLDER / name
        if (path / "generalization.csv").exists():
            manifest = json.loads((path / "run.json").read_text(encoding="utf-8"))
            rows = read_rows(path / "generalization.csv")
            found[name] = Content(rows, {}, manifest["generalization"], manifest["command"])
    return found


def state(studies: dict[str, Content]) -> str:
    """Which studies are finished."""
    told = []
    for name, law in LAWS.items():
        if name not in studies:
            told.append(f"`{law}` is still to come")
        elif studies[name].missing:
            told.append(f"of `{law}` n = {', '.join(map(str, studies[name].missing))} are still to come")
    return f"Not everything is in: {'; '.join(told)}.\n\n" if told else ""


def section(name: str, content: Content) -> str:
    """One law: its numbers, what its networks are nearest to, its figures."""
    mosaics = "\n".join(
        f"![Samples of A, the nearest in A's training set, as it lies and moved, the same of B; n = {n}]"
        f"(generalization/{name}/mosaic-{n}.png)"
        for n in content.sizes
    )
    return SECTION.format(
        law=content.study["family"],
        numbers=numbers(content),
        sentences=" ".join([*comparisons(content), copies(content)]),
        nearest="\n".join(f"On noisy {words}:\n\n{nearest(content, kind)}\n" for kind, words in KINDS.items()),
        verdict=verdict(content),
        folder=f"generalization/{name}",
        mosaics=mosaics,
    )


def numbers(content: Content) -> str:
    """A row an n: t and regrets over the noise levels, what is over all of them."""
    over = " / ".join(content.labels[sigma] for sigma in content.sigmas)
    head = [f"t at σ = {over}", "train regret, dB", "test regret, dB", "train bits", "test bits"]
    rows = [["n", *head, "model variance", "correlation of samples", "nearer to own set", "moved"]]
    for n in content.sizes:
        levels = {
            measure: " / ".join(cell(content.mean(measure, n, sigma), digits) for sigma in content.sigmas)
            for measure, digits in (
                ("t_train", 2),
                ("train_regret_db", 1),
                ("test_regret_db", 1),
                ("model_variance", 2),
            )
        }
        bits = [cell(content.mean(measure, n), 3) for measure in ("train_bits", "test_bits")]
        last = [interval(content, measure, n) for measure in ("sample_correlation", "nearest_share", "shifted_share")]
        first = [levels[measure] for measure in ("t_train", "train_regret_db", "test_regret_db")]
        rows.append([f"{n:,}", *first, *bits, levels["model_variance"], *last])
    return table(rows)


def interval(content: Content, measure: str, n: int) -> str:
    """Mean over the networks, with the mean of half their 95 % intervals."""
    rows = content.of(measure)
    rows = rows[rows["n"] == n]
    mean, half = cell(content.mean(measure, n), 2), float(((rows["high"] - rows["low"]) / 2).mean())
    return f"{mean} ± {half:.2f}" if math.isfinite(half) else mean


def comparisons(content: Content) -> list[str]:
    """What is said of several n, if there are."""
    return [transition(content), test_regret(content), shared(content)] if len(content.sizes) > 1 else []


def transition(content: Content) -> str:
    """Between which n the networks leave the memoriser, at each noise level: where t passes 1/2."""
    told = []
    for sigma in content.sigmas:
        values = [content.mean("t_train", n, sigma) for n in content.sizes]
        known = [(n, t) for n, t in zip(content.sizes, values, strict=True) if math.isfinite(t)]
        passed = next((place for place, (_, t) in enumerate(known) if t > 0.5), None)
        label = f"σ = {content.labels[sigma]}"
        if passed is None:
            told.append(f"{label}: not up to n = {known[-1][0]:,}" if known else f"{label}: not known")
        elif passed == 0:
            told.append(f"{label}: before n = {known[0][0]:,}")
        else:
            told.append(f"{label}: between {known[passed - 1][0]:,} and {known[passed][0]:,}")
    return f"t on training images passes 1/2 at {'; '.join(told)}."


def test_regret(content: Content) -> str:
    """How the loss on test images falls."""
    bits = [content.mean("test_bits", n) for n in content.sizes]
    falls = "falls with every n" if all(np.diff(bits) < 0) else "does not fall with every n"
    return f"The regret on test images {falls}: {', '.join(f'{value:.3g}' for value in bits)} bits a pixel."


def shared(content: Content) -> str:
    """How the samples of the two networks come together."""
    low, high = (content.mean("sample_correlation", n) for n in (content.sizes[0], content.sizes[-1]))
    ends = f"{low:.2f} at n = {content.sizes[0]:,} and by {high:.2f} at n = {content.sizes[-1]:,}"
    return f"Samples of A and B from the same seeds correlate by {ends}."


def copies(content: Content) -> str:
    """Until which n samples are training images, moved."""
    found = [f"{content.mean('shifted_ratio', n):.2f} at n = {n:,}" for n in content.sizes]
    return (
        "Squared distance of samples to the nearest training image, which may be moved, over that to the nearest of "
        f"the other network's: {', '.join(found)} (0: they are copies, 1: they know nothing of it)."
    )


def nearest(content: Content, kind: str) -> str:
    """What the networks are nearest to: a row an n, a column a noise level."""
    rows = [["n", *(f"σ = {content.labels[sigma]}" for sigma in content.sigmas)]]
    for n in content.sizes:
        cells = []
        for sigma in content.sigmas:
            near = content.nearest(kind, n, sigma)
            beside = f"; truth {near.truth:.1f}" if near and TRUTH not in near.names else ""
            cells.append(f"{near.words}{beside}" if near else DASH)
        rows.append([f"{n:,}", *cells])
    return table(rows)


def verdict(content: Content) -> str:
    """How often each is the nearest, over n and noise levels, and which theory is where the truth is left out."""
    told = []
    for kind, words in KINDS.items():
        counts: dict[str, int] = {}
        best: dict[str, int] = {}
        cells = [(n, sigma) for n in content.sizes for sigma in content.sigmas]
        for n, sigma in cells:
            near, known = content.nearest(kind, n, sigma), content.distance(kind, n, sigma)
            if near is None:
                continue
            for name in near.names:
                counts[name] = counts.get(name, 0) + 1
            theories = {name: value for name, value in known.items() if name != TRUTH}
            first = min(theories, key=lambda name: theories[name])
            best[first] = best.get(first, 0) + 1
        shown, apart = (", ".join(f"{name} {count}" for name, count in ordered(each)) for each in (counts, best))
        told.append(
            f"On {words}, of {len(cells)} cells: nearest (ties count for each) {shown}; without the truth {apart}."
        )
    return " ".join(told)


def ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


SECTION = """\
## {law}

{numbers}

{sentences}

![t and r on training images](FOLDER/transition.png)
![Regret in dB and bits](FOLDER/regret.png)
![Model variance, correlation of samples, nearest training image](FOLDER/samples.png)

### Which theory is nearest?

{nearest}
{verdict}

![Distance to every theory and to the truth](FOLDER/theories.png)

### Samples

{mosaics}
""".replace("FOLDER", "{folder}")

PAGE = """\
# From memorising to generalising, with the truth known

Made by `python reports/generalization.py` from `reports/generalization/`: for each law and n two networks, A and B,
`{network}`, {steps:,} steps of {batch} images, on disjoint sets of n training images. Numbers are means over the two,
on {images} noisy images of each kind and {samples} samples.

{state}{sections}
## How to read it

- *t* is the place on noisy training images between the memoriser (0: the posterior mean under the training set) and the
  truth (1: that under the law). *Train regret* is 10 log10(mse / mmse) on noisy training images, below 0 where they are
  known by heart; *test regret* 10 log10(1 + excess / mmse) on test images. *Bits* are the same over all σ, a pixel:
  train bits below 0 are saved by memorising. Numbers separated by / are at the noise levels, in rising order.
- *Model variance* is E|D_A - D_B|² / (2 E excess) on test images: 1 where the networks share nothing of their error.
- *Correlation of samples*: pixel by pixel, of what both generate from the same noise. *Nearer to own set*: the share of
  samples that are nearer to their own training set than to the other's; 1 for copies, 1/2 for one who knows the law.
  *Moved*: where training images may be moved periodically, since a network with circular padding hardly knows where
  it is.
- Distance of a network D to a theory T: 10 log10(E|D - T|² / mmse), in dB beside the MMSE, on {theories} images of each
  kind; "=" where they are equal within 0.1 dB. Every theory knows the network's own training set; `local-equivariant`
  its first {patches} images at most, because each pixel is compared with the patches at all places, and the shifted
  memoriser (the posterior mean under all periodic shifts of the training images) thirty times as many. Patches are
  those that do best on validation images. The mixture has ten components, or n; the Gaussian score has the sample
  covariance.
"""


def main() -> None:
    for source in sys.argv[1:]:
        keep(Path(source))
    studies = kept()
    if not studies:
        sys.exit("nothing is kept yet: give the folder of the studies, python reports/generalization.py FOLDER")
    settings = next(iter(studies.values())).study
    sections = "\n".join(section(name, content) for name, content in studies.items())
    text = PAGE.format(**settings, state=state(studies), sections=sections)
    (HERE / "generalization.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
