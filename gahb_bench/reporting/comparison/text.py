"""A comparison as text: for a terminal, and as Markdown for a pull request."""

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from gahb_bench.reporting.comparison.content import Candidate, Comparison
from gahb_bench.reporting.comparison.words import bits, ends, faster, measured, signed, title, where
from gahb_bench.reporting.study import words
from gahb_bench.reporting.text.markdown_text import code, table
from gahb_bench.scoring.compare import BITWISE

_WIDTH = 110
_HEADER = ("denoiser", "band", "σ", "by", "dB", "interval", "bits a pixel", "time", "verdict")


def text(comparison: Comparison) -> str:
    """For a terminal: pairs that are bitwise the same on one line."""
    lines = [f"baseline A: {_run(comparison.baseline)}"]
    for one in comparison.candidates:
        lines += [
            "",
            f"{one.letter}: {_run(one.run)}",
            *_notes(one),
            f"{one.letter} against A: {comparison.headline(one)}",
        ]
        for family, rows in families(comparison.of(one)):
            cells = [line for _, pair in pairs(rows) for line in _pair_cells(pair)]
            lines += ["", f"{words.visible(family)}  ({terms(rows)})", *_aligned([list(_HEADER), *cells])]
    return "\n".join([*lines, "", textwrap.fill(comparison.method, _WIDTH), "", conclusion(comparison)]) + "\n"


def markdown(comparison: Comparison) -> str:
    """As GitHub-flavoured Markdown; names stand in code spans, in which nothing is markup."""
    parts = ["# Is it worse?", f"Baseline A: {code(_run(comparison.baseline))}", f"**{conclusion(comparison)}**"]
    for one in comparison.candidates:
        parts += [
            f"## {one.letter} against A",
            f"{one.letter}: {code(_run(one.run))}",
            f"**{comparison.headline(one)}**",
        ]
        if one.unpaired:
            parts.append(f"Unpaired: {words.visible(one.unpaired)}.")
        for family, rows in families(comparison.of(one)):
            cells = [line for _, pair in pairs(rows) for line in _pair_cells(pair, code)]
            parts += [f"### {code(family)}", f"({terms(rows)})", table(_HEADER, cells)]
        if one.differences:
            rows = [[code(d.what), code(d.baseline), code(d.candidate)] for d in one.differences]
            parts += ["The runs also differ in:", table(("what", "A", one.letter), rows)]
    return "\n\n".join([*parts, comparison.method]) + "\n"


def conclusion(comparison: Comparison) -> str:
    """Whether the comparison failed, in a sentence."""
    count, gates = len(comparison.failing), " or ".join(comparison.fail_on)
    if not gates:
        return f"{words.counted(len(comparison.table), 'row')} compared; nothing makes it fail."
    if count:
        return (
            f"FAILED: {count} of {words.counted(len(comparison.table), 'row')} {'is' if count == 1 else 'are'} {gates}."
        )
    missing = int((comparison.table["verdict"] == "missing").sum())
    there = len(comparison.table) - missing
    passed = f"Passed: {'the one row is not' if there == 1 else f'none of {there} rows is'} {gates}."
    if missing and "missing" not in comparison.fail_on:
        passed += f" {missing} more {'is' if missing == 1 else 'are'} missing, which --fail-on missing would forbid."
    return passed


def families(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each family, in order."""
    for family, found in rows.groupby("family", sort=False):
        yield str(family), found


def pairs(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """The rows of each pair of denoisers, in order."""
    for names, found in rows.groupby(["denoiser", "candidate"], sort=False):
        yield (str(names[0]), str(names[1])), found.to_dict("records")


def terms(rows: pd.DataFrame) -> str:
    """On what terms a family was compared: margin, pairing, images."""
    compared = rows[rows["pairing"] != ""]
    how = sorted(
        {
            f"{pairing} on {images} images"
            for pairing, images in zip(compared["pairing"], compared["images"], strict=True)
        }
    )
    return "; ".join([f"margin {rows['margin_db'].iloc[0]:g} dB", *how])


def is_bitwise(pair: list[dict[str, Any]]) -> bool:
    """Whether every band of a pair is bitwise the same."""
    return all(row["reason"] == BITWISE for row in pair)


def _pair_cells(pair: list[dict[str, Any]], show: Callable[[str], str] = words.visible) -> Iterator[list[str]]:
    """The cells of a pair's rows, one row where nothing differs; ``show`` writes names."""
    if is_bitwise(pair):
        row = pair[0]
        time, verdict = faster(row["seconds_ratio"]), f"same ({BITWISE})"
        yield [show(title(row)), "all", where(row), measured(row), signed(0.0), "", bits(row), time, verdict]
        return
    for row in pair:
        verdict = row["verdict"] + (f" ({show(row['reason'])})" if row["reason"] else "")
        name, value, time = show(title(row)), signed(row["difference_db"]), faster(row["seconds_ratio"])
        yield [name, row["band"], where(row), measured(row), value, ends(row), bits(row), time, verdict]


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; a name of more than 48 characters pushes its own row only."""
    widths = [
        max((len(row[column]) for row in rows if len(row[column]) <= 48), default=0) for column in range(len(_HEADER))
    ]
    for row in rows:
        left = [f"{cell:<{width}}" for cell, width in zip(row[:4], widths[:4], strict=True)]
        right = [f"{cell:>{width}}" for cell, width in zip(row[4:8], widths[4:8], strict=True)]
        yield "  ".join(["", *left, *right, row[8]]).rstrip()


def _run(run: Any) -> str:
    plan = run.manifest.plan
    return words.visible(f"{run.folder}  ({plan.images} images, seed {plan.seed}, split {plan.split})")


def _notes(candidate: Candidate) -> Iterator[str]:
    if candidate.unpaired:
        yield f"unpaired: {words.visible(candidate.unpaired)}"
    for found in candidate.differences:
        yield f"differs: {found.what}: {found.baseline} -> {found.candidate}"
