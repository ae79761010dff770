"""The text of reports/sampling.md; its numbers are those of the tables in reports/sampling/."""

import pandas as pd
from sampling_tables import (
    APART,
    CONCENTRATION,
    LAW,
    LEARNED_FINE,
    LEARNED_SAMPLES,
    LML,
    LONG,
    MIXTURE,
    SHOWN,
    Tables,
    by_budget,
    detector_table,
    learned_table,
    modes_table,
    number,
    statistics_table,
    teleport_table,
    value,
    wrong_table,
)
from sampling_words import (
    DETECTED_AT,
    concentration_said,
    damping_said,
    detector_said,
    modes_said,
    network_said,
    teleport_said,
)

EXACT = ("euler", "heun", "dpm2m", "gradient-estimation", "gradient-estimation:gamma=1.5", "euler-maruyama", "edm-sde")
BALLS = ("heavy-ball:beta=0.6", "heavy-ball:beta=0.8", "heavy-ball:beta=0.9", "euler")
FASTER = ("heavy-ball:beta=1.2", "heavy-ball:beta=1.5")
GRADIENT = ("euler", "heun", "dpm2m", "gradient-estimation:gamma=1.5", "gradient-estimation")
DAMPED = ("euler", *(f"{LML}{damping}" for damping in ("8", "2", "1", "0.5", "0.25", "0.1")))
FEW, MANY = 20, 320

PAGE = """\
# Samplers, where the truth is known

Made by `python reports/sampling.py` from `reports/sampling/*.csv`, which the same command measures where they are
missing (under 4 minutes of one core). Noise levels are those of the schedule `karras` from σ = 10 to 0.002, then 0,
unless others are stated. W2 is the Wasserstein-2 distance to the law, root mean square per pixel, in image units.
`calpha:size=32` is Gaussian: its numbers are exact, no sample is drawn, unless samples are mentioned. In tables of
errors the least of a column is bold.

![Exact errors, wrong denoisers, teleportation, detection](sampling/errors.png)

## How large is the error of a sampler?

W2 with the exact denoiser on `calpha:size=32`, from noisy images of the law: discretisation alone.

{exact}

The Gaussian start, 1/2 + σ z at σ = 10, adds what no evaluation removes unless noise is added: at 80 evaluations W2 of
`dpm2m` is then {dpm2m_gaussian}, that of `euler-maruyama`, which forgets its start, {em_gaussian}.

## Deterministic or stochastic, with an imperfect denoiser?

The denoiser is exact but for a range of noise levels, where it takes σ for 1.3 σ (*over*) or for σ / 1.3 (*under*). W2
at 320 evaluations, from noisy images of the law:

{wrong}

**It depends on where the denoiser is wrong.** What is wrong above σ = 3, where the shipped networks were not trained, a
deterministic sampler carries to the end (`heun`, *over*: {heun_above}). `edm-sde` adds noise below and forgets most of
it ({edm_above}); `langevin` forgets all ({langevin_above}, as much as with the exact denoiser); `euler-maruyama` less
than half ({em_above}). Wrong where the image is decided, from 1 to 3, noise makes it worse (`edm-sde` {edm_middle},
`euler-maruyama` {em_middle}, `heun` {heun_middle}), and so below 0.3 ({edm_fine}, {em_fine}, {heun_fine}); only the
many steps of `langevin` at each level are better from 1 to 3. At few evaluations the comparison misleads: the
discretisation of a stochastic sampler leaves too much variance, which makes up for a denoiser that removes too
much. Wrong from 1 to 3, *over*, `euler-maruyama` has {em_few} at 20 evaluations and {em_middle} at 320.

The shipped `calpha-32` beside the exact denoiser, from noisy images of the law at σ = 3, 20 evaluations, 256 samples
(bold: told apart from the law, p < 0.001; a tolerance of 0.01):

{network}

{network_said}

## Discretisation or learning?

Samples of `heun` from the same noisy images of the law at σ = 3, with a network that ships / with the exact denoiser:
median over {learned_samples} images of the root mean square distance, per pixel, to what the exact denoiser makes at
{learned_fine} evaluations. Learning is said to dominate from the budget on at which the network is more than twice as
far.

{learned}

## Does momentum help at few steps?

W2 with the exact denoiser, from noisy images of the law; beta is the weight of the newest slope, beta = 1 is `euler`.

{momentum}

**No; extrapolation does.** A mean of slopes (beta < 1) is worse than `euler` at every budget, as it lags behind.
beta = 1.5, which extrapolates, has {ball_share:.0%} of the error of `euler` at 10 evaluations. Divergence, against
which momentum was proposed, does not occur here: a step of `euler` shrinks every mode.

## What is gradient estimation worth at 5 and 10 evaluations?

{gradient}

From exact starts `gradient-estimation` with its gamma = 2 has {ge_share:.0%} of the error of `euler` at 5 evaluations,
less than all others; from 10 on gamma = 1.5 is better (there {ge_many:.0%}, gamma = 2 {ge_ten:.0%}). On `gmm:size=32`,
which is not Gaussian, the median over 64 samples of the distance to the probability flow from the same noise:

{gradient_mixture}

There gamma = 1.5 has {mixture_five:.0%} of the distance of `euler` at 5 evaluations and {mixture_ten:.0%} at 10, and
gamma = 2 {mixture_two:.0%} at 5.

## How many steps does teleportation save?

On a Gaussian law all. On `gmm:size=32`, 16 modes, the flow of the Gaussian of its mean and covariance leads from σ = 10
down to the σ of the second column, and the sampler goes on from there; distances to the probability flow as above
(`heun` with 640 evaluations).

{teleport}

{teleport_said}

## Does the damping of Levenberg and Marquardt matter?

Median over 64 samples of the distance to the probability flow from the same noise, exact denoiser (this sampler looks
at lengths of whole images, so that its W2 has no closed form), on `calpha:size=32`:

{damping}

and on `gmm:size=32`:

{damping_mixture}

{damping_said}

## Does an imperfect score hallucinate, and is that detected?

On `gmm:variant=points,within=0.01`, 16 clouds in the plane, 25 of their deviations apart: samples with the exact score
and with a network of three hidden layers of 64 units, trained on 20,000 points for 6,000 steps. Of 4,096 samples the
share *between modes* (outside the region of 99 % of every mode, the law's own statistic) / the share *far* from all
(where one in a million images of a mode is). Of as many exact images {between_exact:.2%} and {far_exact:.2%} are.

{modes}

{modes_said}

The variance of the estimates along the trajectory as a detector (Aithal et al., arXiv 2406.09358) at {detected_at}
evaluations: area under the receiver operating characteristic ± its standard error, by the noise levels at which
estimates are counted: the lower half of the levels, the last quarter of the steps, which `sample` takes, or below a
level. 1/2 is chance.

{detector}

{detector_said}

## Do samples concentrate as the law does?

Two Lipschitz functions of the samples of `calpha-32` above: Kolmogorov-Smirnov distance of their laws from exact
images', and how many of the 5 % of extreme values are samples', over what is due (1 for the law).

{concentration}

{concentration_said}
"""


