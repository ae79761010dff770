"""The report as text: what a terminal, a pull request or a notebook can show."""

from gahb_bench.reporting.study import sentences, words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.leaderboard import leaderboard
from gahb_bench.reporting.study.merge import Source
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.provenance import facts, settings
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.text.markdown_overview import overview
from gahb_bench.reporting.text.markdown_text import code, table, with_interval, worst_regret
from gahb_bench.scoring.summary import FIT_RANGE


def render(content: Content) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    status = "complete" if content.complete else "partial"
    parts = [
        "# How far from the optimum?",
        f"{', '.join(settings(content))}. Status: **{status}**"
        + (f", {content.troubles} of {content.cells} cells have no number." if content.troubles else "."),
        "Regret is the distance to the optimum in decibels: 0 dB is the optimum, 3 dB is twice its error. "
        f"{sentences.INTERVALS} {sentences.BITS}",
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
        _kinds(section),
        _results(section, content),
        _unsure(section, content),
        _at_its_best(section),
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
        f"Is this reference right? {code(section.check.denoiser)} attains it in theory: measured, it comes to "
        f"{rows['ratio'].min():.3f} to {rows['ratio'].max():.3f} times the reference"
    )
    z = section.check.largest_z
    told = f", at most {z:.1f} standard errors away: {sentences.verdict(section.check.agrees)}."
    return text + (told if words.finite(z) else ".")


def _kinds(section: Section) -> str:
    """What the regrets of this family are."""
    return "\n".join(f"- **{name}**: {text}" for name, text in map(sentences.REGRET_KIND.__getitem__, section.kinds))


def _results(section: Section, content: Content) -> str:
    labels, sigmas = content.sigma_labels, section.shown_sigmas
    what = "dB" if section.has_regret else "MSE"
    regrets = ["regret", "mean regret, dB", "worst regret, dB", "excess bits a pixel", "most bits lost"]
    header = ["denoiser", "knows", *(regrets if section.has_regret else [])]
    header += [f"{what} at σ = {labels[sigma]}" for sigma in sigmas]
    rows = []
    for method in section.methods:
        regret = _regret(method, labels) if section.has_regret else []
        cells = [_cell(method, sigma, section.has_regret) for sigma in sigmas]
        rows.append([code(method.label), method.knows, *regret, *cells])
    return table(header, rows)


def _regret(method: Method, labels: dict[float, str]) -> list[str]:
    """What a method loses over all noise levels."""
    regret, worst, bits = method.regret, method.worst, method.bits
    mean = with_interval(words.decibel(regret.value), words.interval(regret.low, regret.high))
    return [
        sentences.kinds(method.kinds),
        mean + _levels(method),
        "–" if worst is None else worst_regret(worst),
        with_interval(sentences.bits(bits.value), sentences.bits_interval(bits.low, bits.high)),
        sentences.bits_lost(method.bits_by_level, labels) or "–",
    ]


def _levels(method: Method) -> str:
    return f" ({len(method.curve)} of {len(method.planned.sigmas)} levels)" if method.troubles else ""


def _unsure(section: Section, content: Content) -> str:
    """Where few images carry an error."""
    if not section.unsure:
        return ""
    found = [f"{code(m.label)} at {sentences.unsure(m.unsure, content.sigma_labels)}" for m in section.unsure]
    return f"† The interval is unsure. {sentences.UNSURE} So for {'; '.join(found)}."


def _at_its_best(section: Section) -> str:
    """Whether each rival is at its best on this family."""
    rows = []
    for method in section.methods:
        if method.honest:
            answer, why = sentences.at_its_best(method.planned.plan, section.spec)
            edge = sentences.at_the_edge(method.planned.plan)
            rows.append([code(method.label), answer, words.visible("; ".join(filter(None, (why, edge))))])
    return "Is each method at its best here?\n\n" + table(["denoiser", "at its best", "why"], rows) if rows else ""


def _cell(method: Method, sigma: float, has_regret: bool) -> str:
    row = method.at(sigma)
    if row is None:
        return "failed" if sigma in method.planned.sigmas else "–"
    if not has_regret:
        return words.mse(row["mse"])
    interval = words.interval(row["regret_db_low"], row["regret_db_high"])
    return with_interval(words.decibel(row["regret_db"]), interval) + ("†" if sigma in method.unsure else "")


def _exponents(section: Section) -> str:
    fitted = [(method, method.fit) for method in section.methods if method.fit is not None]
    if not fitted:
        return ""
    asymptotic = section.reference.asymptotic_exponent
    limit = "–" if asymptotic is None else f"{asymptotic:.3f}"
    rows = [
        [
            code(method.label),
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
