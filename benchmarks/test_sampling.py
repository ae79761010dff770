"""Samples: of a shipped network with their statistics and the page, on two threads; exact errors, on one."""

import resource

import torch

from gahb_bench.reporting.sampling.report import write_report
from gahb_bench.running.sampling.carry_out import plan_samples, sample_all
from gahb_bench.sampling import exact_error


def test_sample(benchmark, tmp_path):
    """256 images of 32 x 32 within 20 evaluations in under 60 s on two cores."""
    torch.set_num_threads(2)

    def run():
        planned = plan_samples(["calpha:size=32"], ["calpha-32"], ["heun"], [20], 256)
        made = sample_all(planned, tmp_path / "out")
        write_report(tmp_path / "out")
        return made

    made = benchmark.pedantic(run, rounds=1)
    assert len(made.trajectories) == 256
    assert not made.failures
    benchmark.extra_info["GiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    assert benchmark.stats.stats.min < 60


def test_exact_error(benchmark):
    """A stochastic sampler of 100 steps on a law of 64 x 64, with a run for each noise that is added."""
    found = benchmark(exact_error, "calpha", "euler-maruyama", 100)
    assert found.evaluations == 100
    assert benchmark.stats.stats.min < 5