def page(tables: Tables) -> str:
    exact, wrong, flow, network, modes = (tables[name] for name in ("exact", "wrong", "flow", "network", "modes"))
    cleanly = exact[exact["start"] == "exact"]
    law, mixture = (flow[flow["family"] == spec] for spec in (LAW, MIXTURE))

    def share(rows: pd.DataFrame, sampler: str, budget: int, column: str = "w2") -> float:
        own, euler = (value(rows, column, sampler=name, evaluations=budget) for name in (sampler, "euler"))
        return own / euler

    def at(sampler: str, where: str, budget: int = MANY) -> str:
        return number(value(wrong, sampler=sampler, where=where, told="over", evaluations=budget))

    def started(sampler: str) -> str:
        return number(value(exact, sampler=sampler, start="gaussian", evaluations=80))

    apart = modes[modes["family"] == APART]
    of_exact = apart[apart["denoiser"] == "exact images"]
    return PAGE.format(
        exact=by_budget(cleanly, EXACT, "w2", LONG, "sampler"),
        dpm2m_gaussian=started("dpm2m"),
        em_gaussian=started("euler-maruyama"),
        wrong=wrong_table(wrong, MANY),
        heun_above=at("heun", "above 3"),
        edm_above=at("edm-sde", "above 3"),
        langevin_above=at("langevin:steps=4", "above 3"),
        em_above=at("euler-maruyama", "above 3"),
        edm_middle=at("edm-sde", "1 to 3"),
        em_middle=at("euler-maruyama", "1 to 3"),
        heun_middle=at("heun", "1 to 3"),
        edm_fine=at("edm-sde", "below 0.3"),
        em_fine=at("euler-maruyama", "below 0.3"),
        heun_fine=at("heun", "below 0.3"),
        em_few=at("euler-maruyama", "1 to 3", FEW),
        learned=learned_table(tables["learned"]),
        learned_samples=LEARNED_SAMPLES,
        learned_fine=LEARNED_FINE,
        network=statistics_table(network, SHOWN),
        network_said=network_said(network),
        momentum=by_budget(cleanly, (*BALLS, *FASTER), "w2", LONG, "sampler"),
        ball_share=share(cleanly, FASTER[-1], 10),
        gradient=by_budget(cleanly, GRADIENT, "w2", (5, 10, 20), "sampler, exact start")
        + "\n\n"
        + by_budget(exact[exact["start"] == "gaussian"], GRADIENT, "w2", (5, 10, 20), "sampler, Gaussian start"),
        ge_share=share(cleanly, "gradient-estimation", 5),
        ge_ten=share(cleanly, "gradient-estimation", 10),
        ge_many=share(cleanly, "gradient-estimation:gamma=1.5", 10),
        gradient_mixture=by_budget(mixture, GRADIENT, "median", (5, 10, 20), "sampler"),
        mixture_five=share(mixture, "gradient-estimation:gamma=1.5", 5, "median"),
        mixture_ten=share(mixture, "gradient-estimation:gamma=1.5", 10, "median"),
        mixture_two=share(mixture, "gradient-estimation", 5, "median"),
        teleport=teleport_table(mixture),
        teleport_said=teleport_said(mixture),
        damping=by_budget(law, DAMPED, "median", LONG, "sampler"),
        damping_mixture=by_budget(mixture, DAMPED, "median", LONG, "sampler"),
        damping_said=damping_said(law),
        between_exact=value(of_exact, "share", flag="between"),
        far_exact=value(of_exact, "share", flag="far"),
        modes=modes_table(apart),
        modes_said=modes_said(apart),
        detected_at=DETECTED_AT,
        detector=detector_table(modes, DETECTED_AT),
        detector_said=detector_said(modes, tables["roc"]),
        concentration=statistics_table(network, CONCENTRATION),
        concentration_said=concentration_said(network),
    )
