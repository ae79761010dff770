# %% [markdown]
# # The geometry of a denoiser
#
# *In which basis does a denoiser shrink, and is it the right one?* Near a noisy image y a denoiser is a linear map,
# its Jacobian J. The eigenvectors of its symmetric part are a basis that depends on the image, and the eigenvalues
# say how much is kept along each. Kadkhodaie, Guth, Simoncelli and Mallat
# ([arXiv:2310.02557](https://arxiv.org/abs/2310.02557)) found that networks learn oscillating bases that follow the
# contours of the image. Here the basis that *should* be learnt is known.
#
# ## What is exact
#
# For the posterior mean, J is the posterior covariance over the variance of the noise: symmetric, positive, and its
# trace is the risk.

# %%
import pandas as pd
import torch

import gahb_bench as gb

sigma = 0.1
law = gb.family("calpha:size=16")
batch = law.sample([0])
y = gb.add_noise(batch, sigma)
best = gb.denoiser("mmse", family=law)
J = gb.geometry.jacobian(best, y, sigma)
risk = float(best.posterior(y, sigma).variance.mean())
print(f"asymmetry   {float(gb.geometry.asymmetry(J)):.1e}")
print(f"risk        {risk:.4e}")
print(f"from trace  {sigma**2 * float(gb.geometry.trace(J)) / J.shape[-1]:.4e}")

# %%
assert abs(sigma**2 * float(gb.geometry.trace(J)) / J.shape[-1] / risk - 1) < 1e-5

# %% [markdown]
# ## A law whose basis is harmonic
#
# Smooth fields are stationary, so the true eigenvectors are sinusoids. A network that was trained on such images
# knows nothing of that. Its leading eigenvectors, without forming J:

# %%
law = gb.family("calpha:size=32")
y = gb.add_noise(law.sample([3]), sigma)
true = gb.geometry.spectrum(gb.denoiser("mmse", family=law), y, sigma, 24)
found = gb.geometry.spectrum(gb.denoiser("calpha-32", family=law), y, sigma, 24)


def pictures(spectrum, count):
    vectors = spectrum.vectors[0, :count].reshape(-1, 1, 32, 32)
    return 0.5 + vectors / (2 * vectors.abs().amax(dim=(1, 2, 3), keepdim=True))  # 0 is grey


gb.plot.gallery({"true": pictures(true, 6), "network": pictures(found, 6)})

# %%
gb.plot.spectrum({"mmse": true, "network": found})

# %% [markdown]
# Eigenvalues come in groups of equal ones: sinusoids of one frequency. Within a group any rotation is as good, which
# is why the pictures differ one by one. What can be compared are the spaces that whole groups span: 1 if they are the
# same.

# %%
groups = gb.geometry.eigenspaces(true.values[0])[:-1]  # the last may be cut off by the 24
ends = [sum(groups[: place + 1]) for place in range(len(groups))]
overlaps = [float(gb.geometry.overlap(found.vectors[0, :k], true.vectors[0, :k])) for k in ends]
print("first", ends, "dimensions: overlap", [round(each, 3) for each in overlaps])
assert min(overlaps) > 0.95

# %% [markdown]
# **What it says.** The network has found the Fourier basis, from images alone.
#
# ## Bases that follow a contour
#
# Where smooth regions meet along a contour no fixed basis is good. A network that was trained on such images has
# eigenvectors that oscillate within the regions and along the contour between them: a *geometry-adaptive harmonic
# basis*. The first and some later ones, beside the noisy image that they belong to:

# %%
law = gb.family("calpha-contours:size=32")
y = gb.add_noise(law.sample([3]), sigma)
adaptive = gb.geometry.spectrum(gb.denoiser("contours-32", family=law), y, sigma, 20)
shown = torch.cat([y, pictures(adaptive, 20)[[0, 1, 5, 10, 19]]])
gb.plot.gallery({"image, basis": shown})

# %% [markdown]
# ## A law whose basis is not harmonic
#
# An image of a disk has five numbers: place, radius, two intensities. The optimum keeps five directions, the
# derivatives of the image by those numbers, and everything else is noise. Is that what a network does?

# %%
law = gb.family("disks:size=32")
batch = law.sample([3])
y = gb.add_noise(batch, sigma)
true = gb.geometry.spectrum(gb.denoiser("mmse", family=law), y, sigma, 8)
found = gb.geometry.spectrum(gb.denoiser("disks-32", family=law), y, sigma, 16)
gb.plot.gallery(
    {
        "clean, true basis": torch.cat([batch.images, pictures(true, 7)]),
        "noisy, network's": torch.cat([y, pictures(found, 7)]),
    }
)

# %%
gb.plot.spectrum({"mmse": true, "network": found})

# %% [markdown]
# **What to look for.** The true spectrum falls off a cliff after the fifth value. The network keeps those five
# directions too, and then goes on.

# %%
k = gb.geometry.eigenspace_dimension(true.values[0])
shared = float(gb.geometry.overlap(found.vectors[0, :k], true.vectors[0, :k]))
noise = {"optimum": float(true.values.square().sum()), "network": float(found.values.square().sum())}
print(f"the true space has {k} dimensions; the network's first {k} share {shared:.0%} of it")
print(f"noise that is kept, in dimensions: optimum {noise['optimum']:.1f}, network at least {noise['network']:.1f}")

# %%
assert k == 5
assert shared > 0.9
assert noise["network"] > noise["optimum"] + 1

# %% [markdown]
# **What it says.** Each further direction that is kept lets noise through: the sum of squared eigenvalues is the
# noise that is left, in units of sigma squared. The network has found the manifold, and a harmonic basis around it
# that the images do not need. That is why its regret is decibels here, and hundredths of one on smooth fields:

# %%
rows = [
    gb.curves(gb.score(spec, ["mmse", network], [sigma], images=16)).query("knows == 'training set'")
    for spec, network in (("calpha:size=32", "calpha-32"), ("disks:size=32", "disks-32"))
]
regrets = pd.concat(rows)[["family", "denoiser", "regret_db", "regret_db_low", "regret_db_high"]]
regrets

# %%
assert regrets["regret_db"].iloc[1] > 10 * regrets["regret_db"].iloc[0]

# %% [markdown]
# ## Where to go on
#
# All of it for several images and noise levels, on a page: `python -m gahb_bench geometry --family disks:size=32`
# ([geometry](../commands/geometry.md)); for every shipped network: [Geometry](../reports/geometry.md). Next:
# [memorising or generalising](memorising_or_generalising.md).
