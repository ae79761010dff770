"""A comparison for programs: JSON, and JUnit XML for the test page of a continuous integration."""

import json
import math
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from gahb_bench.reporting.comparison.content import Comparison
from gahb_bench.reporting.comparison.text import families
from gahb_bench.reporting.comparison.words import bits, ends, measured, signed, title
from gahb_bench.reporting.study import words
from gahb_bench.running.folder import RunData
from gahb_bench.scoring.intervals import LEVEL

SCHEMA = 1


def as_json(comparison: Comparison) -> str:
    """All rows, all noise levels and all differences of the runs; what is not a number is null. Plain ASCII."""
    content = {
        "schema": SCHEMA,
        "failed": bool(len(comparison.failing)),
        "fail_on": list(comparison.fail_on),
        "level": LEVEL,
        "comparisons": comparison.comparisons,
        "method": comparison.method,
        "baseline": _run(comparison.baseline),
        "candidates": [
            {
                "run": one.letter,
                **_run(one.run),
                "unpaired": one.unpaired,
                "differences": [vars(found) for found in one.differences],
            }
            for one in comparison.candidates
        ],
        "bands": _records(comparison.table),
        "levels": _records(comparison.levels),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def junit(comparison: Comparison) -> str:
    """JUnit XML: a suite per candidate and family, a case per denoiser and band.

    A verdict that makes the comparison fail is a failure; any other that is neither same nor better is skipped.
    """
    root = ElementTree.Element("testsuites", name="gahb_bench compare")
    for one in comparison.candidates:
        for family, rows in families(comparison.of(one)):
            suite = ElementTree.SubElement(root, "testsuite", name=f"{one.letter} against A: {words.visible(family)}")
            counts = {"tests": len(rows), "failures": 0, "errors": 0, "skipped": 0}
            for row in rows.to_dict("records"):
                kind = _outcome(row["verdict"], comparison.fail_on)
                name = f"{title(row)} [{row['band'] or row['verdict']}]"
                case = ElementTree.SubElement(suite, "testcase", classname=words.visible(family), name=name, time="0")
                if kind:
                    counts["failures" if kind == "failure" else "skipped"] += 1
                    told = ElementTree.SubElement(case, kind, message=_message(row))
                    if kind == "failure":
                        told.set("type", row["verdict"])
            suite.attrib.update({name: str(count) for name, count in counts.items()})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _outcome(verdict: str, fail_on: tuple[str, ...]) -> str:
    if verdict in fail_on:
        return "failure"
    return "" if verdict in ("same", "better") else "skipped"


def _message(row: dict[str, Any]) -> str:
    difference = f"{signed(row['difference_db'])} dB {ends(row)} by {measured(row)}, margin {row['margin_db']:g} dB"
    if words.finite(row["difference_bits"]):
        difference += f", {bits(row)} bits a pixel"
    parts = [row["verdict"], difference if words.finite(row["difference_db"]) else "", words.visible(row["reason"])]
    return ": ".join(part for part in parts if part)


def _run(run: RunData) -> dict[str, Any]:
    plan = run.manifest.plan
    return {
        "folder": str(run.folder),
        "results_version": run.manifest.results_version,
        "images": plan.images,
        "seed": plan.seed,
        "split": plan.split,
    }


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in row.items()} for row in rows.to_dict("records")]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
