"""Recomputes ``markov-contours.csv``, the stored exact MMSE: python datasets/reference/make_markov_contours.py

Resumable; one core, one thread: about a minute for alpha = 1/2 and half an hour for alpha = 3/2.
"""

from pathlib import Path

import numpy as np
import torch

from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.families.markov_contours.optimum import TABLE, posterior_variances
from gahb_bench.tables.reference_tables import add_row, read_rows

# the default noise levels 10^-2.5 ... 10^0.5 over the default contrast 1/2
LEVELS = [2 * 10 ** (-2.5 + i / 4) for i in range(13)]
# levels at which the MMSE was also measured by other programs
MORE = [0.05, 0.1, 0.3, 1.0, 3.0, 8.0]
PLAN = [
    (MarkovContours.from_parameters({"contrast": 1.0}), sorted(LEVELS + MORE), 512),
    (MarkovContours.from_parameters({"alpha": 1.5, "contrast": 1.0}), LEVELS, 128),
]

if __name__ == "__main__":
    torch.set_num_threads(1)
    path = Path(__file__).parent / TABLE
    for family, levels, images in PLAN:
        rows = read_rows(path) if path.exists() else []
        stored = [float(row["level"]) for row in rows if row["family"] == family.spec]
        for level in levels:
            if any(np.isclose(level, known, rtol=1e-9) for known in stored):
                continue
            variances = posterior_variances(family, level, range(images))
            error = float(variances.std(ddof=1) / np.sqrt(images))
            row = {"family": family.spec, "level": level, "images": images, "mmse": float(variances.mean())}
            add_row(path, {**row, "mmse_se": error})
            print(f"{family.spec}: sigma/contrast={level:.4g}: {variances.mean():.4g} +- {error:.1g}", flush=True)
