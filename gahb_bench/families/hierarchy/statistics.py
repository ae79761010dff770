"""What is measured of samples of ``hierarchy``: whether its rules can write them, and how often each rule is used."""

import numpy as np
import torch
from numpy.typing import NDArray

from gahb_bench.core.images import FloatArray
from gahb_bench.core.statistics import Described, SampleStatistics, Seen, describe_distance
from gahb_bench.core.two_samples import Found, TwoSamples, share
from gahb_bench.families.hierarchy.law import Hierarchy
from gahb_bench.families.hierarchy.messages import rules_of, transitions_used, upward

_NEVER = -1e4  # log evidence of a symbol that a pixel is not
_AT_ONCE = 64  # images


class HierarchyStatistics(SampleStatistics[Hierarchy]):
    """Of the images read as symbols, each pixel as the nearest one.

    `made of symbols`: the share of images within 3 tolerances of the image of those symbols.

    With ``rules=grammar``, which is parsed exactly: `grammatical at level l`, the share of images with every patch at
    that level, and so at all below, written by a rule; at level 0 the whole image is. `rules of level l`: frequencies
    of the rules used.

    With ``rules=independent``, where every image can be written in many ways: `log-likelihood`, the law of the
    log-probability of the symbols (Kolmogorov-Smirnov, and its extremes). `rules of level l`: frequencies of a child
    given its parent, by the expected number of each (position, parent, child) given the image (sum-product), whose mean
    over images of the law is that of the law.

    Frequencies are compared in standard deviations of an image, by permutation; shares are 1 under the law, and their
    p-values forgive 1 %.
    """

    def describe(self, seen: Seen) -> Described:
        law, symbols = self.family, self.family.read(seen.clean.numpy())
        written = torch.from_numpy(law.intensities[symbols])[:, None]
        rules = self._parsed(seen.clean.numpy()) if law.rules == "grammar" else self._expected(symbols)
        return {"symbols": describe_distance(seen, written)["near"], **rules}

    def _parsed(self, images: FloatArray) -> Described:
        law, found = self.family, {}
        for level, rules in enumerate(law.parse(images)):
            found[f"level{level}"] = (rules >= 0).all(axis=(1, 2)).astype(np.float64)
            used = [np.bincount(own[own >= 0], minlength=law.symbols * law.productions) for own in rules]
            found[f"rules{level}"] = np.stack(used) / 4**level
        return found

    def _expected(self, symbols: NDArray[np.int64]) -> Described:
        law = self.family
        rules, parts = rules_of(law, torch.device("cpu")), []
        for some in np.array_split(symbols, -(-len(symbols) // _AT_ONCE)):
            one_hot = torch.nn.functional.one_hot(torch.from_numpy(some), law.symbols).double()
            evidence = upward(_NEVER * (1 - one_hot), rules)
            parts.append([evidence.total, *transitions_used(evidence, rules)])
        total, *used = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
        counts = {f"rules{level}": each / 4**level for level, each in enumerate(used)}
        return {"log-likelihood": total, **counts}

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        found, name = {"made of symbols": share(samples["symbols"])}, "log-likelihood"
        if self.family.rules == "independent":
            found[name] = tests.distribution(samples[name], exact[name])
            found[f"{name}: extremes"] = tests.extremes(samples[name], exact[name])
        for level in range(self.family.depth):
            if self.family.rules == "grammar":
                found[f"grammatical at level {level}"] = share(samples[f"level{level}"])
            rules = f"rules{level}"
            found[f"rules of level {level}"] = tests.mean_difference(samples[rules], exact[rules])
        return found
