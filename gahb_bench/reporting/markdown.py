"""The report as text: what a terminal, a pull request or a notebook can show."""

import re
from collections.abc import Iterable, Sequence

from gahb_bench.reporting import words
from gahb_bench.reporting.content import FIT_RANGE, Content, Method, Section
from gahb_bench.reporting.html import facts


def render(content: Content) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    run = content.manifest
    parts = [
        "# How far from the optimum?",
        f"{run.plan.images} images, {len(content.sigmas)} noise levels, seed {run.plan.seed}, split {run.plan.split}. "
        f"Status: **{run.status}**"
        + (f", {content.troubles} of {content.cells} cells have no number." if content.troubles else "."),
        "Regret is the distance to the optimum in decibels: 0 dB is the optimum, 3 dB is twice its error. "
        "In brackets: 95 % intervals over images.",
        *(_section(section, content) for section in content.sections),
        "## Where these numbers come from",
        "\n".join(f"- {name}: {code(value)}" for name, value in facts(content)),
    ]
    return "\n\n".join(parts) + "\n"


def code(text: str) -> str:
    r"""Any text as an inline code span, in which nothing is markup, safe inside a table.

    >>> print(code("a|b"))
    `a\|b`
    """
    shown = words.visible(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}".replace("|", "\\|")


def _section(section: Section, content: Content) -> str:
    title, sentence = words.REFERENCE_KIND[section.reference.kind]
    parts = [
        f"## {code(section.spec)}",
        f"The optimum here is **{title}**. {sentence} {words.how_sure(section.reference)}".rstrip(),
        words.sentence(section.reference.note),
        *(
            f"**{code(method.label)} is below the optimum, which nothing that sees only the noisy image can be.** Most "
            "likely it has seen the clean image, or its label is wrong."
            for method in section.impossible
        ),
        _checked(section),
        _results(section, content),
        _exponents(section),
        _troubles(section, content),
    ]
    if section.rebuilt:
        parts.insert(1, f"This version cannot build the family again: {code(section.rebuilt)}.")
    return "\n\n".join(part for part in parts if part)


def _checked(section: Section) -> str:
    if section.check is None:
        return ""
    rows = section.check.rows
    text = (
        f"{code(section.check.denoiser)} attains the reference in theory: measured, it comes to "
        f"{rows['ratio'].min():.3f} to {rows['ratio'].max():.3f} times the reference"
    )
    z = section.check.largest_z
    text += f", at most {z:.1f} standard errors away." if words.finite(z) else "."
    return text + " Regrets are paired with it, image by image, so its own is exactly 0."


def _results(section: Section, content: Content) -> str:
    labels, sigmas = content.sigma_labels, content.shown_sigmas
    what = "dB" if section.has_regret else "MSE"
    header = ["denoiser", "knows", *(["mean regret, dB"] if section.has_regret else [])]
    header += [f"{what} at σ = {labels[sigma]}" for sigma in sigmas]
    rows = []
    for method in section.methods:
        mean = [words.decibel(method.mean_regret) + _levels(method, content)] if section.has_regret else []
        cells = [_cell(method, sigma, section.has_regret) for sigma in sigmas]
        rows.append([code(method.spec), method.knows, *mean, *cells])
    return _table(header, rows)


def _levels(method: Method, content: Content) -> str:
    return f" ({len(method.curve)} of {len(content.sigmas)} levels)" if method.troubles else ""


def _cell(method: Method, sigma: float, has_regret: bool) -> str:
    row = method.at(sigma)
    if row is None:
        return "failed"
    if not has_regret:
        return words.mse(row["mse"])
    interval = "" if row["regret_db"] == 0 else words.interval(row["regret_db_low"], row["regret_db_high"])
    return f"{words.decibel(row['regret_db'])} {interval}".rstrip()


def _exponents(section: Section) -> str:
    fitted = [(method, method.fit) for method in section.methods if method.fit is not None]
    if not fitted:
        return ""
    asymptotic = section.reference.asymptotic_exponent
    limit = "–" if asymptotic is None else f"{asymptotic:.3f}"
    rows = [
        [
            code(method.spec),
            words.with_error(fit.value, fit.standard_error),
            f"[{words.number(fit.low)}, {words.number(fit.high)}]",
            words.with_error(fit.reference, None),
            limit,
        ]
        for method, fit in fitted
    ]
    header = ["denoiser", "exponent", "over σ in", "reference, same fit, same size", "asymptotic theory"]
    intro = (
        f"Exponents, fitted to log MSE against log σ within [{FIT_RANGE[0]:g}, {FIT_RANGE[1]:g}], with standard errors:"
    )
    theory = section.exponents_of_theory
    return f"{intro}\n\n{_table(header, rows)}" + (f"\n\n{theory}" if theory else "")


def _troubles(section: Section, content: Content) -> str:
    if not section.troubles:
        return ""
    lines = [
        f"- {code(trouble.denoiser)} at σ = {content.sigma_labels[trouble.sigma]}: {code(trouble.reason)}"
        for trouble in section.troubles
    ]
    return "Cells without a number:\n\n" + "\n".join(lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("---:" if index else "---" for index in range(len(header) - 1))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])
