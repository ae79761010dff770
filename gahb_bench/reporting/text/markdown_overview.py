"""The families of a report beside each other, as text: standings, and a matrix of families by denoisers."""

from gahb_bench.reporting.study import sentences, words
from gahb_bench.reporting.study.leaderboard import Leaderboard, Standing
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.text.markdown_text import code, table, with_interval, worst_regret


def overview(board: Leaderboard) -> str:
    """Both tables, and what they are made of."""
    return "\n\n".join(
        [
            "## All families",
            sentences.mean_regret_note(board.exact, board.laws, board.uneven),
            table(
                [
                    "denoiser",
                    "knows",
                    "regret",
                    "mean regret, dB",
                    "excess bits a pixel",
                    "families",
                    "worst regret, dB",
                    "exponent error",
                    "fitted",
                    "images/s",
                ],
                [_standing(standing) for standing in board.standings],
            ),
            "Mean regret over noise levels in dB, with its 95 % interval, of each family and each denoiser:",
            table(
                ["family", "optimum", *(code(standing.label) for standing in board.standings)],
                [
                    [code(section.label), how_known(section), *_row(board, section, position)]
                    for position, section in enumerate(board.sections)
                ],
            ),
        ]
    )


def _standing(standing: Standing) -> list[str]:
    mean, bits, worst, error = standing.mean, standing.bits, standing.worst, standing.exponent_error
    return [
        code(standing.label),
        standing.knows + (" (not comparable)" if standing.first.ideal else ""),
        sentences.kinds(standing.kinds),
        with_interval(words.decibel(mean.value), words.interval(mean.low, mean.high)),
        with_interval(sentences.bits(bits.value), sentences.bits_interval(bits.low, bits.high)),
        f"{len(standing.counted)} of {standing.exact}",
        "–" if worst is None else worst_regret(worst[0]) + (f", {code(worst[1].label)}" if worst[0].value else ""),
        "–" if error is None else f"{words.with_error(error[0], error[1])}, {code(error[2].label)}",
        "–" if standing.fitted is None else str(standing.fitted),
        words.number(standing.images_per_second),
    ]


def _row(board: Leaderboard, section: Section, position: int) -> list[str]:
    return [_cell(standing.methods[position], section) for standing in board.standings]


def _cell(method: Method | None, section: Section) -> str:
    if method is None or not words.finite(method.mean_regret):
        return "–"
    text = with_interval(words.decibel(method.mean_regret), words.interval(method.regret.low, method.regret.high))
    text += " untuned" if method.planned.plan.untuned else ""
    return text + (
        f" ({method.levels} of {section.regret_levels} levels)" if method.levels < section.regret_levels else ""
    )


def how_known(section: Section) -> str:
    """How the optimum of a family is known, and at how many noise levels where not at all."""
    text, levels = words.KIND_SHORT[section.reference.kind], len(section.sigmas)
    return f"{text}, {section.regret_levels} of {levels} levels" if 0 < section.regret_levels < levels else text
