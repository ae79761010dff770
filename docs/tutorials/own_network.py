# %% [markdown]
# # Your own network
#
# *You have trained a denoiser. How much of what can be learnt has it learnt, and where does it lose the rest?* A loss
# cannot say: it falls to a floor that nobody knows. Here the floor is known.
#
# ## A network
#
# Any callable `(y, sigma) -> x_hat` is a denoiser. This one is five convolutions that see the noisy image and its
# noise level, and guess the noise over sigma, as many networks do.

# %%
import torch

import gahb_bench as gb


class Net(torch.nn.Module):
    def __init__(self, dilations=(1, 1, 1, 1, 1), width=16):
        super().__init__()
        widths = [2, width, width, width, width, 1]
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(before, after, 3, padding=step, dilation=step, padding_mode="circular")
            for before, after, step in zip(widths, widths[1:], dilations, strict=False)
        )

    def noise(self, y, sigma):
        sigma = sigma.reshape(-1, 1, 1, 1)
        x = torch.cat([(y - 0.5) / (0.25 + sigma**2) ** 0.5, torch.log(sigma).expand_as(y) / 2], dim=1)
        for convolution in self.convolutions[:-1]:
            x = torch.relu(convolution(x))
        return self.convolutions[-1](x)

    def forward(self, y, sigma):
        return y - sigma.reshape(-1, 1, 1, 1) * self.noise(y, sigma)


# %% [markdown]
# It learns on images of split `train`; it will be scored on those of split `test`. `calpha` is the law of smooth
# random fields, of which the optimum is a formula.

# %%
law = gb.family("calpha:size=16")
images = law.sample(range(4000), split="train").images


def trained(net, steps=300):
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.004, total_steps=steps)
    for _ in range(steps):
        x = images[torch.randint(len(images), (32,))]
        sigma = torch.exp(torch.empty(32).uniform_(-4.6, 0.0))  # 0.01 to 1, log-uniform
        z = torch.randn_like(x)
        y = x + sigma.reshape(-1, 1, 1, 1) * z
        loss = (net.noise(y, sigma) - z).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    print(f"loss {loss.item():.3f}")
    return net


torch.manual_seed(0)
plain = trained(Net())

# %% [markdown]
# Is that good? Nobody can tell from the loss.
#
# ## Score it
#
# The network wants sigma as a tensor. That is said, not programmed; so is what it returns if that is not the clean
# image ([all that can be said](../denoisers/own-network.md#how-it-is-called)).

# %%
levels = [0.01, 0.03, 0.1, 0.3, 1.0]


def scored(**nets):
    denoisers = {name: gb.denoiser(net, sigma_as="tensor") for name, net in nets.items()}
    return gb.score(law, {"mmse": "mmse", **denoisers}, levels, images=64)


curves = gb.curves(scored(plain=plain)).query("denoiser == 'plain'")
curves[["sigma", "mse", "regret_db", "regret_db_low", "regret_db_high", "regret_kind"]]

# %% [markdown]
# **What is exact.** The kind of the regret is `direct`: what is measured is the distance to the exact posterior mean
# of the same noisy image, so the luck of the noise does not enter. **What to look for:** where the regret is, not
# only how much. Here most of it is at the highest noise level.

# %%
assert set(curves["regret_kind"]) == {"direct"}
assert curves["regret_db"].idxmax() == curves["sigma"].idxmax()

# %% [markdown]
# ## Ask why
#
# *A first guess.* The more noise, the more pixels a good estimate averages over, and five convolutions of 3 x 3 see
# 11 x 11 pixels, of images of 16 x 16. The same network with dilations has as many weights and sees the whole image.
# It should lose less at high noise.
#
# *A second guess.* The estimate is y less sigma times a guess: at high noise a small error of the guess is a large
# one of the image. The same network may guess instead what is missing from a plain shrinkage of y, as Karras et al.
# ([arXiv:2206.00364](https://arxiv.org/abs/2206.00364)) have it.


# %%
class Shrinking(Net):
    def forward(self, y, sigma):
        sigma, power = sigma.reshape(-1, 1, 1, 1), 0.2**2  # about the variance of a pixel
        kept = power / (power + sigma**2)
        return 0.5 + kept * (y - 0.5) - sigma * kept**0.5 * super().noise(y, sigma)

    def noise(self, y, sigma):
        return (y - self(y, sigma)) / sigma.reshape(-1, 1, 1, 1)


torch.manual_seed(0)
wide = trained(Net(dilations=[1, 2, 4, 2, 1]))
torch.manual_seed(0)
shrinking = trained(Shrinking())
scores = scored(plain=plain, wide=wide, shrinking=shrinking)
gb.plot.curves(scores, "regret")

# %%
regrets = gb.curves(scores).pivot(index="sigma", columns="denoiser", values="regret_db")
regrets[["plain", "wide", "shrinking"]]

# %% [markdown]
# **What it says.** The first guess is wrong: trained as long, the network that sees more is further from the optimum.
# The second is right: what is asked of the same network takes away most of its regret at the highest noise level. It
# has a price at sigma = 0.1. Nothing of that can be seen in the losses, because each noise level has a floor of its
# own, and only the law knows it.

# %%
assert regrets.loc[1.0, "wide"] > regrets.loc[1.0, "plain"] > 2 * regrets.loc[1.0, "shrinking"]
assert regrets.loc[0.1, "shrinking"] > regrets.loc[0.1, "plain"]

# %% [markdown]
# ## Keep it so
#
# In your own tests, one line holds a network to what it has reached, and names the noise level where it fails:

# %%
gb.testing.assert_near_optimal(gb.denoiser(shrinking, sigma_as="tensor"), law, [0.03, 1.0], max_regret_db=2.0)
try:
    gb.testing.assert_near_optimal(gb.denoiser(plain, sigma_as="tensor"), law, [0.03, 1.0], max_regret_db=2.0)
    raise SystemExit("this network passes: the page is wrong")
except AssertionError as error:
    print(error)

# %% [markdown]
# ## Where to go on
#
# Checkpoints, TorchScript, ONNX, networks in other units: [Bring your own network](../denoisers/own-network.md). The
# page with pictures: `python -m gahb_bench run --family calpha --denoisers defaults,mynet:net`. A gate for every
# commit: [recipe](../recipes/gate.md). Next: [the geometry of a denoiser](geometry_of_a_denoiser.md).
