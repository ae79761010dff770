"""The geometry of a denoiser: the basis in which it shrinks, beside that of the exact posterior mean.

J = dD/dy at (y, sigma), d x d with d = c h w, rows are outputs, and S = (J + J') / 2. For the exact posterior mean
J = Cov(x|y) / sigma^2, symmetric and positive: the adaptive basis is its eigenvectors, and an eigenvalue is the share
of the noisy image that is kept along one of them.

References
----------
S. Mohan, Z. Kadkhodaie, E. P. Simoncelli, C. Fernandez-Granda, "Robust and interpretable blind image denoising via
bias-free convolutional neural networks", ICLR 2020, arXiv:1906.05478, section 5 (the local linear map of a denoiser);
Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, ICLR 2024, arXiv:2310.02557, section 3 (its eigenvectors as a
geometry-adaptive harmonic basis).

>>> import gahb_bench as gb
>>> law = gb.family("calpha:size=8")
>>> y = gb.add_noise(law.sample([0]), 0.1).double()
>>> J = jacobian(gb.denoiser("mmse", law), y, 0.1)
>>> round(trace(J).item(), 1), asymmetry(J).item() < 1e-9, eigenpairs(J).values.shape
(16.3, True, torch.Size([1, 64]))
"""

from gahb_bench.geometry.bases import Basis, bases, harmonic_share
from gahb_bench.geometry.derivative import Linearised, derivative_error, jacobian
from gahb_bench.geometry.flow import FlowDensity, flow_log_density
from gahb_bench.geometry.quantities import (
    adaptivity,
    affinity,
    asymmetry,
    basis_risk,
    coefficients,
    jacobian_error,
    negative,
    sum_squares,
    sure,
    symmetric,
    trace,
)
from gahb_bench.geometry.spaces import (
    dimension,
    eigenspace_dimension,
    eigenspaces,
    over_eigenspaces,
    overlap,
    principal_angles,
    wasted,
)
from gahb_bench.geometry.spectrum import eigenpairs, spectrum

__all__ = [
    "Basis",
    "FlowDensity",
    "Linearised",
    "adaptivity",
    "affinity",
    "asymmetry",
    "bases",
    "basis_risk",
    "coefficients",
    "derivative_error",
    "dimension",
    "eigenpairs",
    "eigenspace_dimension",
    "eigenspaces",
    "flow_log_density",
    "harmonic_share",
    "jacobian",
    "jacobian_error",
    "negative",
    "over_eigenspaces",
    "overlap",
    "principal_angles",
    "spectrum",
    "sum_squares",
    "sure",
    "symmetric",
    "trace",
    "wasted",
]
