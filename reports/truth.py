"""reports/truth.md: how well each law's optimum agrees with itself by two independent routes.

    OMP_NUM_THREADS=1 python reports/truth.py

The same as ``python -m gahb_bench verify --all``, a row a law. About half an hour of one core; exits with 1 if an
identity is violated, and then writes nothing.
"""

import sys
from itertools import groupby
from pathlib import Path

import torch
from scipy import stats

from gahb_bench.core.optimum import Check
from gahb_bench.verification.identities import SIGMAS, Z
from gahb_bench.verification.verify import Verified, all_laws, verify_laws

IMAGES = 256
TRUTH = Path(__file__).with_name("truth.md")
PAGE = """\
# Is the optimum the optimum?

What every score here is held against has to be right. So each law's optimum is checked by identities that only the
right one satisfies, each comparing two routes to the same number (`python -m gahb_bench verify --all`). This page is
made by `python reports/truth.py`: {images} images of split val, seed 0, noise levels {levels}; {count} identities of
{laws} laws, all of which hold.

{table}

Each row names, of its deterministic and of its statistical identities, the one that came closest to its tolerance.

**Deterministic** identities compare closed forms, quadratures and exact algorithms with derivatives, dense linear
algebra, enumeration or importance sampling, on small images where need be; the tolerance is what the numerics of
either route account for. **Statistical** ones are z-scores over images. With {statistical} of them and a bound of
{z:g}, a table in which everything is true fails by chance with a probability of at most {alarm:.2g} (Bonferroni, where
the central limit theorem holds). What they can see shrinks with the square root of the number of images. A test breaks
oracles by 3 %, their estimates and their variances, and sees the identities catch it.

The optimum is *exact* where the posterior mean is known; a *bracket* where the MMSE is only known to lie between two
ends, at some noise levels at least; *linear* where only the best linear denoiser is known. {without}

## The routes

{routes}
"""
IDENTITIES = {
    "1": "The mean squared error is the mean posterior variance, and both are the reference curve",
    "2": "The derivative of the estimate is the posterior covariance (second-order Tweedie formula)",
    "3": "No denoiser that sees only the noisy image is below the optimum",
    "4": "The error is orthogonal to the estimate",
    "5": "The integral of the MMSE is the mutual information (I-MMSE)",
    "6": "On a tiny case the optimum is that of an independent method",
    "7": "Limits of little and of much noise",
    "8": "Bounds are in their order: what knows more, the lower end, the upper end",
}


def main() -> None:
    """Verify every law, and write the page."""
    torch.set_num_threads(1)
    found = []
    for verified in verify_laws(all_laws(), IMAGES):
        if verified.check.applicable:
            found.append(verified)
        if not verified.check.passed:
            sys.exit(f"{verified.family}: {verified.check} is violated")
        print(f"{len(found):5d}  {verified.family}  {verified.check.identity}", flush=True)
    TRUTH.write_text(page(found), encoding="utf-8")


def page(found: list[Verified]) -> str:
    """The page, from all checks of all laws, law by law."""
    head = (
        "| law | optimum | identities | deterministic: closest | value | tolerance | statistical: closest | z | bound |"
    )
    rows = [head, "|" + "---|" * 9]
    for (family, optimum), group in groupby(found, key=lambda each: (each.family, each.optimum)):
        checks = [each.check for each in group]
        kinds = ([c for c in checks if not c.statistical], [c for c in checks if c.statistical])
        rows.append(f"| `{family}` | {optimum} | {len(checks)} | " + " | ".join(map(_closest, kinds)) + " |")
    statistical = sum(each.check.statistical for each in found)
    laws = dict.fromkeys(each.family for each in found)
    return PAGE.format(
        images=IMAGES,
        levels=", ".join(f"{sigma:g}" for sigma in SIGMAS),
        count=len(found),
        laws=len(laws),
        table="\n".join(rows),
        statistical=statistical,
        z=Z,
        alarm=statistical * 2 * stats.norm.sf(Z),
        without="The estimate of `disks` is no smooth function of the noisy image (its quadrature changes its rule), "
        "so its covariance is checked by importance sampling and by squared errors, not by a derivative.",
        routes="\n".join(_routes(found)),
    )


def _closest(checks: list[Check]) -> str:
    """The check that came closest to its tolerance, as cells of a row."""
    if not checks:
        return "– | – | –"
    worst = max(checks, key=lambda check: abs(check.value) / check.tolerance)
    name = worst.identity.partition("  ")[2].replace("|", "\\|")
    return f"{name} | {worst.value:.2g} | {worst.tolerance:.2g}"


def _routes(found: list[Verified]) -> list[str]:
    """What is compared with what, identity by identity."""
    lines = []
    for number, sentence in IDENTITIES.items():
        pairs = dict.fromkeys(each.check.routes for each in found if each.check.identity.startswith(number))
        lines.append(f"{number}. {sentence}: " + "; ".join(f"{one} = {other}" for one, other in pairs) + ".")
    return lines


if __name__ == "__main__":
    main()
