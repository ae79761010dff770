# %% [markdown]
# # Samples and posteriors
#
# *A denoiser makes images out of noise, and fills in what a measurement left out. How much of what is wrong with them
# is the sampler's fault, and how much the network's?* With photographs both are wrong at once. Here each can be
# replaced by what is exact.
#
# ## The sampler alone
#
# With the exact denoiser of a Gaussian law, each step of a deterministic sampler is a linear map, so the law of what
# it generates is known without a single sample. Its Wasserstein-2 distance to the law of the images:

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

import gahb_bench as gb

budgets = [5, 10, 20, 40, 80]
samplers = ["euler", "heun", "dpm2m"]
distance = {
    name: [
        gb.sampling.exact_error("calpha:size=32", sampler=name, evaluations=each, start="exact").w2 for each in budgets
    ]
    for name in samplers
}
figure, axes = plt.subplots(figsize=(5.5, 3), layout="constrained")
for name, values in distance.items():
    axes.loglog(budgets, values, "o-", label=name)
axes.set_xticks(budgets, budgets)
axes.minorticks_off()
axes.set(xlabel="evaluations of the denoiser", ylabel="Wasserstein-2 distance")
axes.legend(frameon=False)

# %% [markdown]
# **What to look for.** On these axes the order of a sampler is the slope of its line: Euler's method (DDIM) is of
# first order, Heun's of second. But Heun's takes two evaluations a step, and with few of them it is the worst.

# %%
assert all(values == sorted(values, reverse=True) for values in distance.values())
assert distance["heun"][0] > distance["euler"][0]
assert distance["heun"][-1] < distance["euler"][-1] / 2

# %% [markdown]
# ## The network alone
#
# The same sampler, from the same noise, with the exact denoiser of disks and with a network that was trained on them:

# %%
law = gb.family("disks:size=32")
drawn = {name: gb.sample(name, law, evaluations=20, samples=12).images for name in ("mmse", "disks-32")}
gb.plot.gallery({"exact": drawn["mmse"], "network": drawn["disks-32"]}, count=6)

# %% [markdown]
# Are they disks? `projection` finds the nearest one. How far a sample is from it, root mean square over pixels:

# %%
nearest = gb.denoiser("projection", family=law)
away = {name: (images - nearest(images, 0.05)).square().mean(dim=(1, 2, 3)).sqrt() for name, images in drawn.items()}
for name, each in away.items():
    print(f"{name:<9} median {each.median():.1e}   worst {each.max():.1e}")
assert away["disks-32"].median() > 3 * away["mmse"].median()

# %% [markdown]
# **What it says.** The sampler has no part in it: with the exact denoiser it makes disks within as many evaluations.
# What leaves the manifold is the network's. Some of its disks lie across the border, where the law has none: its
# padding is periodic, so it hardly knows where it is. Others have edges that no disk has, along the directions that
# [its Jacobian](geometry_of_a_denoiser.md) keeps in vain.
#
# ## The posterior, when something was measured
#
# Of each image 30 % of the pixels are seen, with noise. For this law the posterior is exact, and so are samples of
# it.

# %%
law = gb.family("calpha:size=16")
problem = gb.problem("mask:keep=0.3", law)
batch = law.sample(range(16))
measured = problem.measure(batch, 0.1)
exact = problem.exact(measured)
samples = exact.sample(16, seed=0)
seen = torch.where(measured.mask.bool(), measured.y, torch.ones_like(measured.y))
gb.plot.gallery(
    {
        "image": batch.images[:5],
        "measured": seen[:5],
        "exact mean": exact.mean[:5],
        "exact sample": samples[0, :5],
        "another": samples[1, :5],
    }
)

# %% [markdown]
# Methods that know the law only by a denoiser are held against that. With the *exact* denoiser, what is wrong is the
# method's. Its mean has a regret; the variance of its samples, over that of the posterior, is 1 if they are as unsure
# as they ought to be. Exact samples are the first row: the mean of 16 of them has 10 log10(1 + 1/16) = 0.26 dB.


# %%
def judged(drawn):
    mean = drawn.mean(dim=0)
    excess = (mean - exact.mean).square().mean() / exact.variance.mean()
    spread = drawn.var(dim=0).mean() / exact.variance.mean()
    return 10 * float(torch.log10(1 + excess)), float(spread)


rows = {"exact": judged(samples)}
for method in ("pigdm", "diffpir", "dps"):
    rows[method] = judged(gb.sample_posterior(method, "mmse", problem, measured, samples=16).samples)
table = pd.DataFrame(rows, index=["regret of the mean, dB", "variance ratio"]).T.rename_axis("method")
table

# %% [markdown]
# **What to look for.** A small regret of the mean says nothing of the samples: both columns have to be those of the
# first row. **What it says:** with a perfect denoiser these methods are not yet right, so a better network alone will
# not make them so.

# %%
assert abs(table.loc["exact", "variance ratio"] - 1) < 0.1
assert abs(table.loc["exact", "regret of the mean, dB"] - 0.26) < 0.1
assert (table["variance ratio"].drop("exact") - 1).abs().max() > 0.25

# %% [markdown]
# ## Where to go on
#
# Samplers within budgets, each statistic beside its value for exact images: `python -m gahb_bench sample --family
# calpha:size=32` ([sample](../commands/sample.md), [what it says](../reports/sampling.md)). Calibration, coverage,
# and networks beside the exact denoiser: `python -m gahb_bench posterior --family calpha:size=32 --problem mask`
# ([posterior](../commands/posterior.md), [what it says](../reports/posterior.md)). Operators and laws: [Inverse
# problems](../recipes/inverse-problems.md).
