"""reports/architectures.md: architectures on equal terms, each beside the optimum: python reports/architectures.py

    python -m gahb_bench train --plan reports/architectures.toml       trains them (15 minutes of one core each)
    python reports/architectures.py trained/architectures              keeps what is finished, then makes the page

Of each finished training settings, log and best weights (in half precision unless they are few) are kept in
reports/architectures/; the scores of all networks of a law stand in reports/architectures/runs/. A second go computes
only what is new.
"""

import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import torch
from architectures_grammar import GRAMMAR, learned
from architectures_grammar import IMAGES as BLOCKS
from architectures_kept import FOLDER, HERE, MATCHED, Law, Trained
from architectures_learning import FIT, by_images, draw, learning
from architectures_tables import bias, budgets, matrix, receptive, seeds
from geometry import table as jacobians
from ship import rounded

import gahb_bench as gb
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.networks import weights
from gahb_bench.networks.recipe import read_recipe, shipped_for
from gahb_bench.running import engine
from gahb_bench.running.geometry.carry_out import measure_all
from gahb_bench.running.geometry.folder import read
from gahb_bench.running.plan import make_plan
from gahb_bench.training import plan as plans

IMAGES = 64
GEOMETRY_IMAGES, GEOMETRY_SIGMAS = 4, (0.1, 0.3)
TREE = "hierarchy:depth=5"
MAIN = ("calpha:size=32", "calpha-contours:size=32", "disks:size=32", TREE)


def keep(source: Path) -> None:
    """Take the finished trainings of a plan's folder into the project, rounded."""
    for folder in sorted(source.iterdir()):
        if not (folder / "last.safetensors").exists():
            continue
        last, best = read_recipe(folder / "last.safetensors"), folder / "best.safetensors"
        if last["step"] < last["settings"]["steps"]:
            continue
        target = FOLDER / folder.name
        target.mkdir(parents=True, exist_ok=True)
        weights.save(target / best.name, rounded(weights.read_tensors(best)), read_recipe(best))
        for name in ("training.json", "log.jsonl"):
            shutil.copyfile(folder / name, target / name)
        print(f"kept {folder.name}", flush=True)


def trained() -> list[Trained]:
    """All trainings that are kept, seed by seed."""
    found = [Trained(path.parent) for path in sorted(FOLDER.glob("*/best.safetensors"))]
    return sorted(found, key=lambda one: (one.seed, one.network))


def scored(family: str, those: list[Trained]) -> pd.DataFrame:
    """The summary of a run of all networks of a law, computed as far as it is not there: rows by denoiser spec."""
    law = gb.family(family)
    exact = ["mmse"] if law.reference(DEFAULT_SIGMAS).kind == "exact" or law.name == "hierarchy" else []
    local = [f"local-mmse:patch={field}" for field in fields(those)] if law.name == "calpha" else []
    old = [f"network:weights={name}" for name in shipped_for(law.spec)]
    plan = make_plan([law], [*exact, *local, *old, *(one.spec for one in those)], images=IMAGES)
    name = re.sub(r"[^\w=.]+", "-", family)
    outcome = engine.run(plan, FOLDER / "runs" / name, command="python reports/architectures.py")
    return outcome.summary.set_index("denoiser")


def fields(those: list[Trained]) -> list[int]:
    """The receptive fields of the `rf-cnn` among them."""
    found = [re.search(r"rf-cnn:.*?field=(\d+)", one.recipe["network"]) for one in those]
    default = [9 for one in those if one.network == "rf-cnn"]
    return sorted({int(match[1]) for match in found if match} | set(default))


def geometry(law: Law) -> str:
    """The Jacobians of the best and the worst general network of a law."""
    ranked = sorted(law.general, key=lambda one: law.regret(one.spec))
    if len(ranked) < 2:
        return ""
    pair = [ranked[0], ranked[-1]]
    exact = ["mmse"] if "mmse" in law.summary.index else []
    plan = make_plan([law.family], [*exact, *(one.spec for one in pair)], GEOMETRY_SIGMAS, GEOMETRY_IMAGES)
    folder = FOLDER / "geometry" / re.sub(r"[^\w=.]+", "-", law.family)
    measure_all(plan, folder, command="python reports/architectures.py")
    rows = read(folder).rows.replace({"denoiser": {one.spec: one.network for one in pair}})
    return f"`{law.family}`:\n\n{jacobians(rows, law.family)}\n"


