# %% [markdown]
# # Memorising or generalising
#
# *A network was trained on n images. Has it learnt the images, or the law that they were drawn from?* Kadkhodaie et
# al. ([arXiv:2310.02557](https://arxiv.org/abs/2310.02557)) trained two networks on disjoint sets and found that from
# some n on both are the same function. Whether that function is the *right* one could not be said. Here it can.
#
# ## What is exact
#
# Both ends are known in closed form. The **memoriser** is the posterior mean when the training images are all that
# there is: `empirical`. The **truth** is the posterior mean under the law: `mmse`. With one noisy image, and the
# first ten images of each of two disjoint sets:

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

import gahb_bench as gb

law = gb.family("calpha:size=8")
sigma = 0.2
test = law.sample(range(200))
noisy = gb.add_noise(test, sigma)
truth = gb.denoiser("mmse", family=law)


def memoriser(n, split):
    return gb.denoiser(f"empirical:n={n},split={split}", family=law)


gb.plot.gallery(
    {
        "clean": test.images[:5],
        "noisy": noisy[:5],
        "truth": truth(noisy[:5], sigma),
        "memoriser A": memoriser(10, "train-a")(noisy[:5], sigma),
        "memoriser B": memoriser(10, "train-b")(noisy[:5], sigma),
    }
)

# %% [markdown]
# The memorisers answer with images of their own sets, whatever they are asked.
#
# ## Train two networks for each n
#
# Perceptrons, for this noise level alone: small enough for seconds, large enough to know hundreds of images by heart.


# %%
def trained(n, split, steps=500):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64)
    )
    images = law.sample(range(n), split=split).images.flatten(1) - 0.5
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.004, total_steps=steps)
    for _ in range(steps):
        x = images[torch.randint(n, (128,))]
        y = x + sigma * torch.randn_like(x)
        loss = (y + net(y) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return gb.denoiser(lambda y, _: y + net(y.flatten(1) - 0.5).detach().reshape(y.shape))


sizes = [1, 10, 100, 1000]
networks = {n: (trained(n, "train-a"), trained(n, "train-b")) for n in sizes}

# %% [markdown]
# ## Where does each stand?
#
# On noisy *training* images, the place of a network D between memoriser M and truth T is
#
# $$ t = \frac{\langle D - M,\ T - M \rangle}{\lvert T - M \rvert^2} $$
#
# 0 for the memoriser, 1 for the truth. On *test* images its regret says how far it is from the optimum. How far the
# two networks are from each other, beside the error of the optimum, needs no truth; it is what could be measured of
# photographs too.


# %%
def db(ratio):
    return 10 * float(torch.log10(torch.as_tensor(ratio)))


rows = []
for n, (a, b) in networks.items():
    own = law.sample(range(min(n, 200)), split="train-a").images.repeat(-(-200 // n), 1, 1, 1)[:200]
    y = own + (noisy - test.images)  # other images, the same noise
    D, M, T = a(y, sigma), memoriser(n, "train-a")(y, sigma), truth(y, sigma)
    excess = float((a(noisy, sigma) - truth(noisy, sigma)).square().mean())
    mmse = float(law.reference(sigma).mse[0])
    rows.append(
        {
            "n": n,
            "t": float(((D - M) * (T - M)).sum() / (T - M).square().sum()),
            "error on training images, dB": db((D - own).square().mean() / mmse),
            "regret on test images, dB": db(1 + excess / mmse),
            "from A to B, dB": db((a(noisy, sigma) - b(noisy, sigma)).square().mean() / mmse),
        }
    )
table = pd.DataFrame(rows)
table

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.semilogx(table["n"], table["t"], "o-")
left.axhline(0, color="grey", linewidth=1)
left.axhline(1, color="grey", linewidth=1)
left.set(xlabel="training images n", ylabel="t: 0 memoriser, 1 truth")
for name in ("error on training images, dB", "regret on test images, dB"):
    right.semilogx(table["n"], table[name], "o-", label=name)
right.axhline(0, color="black", linewidth=1)
right.set(xlabel="training images n", ylabel="dB, 0 is the optimum")
right.legend(frameon=False)

# %% [markdown]
# **What to look for.** The error on training images is *below* 0 dB while the images are known by heart: less than
# any denoiser can reach that knows the law alone. It rises to the optimum as the regret on test images falls to it.

# %%
found = table.set_index("n")
assert found["t"].is_monotonic_increasing
assert found.loc[1, "t"] < 0.05
assert found.loc[1000, "t"] > 0.95
assert found.loc[1, "error on training images, dB"] < -20
assert found.loc[1, "regret on test images, dB"] > 5
assert found.loc[1000, "regret on test images, dB"] < 0.5
assert found["from A to B, dB"].is_monotonic_decreasing
assert found.loc[1000, "from A to B, dB"] < -5

# %% [markdown]
# The same five test images, by the networks of each n. Trained on one image, they make nothing of others. Trained on
# enough, two networks that have no training image in common give the same answer, and it is that of the truth.

# %%
answers = {f"{'AB'[which]}, n = {n}": networks[n][which](noisy[:5], sigma) for n in (1, 100, 1000) for which in (0, 1)}
gb.plot.gallery({**answers, "truth": truth(noisy[:5], sigma)})

# %% [markdown]
# **What it says.** The network passes from one known function to another. In between it is neither. What it is there,
# whether it has learnt patches, a Gaussian, or training images moved about, is what the analytic theories of
# [generalization](../commands/generalization.md) are for.
#
# ## Where to go on
#
# Networks that matter, at all noise levels, with samples and theories, on a page: `python -m gahb_bench
# generalization --family calpha:size=32`. What came out: [Generalization](../reports/generalization.md). Next:
# [samples and posteriors](samples_and_posteriors.md).
