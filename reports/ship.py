"""Make trained weights part of the package: rounded, with their regret at the default noise levels.

    python reports/ship.py trained/calpha-edm-unet/best.safetensors calpha-32

The regret is measured on 128 images of split test, seed 0, after rounding; there is none where the optimum vanishes. It
and the recipe stand in the file's header (and, by `python reports/tables.py`, in the documentation).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.networks import weights
from gahb_bench.networks.recipe import read_recipe

IMAGES = 128
FEW = 2**18  # bytes
SHIPPED = Path(__file__).parents[1] / "gahb_bench" / "networks" / "pretrained"


def main(source: Path, name: str) -> None:
    """Round, score, write."""
    recipe, tensors = without_folders(read_recipe(source)), weights.read_tensors(source)
    kept = rounded(tensors)
    SHIPPED.mkdir(exist_ok=True)
    target = SHIPPED / f"{name}.safetensors"
    weights.save(target, kept, recipe)
    law = gb.family(recipe["family"])
    ran = [f"network:weights={name}"] + (["mmse"] if law.reference(DEFAULT_SIGMAS).kind == "exact" else [])
    curve = gb.curves(gb.score(law, ran, DEFAULT_SIGMAS, images=IMAGES))
    rows = curve[curve["denoiser"] == ran[0]]
    columns = {"regret_db": "regret_db", "low": "regret_db_low", "high": "regret_db_high"}
    measured = {
        key: [round(value, 4) if np.isfinite(value) else None for value in rows[column]]
        for key, column in columns.items()
    }
    kind = str(rows["reference_kind"].iloc[0])
    test = {"images": IMAGES, "sigma": list(DEFAULT_SIGMAS), "reference": kind, **measured}
    weights.save(target, kept, recipe | {"test": test})
    known = [value for value in measured["regret_db"] if value is not None]
    print(f"{name}: mean regret {np.mean(known):.3f} dB, worst {max(known):.3f} dB, {len(known)} levels")


def rounded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Numbers in half precision, unless they are few."""
    if sum(value.nbytes for value in tensors.values()) < FEW:
        return tensors
    return {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}


def without_folders(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe with the weights it started from named by their file alone."""
    if not recipe.get("initial"):
        return recipe
    settings = recipe["settings"] | {"initial": Path(recipe["settings"]["initial"]).name}
    return recipe | {"settings": settings, "initial": without_folders(recipe["initial"])}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
