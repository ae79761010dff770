"""What it costs to run: two workers against one process, and the engine beside what it drives."""

import time

import pandas as pd

from gahb_bench.core.crew import Crew
from gahb_bench.core.workers import Workers
from gahb_bench.reporting.report import write_report
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan


def _scores(folder):
    return pd.read_parquet(folder / "scores.parquet").drop(columns="seconds")


def test_two_workers_against_one_process(benchmark, tmp_path):
    """At most 0.6 of the time on a plan of half a minute, on 2 idle cores; the same numbers, bit for bit."""
    plan = make_plan(["calpha:size=64"], ["mmse", "nlm:h=0.8", "wavelet:rule=sure,shifts=all"], images=256)
    with Workers(2) as processes:
        crew = Crew(processes, workers=lambda: 2, threads=1)
        engine.run(make_plan(["calpha:size=8"], ["mmse"], [0.1, 0.2], 2), tmp_path / "warm", crew=crew)  # imports
        began = time.perf_counter()
        engine.run(plan, tmp_path / "one")
        alone = time.perf_counter() - began
        benchmark.pedantic(engine.run, (plan, tmp_path / "two"), {"crew": crew}, rounds=1)
    benchmark.extra_info["share_of_the_time_of_one_process"] = round(benchmark.stats.stats.min / alone, 2)
    benchmark.extra_info["seconds_of_one_process"] = round(alone, 1)
    assert _scores(tmp_path / "two").equals(_scores(tmp_path / "one"))


def test_a_default_run(benchmark, tmp_path, monkeypatch):
    """Below 10 s with its page, less than 5 % of it outside of laws, denoisers and report, on 2 idle cores."""
    spent = []

    def timed(call):
        def count(*arguments, **options):
            began = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                spent.append(time.perf_counter() - began)

        return count

    def evaluate_all(*arguments):
        """Its time is that of its generator."""
        made = made_by(*arguments)
        following = timed(lambda: next(made, None))
        while (found := following()) is not None:
            yield found

    made_by = engine.evaluate_all
    plan = make_plan(["calpha"])
    monkeypatch.setattr(engine, "evaluate_all", evaluate_all)
    monkeypatch.setattr(engine, "unit_noise", timed(engine.unit_noise))
    monkeypatch.setattr(type(plan.families[0].family), "sample", timed(type(plan.families[0].family).sample))

    def whole():
        engine.run(plan, tmp_path)
        timed(write_report)(tmp_path)

    benchmark.pedantic(whole, rounds=1)
    seconds = benchmark.stats.stats.min
    benchmark.extra_info["share_of_the_engine"] = round(1 - sum(spent) / seconds, 3)
