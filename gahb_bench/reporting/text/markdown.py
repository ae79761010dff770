"""The report as text: what a terminal, a pull request or a notebook can show."""

from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.leaderboard import leaderboard
from gahb_bench.reporting.study.merge import Source
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.provenance import facts, settings
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.text.markdown_overview import overview
from gahb_bench.reporting.text.markdown_text import code, table
from gahb_bench.scoring.summary import FIT_RANGE


def render(content: Content) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    status = "complete" if content.complete else "partial"
    parts = [
        "# How far from the optimum?",
        f"{', '.join(settings(content))}. Status: **{status}**"
        + (f", {content.troubles} of {content.cells} cells have no number." if content.troubles else "."),
        "Regret is the distance to the optimum in decibels: 0 dB is the optimum, 3 dB is twice its error. "
        "In brackets: 95 % intervals over images.",
        *([overview(leaderboard(content))] if len(content.sections) > 1 else []),
        *(_section(section, content) for section in content.sections),
        "## Where these numbers come from",
        *(_source(source, len(content.sources) > 1) for source in content.sources),
    ]
    return "\n\n".join(parts) + "\n"


def _source(source: Source, named: bool) -> str:
    lines = "\n".join(f"- {name}: {code(value)}" for name, value in facts(source.run.manifest))
    return f"### Run {source.number}: {code(source.name)}\n\n{lines}" if named else lines


def _section(section: Section, content: Content) -> str:
    title, sentence = words.REFERENCE_KIND[section.reference.kind]
    parts = [
        f"## {code(section.label)}",
        f"The optimum here is **{title}**. {sentence} {words.how_sure(section.reference)}".rstrip(),
        words.sentence(section.reference.note),
        *(
            f"**{code(method.label)} is below the optimum, which nothing that sees only the noisy image can be.** Most "
            "likely it has seen the clean image, or its label is wrong."
            for method in section.impossible
        ),
        _checked(section),
        _origin(section, content),
        _results(section, content),
        _exponents(section),
        _troubles(section, content),
    ]
    return "\n\n".join(part for part in parts if part)


def _origin(section: Section, content: Content) -> str:
    """Which runs its numbers come from, where the page has several."""
    if len(content.sources) == 1:
        return ""
    study = section.study
    parts = [
        f"run {source.number}: "
        + ", ".join(code(m.spec) for m in section.methods if source in [origin for origin, _ in m.planned.sources])
        for source in section.sources
    ]
    return f"{study.images} images, seed {study.seed}, split {study.split}. From {'; '.join(parts)}."


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
    labels, sigmas = content.sigma_labels, section.shown_sigmas
    what = "dB" if section.has_regret else "MSE"
    header = ["denoiser", "knows", *(["mean regret, dB"] if section.has_regret else [])]
    header += [f"{what} at σ = {labels[sigma]}" for sigma in sigmas]
    rows = []
    for method in section.methods:
        mean = [words.decibel(method.mean_regret) + _levels(method)] if section.has_regret else []
        cells = [_cell(method, sigma, section.has_regret) for sigma in sigmas]
        rows.append([code(method.spec), method.knows, *mean, *cells])
    return table(header, rows)


def _levels(method: Method) -> str:
    return f" ({len(method.curve)} of {len(method.planned.sigmas)} levels)" if method.troubles else ""


def _cell(method: Method, sigma: float, has_regret: bool) -> str:
    row = method.at(sigma)
    if row is None:
        return "failed" if sigma in method.planned.sigmas else "–"
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
    return f"{intro}\n\n{table(header, rows)}" + (f"\n\n{theory}" if theory else "")


def _troubles(section: Section, content: Content) -> str:
    if not section.troubles:
        return ""
    lines = [
        f"- {code(trouble.denoiser)} at σ = {content.sigma_labels[trouble.sigma]}: {code(trouble.reason)}"
        for trouble in section.troubles
    ]
    return "Cells without a number:\n\n" + "\n".join(lines)
