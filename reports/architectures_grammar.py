"""What a `bp-unet` has learned of a grammar, level by level, for reports/architectures.md."""

import math

import numpy as np
import torch
from architectures_kept import DASH, Law, table
from torch import Tensor, nn

import gahb_bench as gb
from gahb_bench.core import rng
from gahb_bench.families.hierarchy.law import Hierarchy
from gahb_bench.networks import weights

GRAMMAR = "hierarchy:depth=5,rules=grammar"
IMAGES = 512
_SIGMA = 1e-3  # the symbols of clean pixels are certain
_DRAWS = 20  # of tuples put together by chance
_NEVER = -30.0  # log-probability of what the law's rules do not write


def learned(law: Law) -> str:
    """What clean blocks cost under each learned tree, and what its symbols tell, beside the law's own rules."""
    family = gb.family(law.family)
    assert isinstance(family, Hierarchy)
    sides = [2 ** (level + 1) for level in range(family.depth)]
    rows = [["tree", "core-minutes", "mean regret", "worst", *(f"{side} x {side}" for side in sides), "symbols told"]]
    rows.append(["the law's rules", DASH, DASH, DASH, *numbers(family, with_rules_of(family))])
    rows.append(["its tuples, put together by chance", *[DASH] * (3 + family.depth), f"{by_chance(family):.2f}"])
    for one in law.networks:
        if one.network.startswith("bp-unet"):
            module, _ = weights.load(one.folder / "best.safetensors")
            row = law.summary.loc[one.spec]
            regret = f"{row['mean_regret_db']:.2f} dB", f"{row['worst_regret_db']:.1f} dB"
            rows.append([f"`{one.network}`", f"{one.minutes:.1f}", *regret, *numbers(family, module)])
    return table(rows)


@torch.no_grad()
def numbers(family: Hierarchy, tree: nn.Module) -> list[str]:
    """Mean ``-log2 P(block)`` of clean blocks of 2, 4, ... pixels a side, of whatever place, under a tree's rules; and
    the mutual information, in bits, of the symbols above the pixels in the tree and in the law.
    """
    batch = family.sample(range(IMAGES), split="test")
    priors = marginals(tree)
    logs = -0.5 * ((batch.images[..., None] - tree.intensities) / _SIGMA).square().clamp(max=400).flatten(0, 1)
    bits, told = [], 0.0
    for level in reversed(range(family.depth)):
        logs, _ = tree._up(level, logs)
        weighted = logs + priors[level].log()
        bits.append(-float(weighted.logsumexp(dim=-1).mean()) / math.log(2))
        if level == family.depth - 1:
            told = information(weighted.softmax(dim=-1).flatten(0, 2), batch.latents[f"level{level}"].flatten())
    return [*(f"{value:,.1f}" for value in bits), f"{told:.2f}"]


def by_chance(family: Hierarchy) -> float:
    """What symbols tell that hold as many tuples as the law's, but any: the mean over draws, of tuples as frequent."""
    own = torch.arange(family.symbols).repeat_interleave(family.productions)
    stream = rng.generator("grammar", "by chance")
    shuffled = (own[torch.from_numpy(stream.permutation(len(own)))] for _ in range(_DRAWS))
    return sum(information(nn.functional.one_hot(other), own) for other in shuffled) / _DRAWS


def information(law: Tensor, symbols: Tensor) -> float:
    """Mutual information, in bits, of symbols with laws ``(n, q)`` and symbols that are known, ``(n,)``."""
    joint = nn.functional.one_hot(symbols, law.shape[1]).double().T @ law.double() / len(law)
    apart = joint.sum(dim=0, keepdim=True) * joint.sum(dim=1, keepdim=True)
    return float(torch.where(joint > 0, joint * (joint / apart).log2(), 0).sum())


def marginals(tree: nn.Module) -> list[Tensor]:
    """The law of a symbol of each level, ``(q,)``, the root first: the mean over its places."""
    laws = [tree.root.softmax(dim=-1)[None]]  # (places, q)
    for level in range(len(tree.transitions)):
        choices = torch.ones(len(tree.root), 1) if tree.choices is None else tree.choices[level].softmax(dim=-1)
        rule = (laws[-1][..., None] * choices).flatten(-2)
        laws.append(torch.einsum("ic,pcb->ipb", rule, tree._rules(level)).flatten(0, 1))
    return [law.mean(dim=0) for law in laws]


def with_rules_of(family: Hierarchy) -> nn.Module:
    """The `bp-unet` whose rules are the law's own."""
    network = gb.network(f"bp-unet:symbols={family.symbols},productions={family.productions}")
    tree = network.build(family.shape, 0.5, 0.3)
    written = torch.from_numpy(np.ascontiguousarray(family.tuples)).flatten(1, 2).transpose(1, 2)  # (L, 4, q m)
    tree.transitions.data.fill_(_NEVER).scatter_(-1, written[..., None], 0.0)
    return tree