PAGE = """\
# Architectures on equal terms, each beside the optimum

Made by `python reports/architectures.py` from the trainings in `reports/architectures/`, which
`python -m gahb_bench train --plan reports/architectures.toml` makes: the same images in the same order, the same
schedule, the same minutes of one core. {done} of {planned} trainings are in.

## The matrix

Mean regret over noise levels in dB, with half of its 95 % interval over images, ({images} images of split test); in
brackets the worst over noise levels, and excess bits a pixel where the exact posterior mean is known at every level. ◆
marks the architecture that has the form of the law's optimum; bold is the best of a law.

{matrix}

{seeds}

## What is an inductive bias worth?

{bias}

## Curves of learning

![Mean regret against core-minutes and images seen](architectures/learning.png)

Mean regret on split val of the running average of the weights. A *rate* is the exponent b of regret ~ minutes^-b, with
its 95 % interval, fitted between {start:.0%} and {stop:.0%} of the steps, and stated where it explains at least 0.9 of
the variance; at the end the cosine brings more than any power law. Minutes beyond the budget are extrapolated along it.

{learning}

How the error of the matched tree falls on `{tree}` as images are seen, and that of the general ones:

{by_images}

## Rules that write four children together

On `{grammar}` a symbol becomes one of its 16 tuples of four, and no two tuples are the same. `bp-unet` with one
production cannot hold such rules; with 16 it can. What it has learned of them, in bits: `-log2` of the probability of a
clean block under the tree's rules, means over {blocks} images of split test (a tree that knows the lowest rules and
nothing above pays four times the bits for each block four times as large); and the *symbols told*, the information
that its symbols of the level above the pixels have on those of the law.

{grammar_table}

The rules between that level and the pixels are learned nearly whole, and none above. Which 16 of the 256 tuples are
one symbol does not show in the tuples, only in which of them stand beside each other. The tree has put them together in
an order of its own, which tells as much of the law's symbols as chance would, so that there are no rules above to be
found, and to put one tuple elsewhere raises the loss. The regret that is left is where the noise hides single pixels
and only symbols of higher levels tell them.

## A receptive field against its optimum

`rf-cnn` sees field x field pixels. What the best denoiser of that field loses on the optimum is the part of the
architecture (`local-mmse`, a closed form); the rest, on the same images, is the part of the training and of being
blind to σ. No network may be below the optimum of its own field by more than 3 standard errors.

{receptive}

## The best and the worst in their Jacobians

The general architectures with the least and the largest mean regret of each law, beside the optimum where its posterior
covariance is known; means over {geometry_images} images. [reports/geometry.md](geometry.md) says what the columns are.

{geometry}
## What the budget bought

{budgets}
"""


def main() -> None:
    torch.set_num_threads(1)
    for source in sys.argv[1:]:
        keep(Path(source))
    known = trained()
    order = [*MAIN, *(family for family in MATCHED if family not in MAIN)]
    order += [family for family in dict.fromkeys(one.family for one in known) if family not in order]
    laws = []
    for family in order:
        those = [one for one in known if one.family == family]
        if those:
            laws.append(Law(family, those, scored(family, those)))
            print(f"{family}: {len(those)} networks", flush=True)
    draw(laws, FOLDER / "learning.png")
    by_family = {law.family: law for law in laws}
    page = PAGE.format(
        done=len(known),
        planned=len(plans.read(HERE / "architectures.toml")),
        images=IMAGES,
        matrix=matrix(laws),
        seeds=seeds(laws),
        bias=bias(laws),
        start=FIT[0],
        stop=FIT[1],
        learning=learning(laws),
        receptive=receptive(by_family["calpha:size=32"]),
        tree=TREE,
        by_images=by_images(by_family[TREE], [MATCHED[TREE], *(one.network for one in by_family[TREE].general)]),
        grammar=GRAMMAR,
        grammar_table=learned(by_family[GRAMMAR]),
        blocks=BLOCKS,
        geometry="\n".join(geometry(law) for law in laws if law.family in MAIN),
        geometry_images=GEOMETRY_IMAGES,
        budgets=budgets(laws),
    )
    (HERE / "architectures.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
