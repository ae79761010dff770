"""The family ``disks``: its law, its sampler, its parameters."""

import itertools

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.families.disks.law import Disks, render

VARIATIONS = ("translate", "scale", "foreground", "background")
SUBSETS = [subset for k in range(1, 5) for subset in itertools.combinations(VARIATIONS, k)]


def disks(**parameters: object) -> Disks:
    """A family of disks."""
    return Disks.from_parameters(parameters)


def disk_by_hand(row: float, column: float, r: float, f: float, b: float, size: int, edge: float) -> np.ndarray:
    """The formula of the family, pixel by pixel."""
    image = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            t = (r - np.hypot(i - row, j - column)) / (1.875 * edge)
            u = min(max(t + 0.5, 0.0), 1.0)
            image[i, j] = b + (f - b) * (6 * u**5 - 15 * u**4 + 10 * u**3)
    return image


@pytest.mark.parametrize("edge", [0.5, 1.0, 2.0])
def test_images_are_the_formula_of_their_latents(edge: float) -> None:
    batch = disks(size=16, edge=edge).sample(range(4))
    for image, c, r, f, b in zip(batch.images[:, 0], *batch.latents.values(), strict=True):
        by_hand = disk_by_hand(float(c[0]), float(c[1]), float(r), float(f), float(b), 16, edge)
        np.testing.assert_allclose(image.numpy(), by_hand, atol=1e-7)


def test_slope_at_the_edge_is_one_over_the_width() -> None:
    h = 1e-5
    for edge in (0.5, 1.0, 2.0):
        radii = np.array([[8.0, 8.0, 4.0 + sign * h, 1.0, 0.0] for sign in (1, -1)])
        above, below = render(radii, 17, edge)[:, 8, 12]  # the pixel on the edge
        assert (above - below) / (2 * h) == pytest.approx(1 / edge, rel=1e-6)


@pytest.mark.parametrize("vary", SUBSETS)
def test_what_varies_is_uniform_in_its_bounds_and_the_rest_is_fixed(vary: tuple[str, ...]) -> None:
    family = gb.family("disks:size=16,vary=" + "+".join(vary))
    assert isinstance(family, Disks)
    latents = family.sample(range(400)).latents
    center, radius, f, b = latents.values()
    columns = torch.stack([center[:, 0], center[:, 1], radius, f, b])
    low, high = family.bounds.T
    varies = [name in vary for name in ("translate", *VARIATIONS)]
    assert sum(varies) == family.dimension
    fixed = (7.5, 7.5, 3.0, 1.0, 0.0)
    ends = ((5, 10), (5, 10), (2, 4), (0, 1), (0, 1))
    for column, a, z, free, value, (first, last) in zip(columns, low, high, varies, fixed, ends, strict=True):
        if not free:
            assert bool((column == value).all())
            continue
        assert (a, z) == (first, last)
        uniform = (column - a) / (z - a)
        assert 0 <= float(uniform.min()) < 0.05
        assert 0.95 < float(uniform.max()) <= 1
        assert float(uniform.mean()) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 400))


def test_latents_are_independent() -> None:
    center, radius, f, b = disks(size=16).sample(range(1000)).latents.values()
    correlation = np.corrcoef(torch.stack([center[:, 0], center[:, 1], radius, f, b]).numpy())
    assert np.abs(correlation - np.eye(5)).max() < 4 / np.sqrt(1000)


def test_an_image_does_not_depend_on_its_batch() -> None:
    family = disks(size=33)
    whole = family.sample(range(70)).images
    pieces = [family.sample(range(start, stop)).images for start, stop in ((0, 1), (1, 48), (48, 70))]
    assert torch.equal(torch.cat(pieces), whole)
    assert torch.equal(family.sample([69, 3]).images, whole[[69, 3]])


def test_the_disk_stays_inside_the_image_at_every_size() -> None:
    for size in range(16, 129):
        family = disks(size=size)
        low, high = family.bounds.T
        assert low[0] + high[0] == size - 1
        assert low[0] - high[2] >= 1
        assert high[0] > low[0]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("disks:size=15", "greater than or equal to 16"),
        ("disks:edge=0.4", "greater than or equal to 0.5"),
        ("disks:size=16,edge=2.5", "at most 2 pixels"),
        ("disks:vary=turn", "'translate', 'scale', 'foreground' or 'background'"),
        ("disks:vary=scale+scale", "each variation once"),
    ],
)
def test_what_is_not_allowed_is_refused_and_explained(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        gb.family(spec)


def test_the_order_of_what_varies_does_not_matter() -> None:
    family = gb.family("disks:vary=background+translate")
    assert family.spec == "disks:vary=translate+background"
    assert family == gb.family("disks:vary=translate+background")
    assert gb.family("disks:vary=background+foreground+scale+translate").spec == "disks"
