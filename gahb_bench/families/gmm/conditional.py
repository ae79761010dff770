"""The exact posterior of a Gaussian mixture given any linear measurement."""

from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.conditional import Conditional, Conditioned, Streams, choose, normal, uniform
from gahb_bench.core.operator import Measurement
from gahb_bench.families.gmm.law import Gmm
from gahb_bench.families.stationary import fields

_NEGLIGIBLE = 1e-40  # a component of this responsibility changes nothing in double precision


class GmmConditional(Conditional[Gmm]):
    """Each component is a Gaussian field; their responsibilities follow from their evidence. Error: rounding.

    r_k ~ weight_k p_k(y),   mean = sum_k r_k m_k,   variance = sum_k r_k (v_k + (m_k - mean)^2)
    a sample: of component k drawn with probability r_k
    """

    operators: ClassVar = ("mask", "blur", "fourier", "downsample")

    def condition(self, measured: Measurement) -> Conditioned:
        law = self.family
        each = fields(law.means, law.spectra, measured)
        prior = torch.from_numpy(law.weights).log().to(measured.y)
        logs = torch.stack([field.log_evidence for field in each], dim=1) + prior
        share = logs.softmax(dim=1)  # (n, K)
        chosen = (share > _NEGLIGIBLE).any(dim=0).nonzero()[:, 0].tolist()
        weights = share[:, chosen].T[:, :, None, None, None]
        means, own = (torch.stack([getattr(each[k], name) for k in chosen]) for name in ("mean", "pixel_variance"))
        mean = (weights * means).sum(0)
        variance = (weights * (own + (means - mean) ** 2)).sum(0)

        def draw(k: int, streams: Streams) -> Tensor:
            y = measured.y
            component = choose(share, uniform(k, streams, (), y)).flatten()  # (k n,)
            white, noise = (
                normal(k, streams, shape, y).flatten(0, 1) for shape in (measured.shape, tuple(y.shape[1:]))
            )
            which = torch.arange(len(y), device=y.device).repeat(k)
            out = torch.empty_like(white)
            for number in component.unique().tolist():
                here = component == number
                out[here] = each[number].perturb(white[here], noise[here], which[here])
            return out.unflatten(0, (k, -1))

        return Conditioned(mean, variance, torch.logsumexp(logs, dim=1), draw)
