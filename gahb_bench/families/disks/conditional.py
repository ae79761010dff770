"""The exact posterior of disks given any linear measurement."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.conditional import Conditional, Conditioned, Streams, uniform
from gahb_bench.core.operator import Measurement
from gahb_bench.families.disks.draws import draw
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.manifold import manifold
from gahb_bench.families.disks.posterior import TOLERANCE, solve
from gahb_bench.families.disks.quadrature import Moments, Request
from gahb_bench.families.disks.view import View


class DisksConditional(Conditional[Disks]):
    """The quadrature of `mmse`, with what the operator shows of a disk in place of the disk.

    Error: that of the quadrature, bounded image by image as it is for `mmse`: where the bound on the relative excess is
    above 2e-3 an image's posterior is NaN. Samples start at a node of the quadrature drawn by its weight, and make 24
    Metropolis steps that leave the posterior of centre and radius invariant (see `draws`); given these the intensities
    are drawn exactly.
    """

    operators: ClassVar = ("mask", "blur", "fourier", "downsample")

    def condition(self, measured: Measurement) -> Conditioned:
        found = self._solve(measured, Request(variance_map=True))
        failed = ~(found.error <= TOLERANCE)
        shape = (len(measured), *self.family.shape)
        mean, variance = (
            value.masked_fill(failed[:, None], torch.nan).reshape(shape)
            for value in (found.mean, found.variance_map.clamp(min=0))
        )
        y, sigma = measured.y.flatten(1), measured.sigma
        count = measured.operator.count(measured.shape).to(y)
        noise = y.square().sum(1) / sigma**2 + count * (2 * torch.pi * sigma**2).log()
        evidence = (found.log_evidence - noise / 2).masked_fill(failed, torch.nan)

        def sample(k: int, streams: Streams) -> Tensor:
            parts = [self._draw(part, view, k, streams[at]) for at, part, view in self._parts(measured)]
            return torch.cat(parts, dim=1).masked_fill(failed[:, None, None, None], torch.nan)

        return Conditioned(mean, variance, evidence, sample)

    def _solve(self, measured: Measurement, request: Request) -> Moments:
        parts = [
            solve(self.family, part.y.flatten(1), part.sigma, request.at(at), view)
            for at, part, view in self._parts(measured)
        ]
        return Moments.join(parts)

    def _draw(self, measured: Measurement, view: View, k: int, streams: Streams) -> Tensor:
        y, sigma = measured.y.flatten(1), measured.sigma
        start = uniform(k, streams, (2,), y).movedim(0, 1)
        found = solve(self.family, y, sigma, Request(uniforms=start), view)
        images = draw(view, manifold(self.family, y.device), found, y, sigma, k, streams)
        return images.reshape(k, len(y), *self.family.shape)

    def _parts(self, measured: Measurement) -> Iterator[tuple[slice, Measurement, View]]:
        """Images that share the operator: their place, their measurement, and what it shows of disks."""
        shared = measured.mask is None or len(measured.mask) == 1
        for at in [slice(0, len(measured))] if shared else [slice(i, i + 1) for i in range(len(measured))]:
            part = measured.select(range(len(measured))[at])
            yield at, part, View(part.operator, self.family, measured.y.device)
