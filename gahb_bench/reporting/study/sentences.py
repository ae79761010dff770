"""The sentences of a report: what kind a regret is, what its bits are, how intervals are made, what was tuned."""

from collections.abc import Mapping, Sequence

from gahb_bench.core.optimum import Reference
from gahb_bench.reporting.study import words
from gahb_bench.running.folder import DenoiserRecord
from gahb_bench.scoring.intervals import FEW

# How a regret was measured, by kind: what it is called, and what it means.
REGRET_KIND = {
    "direct": (
        "direct",
        "10 log10(1 + excess / MMSE), where the excess is the squared distance of the estimate to the exact posterior "
        "mean of the same noisy image: the luck of the draw is not in it, it is never negative, and 0 is the optimum.",
    ),
    "paired": (
        "paired",
        "10 log10 of the ratio of its mean squared error to that of the denoiser that attains the reference, on the "
        "same images with the same noise: most of the luck of the draw cancels.",
    ),
    "reference": (
        "to the reference",
        "10 log10 of the ratio of its mean squared error on these images to the reference, which is a mean over all "
        "images: it carries the luck of the draw of these.",
    ),
    "bracket": (
        "to a bracket",
        "10 log10 of the ratio of its mean squared error to the middle of the bracket; the interval runs from the "
        "distance to the upper end to the distance to the lower, and carries the luck of the draw too.",
    ),
}

BITS = (
    "What the regrets over all noise levels are worth: excess/σ² integrated over ln σ, in bits a pixel. It bounds the "
    "Kullback-Leibler divergence between the law and what is sampled with the denoiser (at the least noise level, "
    "beside the mismatch at the greatest). Known where every regret is direct, from four noise levels on."
)

INTERVALS = (
    "Intervals are 95 % over images: of a mean, and of a ratio of means, by Student's t after the transformation that "
    "removes its skewness (Hall 1992); of what is taken over all noise levels (mean regret, bits, exponent) by a "
    "jackknife over images. What is not known of the reference is added. By simulation "
    "(reports/coverage.md) they hold in 92 to 97 % of runs where images are about equally hard; where rare ones carry "
    "the loss, as between far modes, in as few as 57 % on 16 images, and 80 % on 64 or 128, at the worst noise level."
)


def kinds(found: tuple[str, ...]) -> str:
    """The kinds of some regrets, in a few words; a dash where there is none.

    >>> kinds(("direct", "bracket"))
    'direct, to a bracket'
    """
    return ", ".join(REGRET_KIND[kind][0] for kind in found) or "–"


def bits(value: float) -> str:
    """Excess bits a pixel, to three digits; a dash where they are not known."""
    return words.number(value)


def bits_interval(low: float, high: float) -> str:
    """Their interval; empty where there is none."""
    return f"[{bits(low)}, {bits(high)}]" if words.finite(low) and words.finite(high) and low != high else ""


def bits_lost(shares: list[tuple[float, float]], labels: Mapping[float, str], most: int = 3) -> str:
    """The noise levels at which most bits are lost.

    >>> bits_lost([(0.1, 0.2), (1.0, 0.7), (10.0, 0.1)], {0.1: "0.1", 1.0: "1", 10.0: "10"}, 2)
    '70 % at σ = 1, 20 % at 0.1'
    """
    largest = sorted(shares, key=lambda share: -share[1])[:most]
    return ", ".join(f"{100 * share:.0f} % at {labels[sigma]}" for sigma, share in largest).replace("at ", "at σ = ", 1)


def unsure(sigmas: list[float], labels: Mapping[float, str]) -> str:
    """At which noise levels few images carry an error.

    >>> unsure([0.1], {0.1: "0.1"})
    'σ = 0.1'
    """
    return f"σ = {', '.join(labels[sigma] for sigma in sigmas)}"


