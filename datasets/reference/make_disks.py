"""Makes disks.csv: the mean posterior variance of ``disks`` (d = 5, edge 1), sizes 64, 32, 80, 15 noise levels.

    OMP_NUM_THREADS=1 python datasets/reference/make_disks.py [disks.csv]

Each level is 2,048 frozen images. The file is rewritten after every level and finished levels are kept, so the script
can be killed and run again. About 40 minutes of one core.
"""

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.reference import TABLE_IMAGES, compute

SIZES = (64, 32, 80)
QUARTERS = (range(-10, 3), range(3, 5))  # of a decade: the default levels of a run first, for all sizes, then beyond


def main(path: Path) -> None:
    torch.set_num_threads(1)
    rows: dict[tuple[int, float], dict[str, Any]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {(int(row["size"]), float(row["sigma"])): row for row in csv.DictReader(file)}
    for quarters in QUARTERS:
        for size, sigma in ((size, 10 ** (quarter / 4)) for size in SIZES for quarter in quarters):
            if (size, sigma) in rows:
                continue
            level = compute(Disks.from_parameters({"size": size}), sigma, TABLE_IMAGES)
            rows[size, sigma] = {"size": size, **asdict(level)}
            print(size, level, flush=True)
            partial = path.with_suffix(".partial")
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[size, sigma]))
                writer.writeheader()
                writer.writerows(rows[key] for key in sorted(rows))
            partial.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("disks.csv"))
