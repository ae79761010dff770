"""The posterior of tiny `hierarchy` images by enumeration of all q^16 images of depth 2: an independent route.

Nothing is shared with the messages: the prior of every image is tabulated from the rules,

    A[b, k] = P(the four pixels of a patch are k | its parent is b)
    P(image k1 k2 k3 k4 | root r) = sum over b1 .. b4 of P(b1, b2, b3, b4 | r) A[b1, k1] A[b2, k2] A[b3, k3] A[b4, k4]

with k over the q^4 patches; times the likelihood it is the posterior of every image, and moments are sums over it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray, Images, PerImage
from gahb_bench.families.hierarchy.law import Hierarchy


@dataclass(frozen=True)
class Enumerated:
    """Posterior mean, per-pixel variance, Var(<v, x> | y), and law of the root ``(n, q)``."""

    mean: Images
    variance: PerImage
    variance_along: PerImage
    root: Tensor


def tiny_trees(family: Hierarchy) -> list[Hierarchy]:
    """Trees of depth 2 with the family's kind of rules, small enough to enumerate in a moment."""
    base = {"rules": family.rules, "depth": 2, "symbols": 2, "key": family.key}
    return [
        Hierarchy.from_parameters({**base, "concentration": concentration, "productions": productions})
        for concentration, productions in ((family.concentration, 2), (1.0, 5))
    ]


def enumerate_posterior(family: Hierarchy, y: Images, sigma: float, v: Images) -> Enumerated:
    """Posterior of a depth-2 tree over all its images. Time and memory grow as q^16: q is at most 3."""
    if family.depth != 2 or family.symbols > 3:
        raise UsageError(f"{family.spec} has too many images to enumerate: depth=2 and symbols <= 3.")
    q = family.symbols
    patches = np.stack(np.meshgrid(*[np.arange(q)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    values = family.intensities[patches]  # (q^4, 4)
    bottom = np.stack([_patch_law(family, 1, a, patches) for a in range(q)])  # A
    top = np.stack([_patch_law(family, 0, a, patches) for a in range(q)])  # of the four symbols of level 1
    top = top.reshape(q, q, q, q, q)
    results = [_one(values, bottom, top, a, b, sigma) for a, b in zip(_blocks(y), _blocks(v), strict=True)]
    mean, variance, along, root = (np.stack(part) for part in zip(*results, strict=True))
    image = mean.reshape(-1, 2, 2, 2, 2).swapaxes(2, 3).reshape(-1, 1, 4, 4)
    return Enumerated(*(torch.from_numpy(array) for array in (image, variance, along, root)))


def _patch_law(family: Hierarchy, level: int, parent: int, patches: np.ndarray) -> FloatArray:
    """P(the children of a parent are each of the patches), ``(q^4,)``."""
    if family.rules == "grammar":
        written = family.tuples[level][parent]
        return (patches[:, None, :] == written[None]).all(axis=-1).sum(axis=1) / family.productions
    return np.prod([family.transitions[level, p, parent][patches[:, p]] for p in range(4)], axis=0)


def _blocks(images: Images) -> FloatArray:
    """``(n, 1, 4, 4)`` as ``(n, 4, 4)``: patch, pixel in patch."""
    return images.reshape(-1, 2, 2, 2, 2).transpose(2, 3).reshape(-1, 4, 4).double().numpy()


def _one(
    values: FloatArray, bottom: FloatArray, top: FloatArray, y: FloatArray, v: FloatArray, sigma: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Moments of one image's posterior: patch means ``(4, 4)``, per-pixel variance, Var(<v, x>|y), law of the root."""
    distance = ((y[:, None] - values) ** 2).sum(axis=-1)  # (patch, k)
    likelihood = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / (2 * sigma**2))
    law = np.zeros((len(values),) * 4)
    root = np.zeros(len(top))
    for r, symbols in enumerate(top):
        joint = symbols  # P(b1, b2, b3, b4 | r), of which each axis in turn becomes P(k_p, y_p | b_p)
        for patch in likelihood:
            joint = np.tensordot(joint, bottom * patch, axes=(0, 0))
        root[r] = joint.sum()
        law += joint
    law /= law.sum()
    marginals = [law.sum(axis=tuple(axis for axis in range(4) if axis != p)) for p in range(4)]
    mean = np.stack([marginal @ values for marginal in marginals])
    variance = np.asarray(np.mean([marginals[p] @ (values - mean[p]) ** 2 for p in range(4)]))
    parts = [(values - mean[p]) @ v[p] for p in range(4)]
    rest = np.add.outer(np.add.outer(parts[1], parts[2]), parts[3])  # <v, x - mean> but for the first patch
    along = sum((table * (part + rest) ** 2).sum() for table, part in zip(law, parts[0], strict=True))
    return mean, variance, np.asarray(along), root / root.sum()