UNSURE = (
    f"Fewer than {FEW:g} images, in effect, carry the error there ((Σv)²/Σv² of the excess where the regret is direct, "
    "of the MSE elsewhere): whether a rare image was drawn decides, and the interval may well miss."
)


def at_its_best(denoiser: DenoiserRecord, family: str) -> tuple[str, str]:
    """Whether a method is at its best on a family: an answer in a few words, and where its numbers come from.

    >>> at_its_best(DenoiserRecord(spec="tv:weight=1", knows="nothing", tuning="weight given by hand"), "calpha")
    ('as given', 'weight given by hand')
    """
    if denoiser.untuned:
        return "no: untuned", denoiser.tuning or ""
    if denoiser.tuned:
        return "yes: tuned here", denoiser.tuning or ""
    if denoiser.tuning:
        return "as given", denoiser.tuning
    if denoiser.trained_on:
        if denoiser.trained_on == family:
            return "trained here", f"{denoiser.architecture}, trained on this law"
        return "trained elsewhere", f"{denoiser.architecture}, trained on {denoiser.trained_on}"
    if denoiser.tuning is None:
        return "not recorded", "the run is of a version that did not say"
    return "nothing to tune", "it has no parameter that is tuned on images"


def at_the_edge(denoiser: DenoiserRecord) -> str:
    """At which noise levels a tuned value lies at an end of the range that was searched; empty where at none."""
    edges = [sigma for sigma, _, edge in denoiser.tuned if edge]
    levels = ", ".join(words.sigma_labels(edges).values())
    return f"at σ = {levels} it lies at an end of the range searched" if edges else ""


def verdict(agrees: bool | None) -> str:
    """Whether the measured optimum and the reference agree (`OracleCheck.agrees`)."""
    if agrees is None:
        return "too few images for a verdict"
    return "they agree" if agrees else "they disagree"


def mean_regret_note(exact: int, families: int, uneven: bool) -> str:
    """What a mean over families is made of, and what is left out of it."""
    if not exact:
        return "The optimum of none of these families is known exactly, so nothing is averaged over families."
    which = "all" if exact == families else f"the {exact} of {families}"
    text = (
        f"Means and worst values are over {which} families whose optimum is known exactly, each counted once (on "
        "the most images of it) with its mean over its own noise levels; a denoiser counts on a family where it has a "
        "number at every level that has a regret. Intervals are 95 % over the images of these families, and say "
        "nothing of other families."
    )
    if uneven:
        text += " Here not all denoisers count on the same families: their means are over different families, and "
        text += "cannot be compared directly."
    if exact < families:
        text += " Families with a bracket, an approximate law, the best linear denoiser or nothing as a reference "
        text += "stand in the matrix alone: their regrets are distances to something else, and are averaged with none."
    return text


def image_axis(kinds: Sequence[str], attaining: str | None, reference: Reference) -> tuple[str, str]:
    """What the error of one image is compared with: the title of an axis, and a sentence.

    Parameters
    ----------
    kinds : of the regrets on a family
    attaining : the denoiser that attains the reference, where it was scored
    """
    name = words.REFERENCE_NAME[reference.kind]
    if "direct" in kinds:
        text = (
            "Where a regret is direct, how far each image's estimate is from the exact posterior mean of the same "
            "noisy image: 10 log10(1 + excess / MMSE)."
        )
        if len(kinds) > 1:
            other = f"that of {attaining} on the same image" if attaining else f"the {name}"
            text += f" Elsewhere its error over {other}: luck may put either of them ahead."
        return "dB above the optimum", text
    if attaining:
        return (
            "dB above the optimum",
            f"Each image's error over that of {attaining} on the same image with the same noise: on one image luck may "
            "put either of them ahead.",
        )
    if reference.kind == "none":
        return "dB above its mean", "Each image's error over the method's own mean: no optimum is known here."
    return (
        f"dB above the {name.partition(' that ')[0]}",
        f"Each image's error over the {name}, which is a mean over images: what is high here "
        "may be an image that is hard for everybody.",
    )
