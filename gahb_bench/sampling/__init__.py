"""Samples of a denoiser, the exact error of a sampler where the law is Gaussian, and pixels chosen for observation.

References
----------
T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models", NeurIPS
2022, arXiv:2206.00364 (samplers, schedules); B. Wang, J. J. Vastola, TMLR 2024, arXiv:2412.09726 (flow of a Gaussian).

Examples
--------
>>> import gahb_bench as gb
>>> error = gb.sampling.exact_error("calpha:size=8", sampler="euler", evaluations=10, start="exact")
>>> error.start, error.w2 == error.discretisation
(0.0, True)
"""

from gahb_bench.sampling.choosing import Observed, at_random, by_exact_samples, by_samples, observe, where_unsure
from gahb_bench.sampling.exact import ExactError, exact_error
from gahb_bench.sampling.samples import Samples, sample

__all__ = [
    "ExactError",
    "Observed",
    "Samples",
    "at_random",
    "by_exact_samples",
    "by_samples",
    "exact_error",
    "observe",
    "sample",
    "where_unsure",
]
