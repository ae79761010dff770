"""Throughput of training, against a plain loop on the same device; on a processor, in bfloat16, and of one matrix."""

from typing import Any

import pytest
import torch
from ratio import interleaved

from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.settings import make_settings
from gahb_bench.training.trainer import Trainer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 128 if DEVICE == "cuda" else 4


def trainer_of(folder, family, network, device="cpu", **values):
    settings = make_settings(family, network, {"steps": 10_000, "validation_images": 2} | values)
    return Trainer(settings, TrainingFolder(folder, settings), device, 0, 1)


def plain_step(x, network):
    """float32, NCHW, an optimizer that is not fused, the loss read by the host at every step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, foreach=False)
    sigma = torch.full((len(x),), 0.1, device=x.device)

    def step():
        y = x + 0.1 * torch.randn_like(x)
        optimizer.zero_grad()
        loss = (network(y, sigma) - x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("network", ["unet:preset=paper", "edm-unet"])
def test_step_against_a_plain_loop(benchmark, tmp_path, network, compiled):
    """One step at 80 x 80: ours draws new images and noise, weights the loss, clips, and averages the weights too.

    bf16 on a GPU. Aim: 1.3 times on a CPU, 3 times on a GPU; the time is nearly all in the convolutions, which both
    loops leave to the same library.
    """
    precision = "bf16" if DEVICE == "cuda" else "float32"
    trainer = trainer_of(tmp_path, "calpha:size=80", network, DEVICE, batch=BATCH, precision=precision)
    settings = trainer.settings
    forward = torch.compile(trainer.network) if compiled else trainer.network
    rival = settings.architecture.build((1, 80, 80), *trainer.moments).to(DEVICE)
    x = settings.law.sample(range(BATCH), split="train").images.to(DEVICE)
    ours, theirs = interleaved(lambda: trainer.advance(forward).item(), plain_step(x, rival), rounds=6)
    benchmark.extra_info["times_faster_than_a_plain_loop"] = round(theirs / ours, 2)
    benchmark.pedantic(trainer.advance, args=(forward,), rounds=3)
    benchmark.extra_info["images_per_second"] = round(BATCH / benchmark.stats.stats.min, 1)
    assert theirs / ours > 0.8, "drawing, weighting, clipping and averaging cost next to nothing"


@pytest.mark.parametrize("network", ["edm-unet", "dit"])
def test_step_in_bfloat16_against_float32(benchmark, tmp_path, network):
    """One of the first two thirds of the steps at 32 x 32, batch 32, under ``precision=bf16``."""
    if not any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")):
        pytest.skip("this processor has no bf16 arithmetic (avx512_bf16 or AMX): bf16 is not faster on it")
    low, high = (trainer_of(tmp_path, "calpha:size=32", network, precision=name) for name in ("bf16", "float32"))
    ours, theirs = interleaved(lambda: low.advance(low.network), lambda: high.advance(high.network), rounds=10)
    benchmark.extra_info["times_faster_than_float32"] = round(theirs / ours, 2)
    benchmark.pedantic(low.advance, args=(low.network,), rounds=3)
    assert theirs / ours > 1.2


def test_linear_against_a_factorisation_for_each_noise_level(benchmark, tmp_path):
    """A step of `linear` at 32 x 32, batch 32: one factorisation of its matrix serves all noise levels."""
    ours, theirs = (trainer_of(tmp_path, "calpha:size=32", "linear") for _ in range(2))
    network: Any = theirs.network

    def for_each(y, sigma):
        return network.mean + (network.matrix(sigma) @ (y - network.mean).flatten(1)[:, :, None]).view_as(y)

    seconds = interleaved(lambda: ours.advance(ours.network), lambda: theirs.advance(for_each), rounds=2)
    benchmark.extra_info["times_faster_than_one_for_each"] = round(seconds[1] / seconds[0], 1)
    benchmark.pedantic(ours.advance, args=(ours.network,), rounds=3)
    assert seconds[1] / seconds[0] > 8
