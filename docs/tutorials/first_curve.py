# %% [markdown]
# # First curve
#
# *Is a classical denoiser, or a trained network, anywhere near the best that is possible?* To ask it, you need images
# of which the best is known. Here they are smooth random fields, and the best is a formula.

# %%
import gahb_bench as gb

law = gb.family("calpha:size=32")
batch = law.sample(range(64))
noisy = {f"sigma = {sigma}": gb.add_noise(batch, sigma) for sigma in (0.03, 0.1, 0.3)}
gb.plot.gallery({"clean": batch, **noisy}, count=5)

# %% [markdown]
# `sigma` is the standard deviation of the noise, in the units of the image: black is 0, white is 1. Images and noise
# are addressed by seed and number, so you see the same ones.
#
# ## What is exact
#
# The images are Gaussian, so the posterior mean E[x | y] is a Wiener filter: no denoiser of whatever kind has a
# smaller mean squared error. It is called `mmse` and runs like any other denoiser.

# %%
sigma = 0.1
y = gb.add_noise(batch, sigma)
best = gb.denoiser("mmse", family=law)
mse = float((best(y, sigma) - batch.images).square().mean())
variance = float(best.posterior(y, sigma).variance.mean())
mmse = float(law.reference(sigma).mse[0])
print(f"measured on {len(batch.images)} images   {mse:.3e}")
print(f"posterior variance       {variance:.3e}")
print(f"MMSE, by the formula     {mmse:.3e}")

# %% [markdown]
# The last two are the same number, found in two ways. The first differs by the luck of this draw, which is why the
# error of a denoiser is compared with that of the optimum *on the same noisy images*.

# %%
assert abs(variance / mmse - 1) < 1e-5
assert abs(mse / mmse - 1) < 0.1

# %% [markdown]
# ## The curve
#
# Three rivals at seven noise levels: a wavelet threshold averaged over all shifts, total variation with its parameter
# tuned to this law, and a small network that was trained on it and comes with the package.

# %%
denoisers = ["mmse", "network:weights=calpha-32", "wavelet:shifts=all", "tv"]
levels = [0.01, 0.03, 0.06, 0.1, 0.2, 0.5, 1.0]
table = gb.score(law, denoisers, levels, images=32)
gb.plot.curves(table)

# %% [markdown]
# On such axes everything looks near the optimum. The question is by how much each misses it:

# %%
gb.plot.curves(table, "regret")

# %% [markdown]
# **What to look for.** 0 dB is the optimum, 3 dB twice its error. The band about a line is its 95 % interval over
# images. A line that falls below zero by more than that would mean that the reference is wrong.
#
# ## What it says

# %%
summary = gb.summary(table)[["denoiser", "knows", "mean_regret_db", "worst_regret_db", "worst_sigma"]]
summary

# %% [markdown]
# The network has learned nearly all that there is to learn, from images alone. The classical methods lose a multiple
# of that, though one of them was tuned on this law: their bases do not know it.

# %%
regret = summary.set_index("denoiser")["mean_regret_db"]
assert regret["mmse"] == 0 < regret["network:weights=calpha-32"] < 0.5
assert min(regret["tv"], regret["wavelet:shifts=all"]) > 3 * regret["network:weights=calpha-32"]

# %% [markdown]
# The error also falls with the noise at a rate that theory predicts. The exponent is the slope of log MSE against log
# sigma; beside it stands that of the optimum at this size of image:

# %%
for name in denoisers:
    fit = gb.exponent(table, law, name, low=0.01, high=1.0)
    print(f"{name:<25} {fit.value:.2f}   optimum {fit.reference:.2f}")

# %% [markdown]
# ## Where to go on
#
# The same on a page, at 13 noise levels: `python -m gahb_bench run --family calpha`. What the words mean: [Reading
# the page](../index.md#reading-the-page). Other images: [Laws](../laws/index.md). Next: [your own
# network](own_network.md).
