"""What commands compute is the same on workers: all that goes there and comes back is sent, though not far."""

from concurrent.futures import Executor, Future
from dataclasses import replace

import pandas as pd
import pytest

import gahb_bench as gb
from gahb_bench import make, tuning
from gahb_bench.core.crew import Crew
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.workers import WorkerLostError
from gahb_bench.generalization.carry_out import carry_out
from gahb_bench.generalization.study import make_study
from gahb_bench.reporting.posterior.report import write_report
from gahb_bench.running.geometry import carry_out as geometry
from gahb_bench.running.plan import make_plan
from gahb_bench.running.posterior import carry_out as posterior
from gahb_bench.running.sampling import carry_out as sampling
from gahb_bench.running.sampling import cell as sampling_cell
from gahb_bench.scoring import sample_statistics
from gahb_bench.tables import simulate, store
from gahb_bench.training import elsewhere, plan
from gahb_bench.training.budget import Training
from gahb_bench.training.trainer import PausedError

LAW = "calpha:size=8"
SHORT = {"steps": 45, "batch": 4, "validation_images": 4, "validate_every": 30}


class Sent(Executor):
    """Does at once what it is sent; the first few of its workers are lost."""

    def __init__(self, lost=0):
        self.count, self.lost = 0, lost

    def submit(self, fn, /, *args, **kwargs):
        future, self.count = Future(), self.count + 1
        if self.count <= self.lost:
            future.set_exception(WorkerLostError("it ended"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def crew(lost=0):
    return Crew(Sent(lost), workers=lambda: 1)


def test_tune():
    law, sigmas = make.family(LAW), [0.1, 0.3, 1.0]
    method = make.tunable("gaussian-blur", law)
    here = tuning.tune(method, law, sigmas, images=3, coarse=3, precision=0.5)
    assert tuning.tune(method, law, sigmas, images=3, coarse=3, precision=0.5, crew=crew()) == here
    lost = tuning.tune(method, law, sigmas, images=3, coarse=3, precision=0.5, crew=crew(lost=5))
    assert lost.lost[0][1] == "given up after 3 attempts: it ended"
    assert set(lost.sigma) | {sigma for sigma, _ in lost.lost} == set(sigmas)
    with pytest.raises(DenoiserError, match="it ended"):
        tuning.tune(method, law, [0.1], images=3, coarse=3, crew=crew(lost=3))


def test_tune_that_is_stopped_keeps_what_it_has():
    law, stopped = make.family(LAW), Crew()

    def stop(done, total):
        stopped.stopped = done == 2

    table = tuning.tune(
        make.tunable("gaussian-blur", law), law, [0.1, 0.3, 1.0], images=2, coarse=3, crew=stopped, progress=stop
    )
    assert table.sigma == (0.1, 0.3)


def test_reference(tmp_path, monkeypatch):
    law, sigmas = gb.family("gmm:size=8"), [0.3, 1.0]
    monkeypatch.setenv("GAHB_BENCH_HOME", str(tmp_path / "here"))
    here = list(simulate.simulate(law, sigmas, 20))
    monkeypatch.setenv("GAHB_BENCH_HOME", str(tmp_path / "there"))
    told = []
    there = list(simulate.simulate(law, sigmas, 20, lambda *now: told.append(now), crew()))
    for one, other in zip(here, sorted(there, key=lambda level: -level.sigma), strict=True):
        assert one.sigma == other.sigma
        assert one.numbers == pytest.approx(other.numbers, rel=0, abs=0, nan_ok=True)
    assert told == [(20, 40), (40, 40)]
    kept = [pd.read_parquet(tmp_path / place / "tables" / "levels.parquet") for place in ("here", "there")]
    assert kept[0].equals(kept[1])
    assert not simulate.missing(simulate.simulation_of(law), sigmas, 20)
    (lost,) = simulate.simulate(law, [0.5], 20, crew=crew(lost=3))
    assert (lost.lost, lost.numbers) == ("given up after 3 attempts: it ended", {})
    assert store.read(store.own("levels"))


def test_geometry(tmp_path):
    made = make_plan([LAW, "gmm:size=8"], ["mmse", "wavelet", "tv"], [0.1, 0.3], 1)
    here = geometry.measure_all(made, tmp_path / "here", top=4)
    there = geometry.measure_all(made, tmp_path / "there", top=4, crew=crew(lost=1))
    pd.testing.assert_frame_equal(here.rows, there.rows)
    assert here.spectra.equals(there.spectra)
    assert [vars(failure) for failure in here.failures] == [vars(failure) for failure in there.failures]
    assert {failure.denoiser for failure in there.failures} == {"tv"}
    lost = geometry.measure_all(make_plan([LAW], ["mmse"], [0.1], 1), tmp_path / "lost", top=4, crew=crew(lost=3))
    assert [failure.reason for failure in lost.failures] == ["given up after 3 attempts: it ended"]


def test_geometry_that_is_stopped_writes_what_it_has(tmp_path):
    made, stopped = make_plan([LAW], ["mmse", "wavelet"], [0.1, 0.3], 1), Crew()

    def stop(done, total):
        stopped.stopped = done == 3

    part = geometry.measure_all(made, tmp_path, top=4, crew=stopped, progress=stop)
    assert (len(part.rows), part.unfinished) == (3, 1)
    whole = geometry.measure_all(made, tmp_path, top=4)
    assert (whole.resumed, whole.unfinished, len(whole.rows)) == (3, 0, 4)


def fails(y, sigma):
    raise RuntimeError("no")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(sampling_cell, "BLOCK", 4)
    monkeypatch.setattr(posterior, "BLOCK", 4)
    monkeypatch.setattr(sample_statistics, "_EXACT", 16)


def test_sample(tmp_path, small_blocks):
    made = sampling.plan_samples([LAW], ["mmse", fails, "identity"], ["euler", "langevin:steps=4"], [9], 10)
    here = sampling.sample_all(made, tmp_path / "here")
    told = []
    there = sampling.sample_all(made, tmp_path / "there", crew=crew(lost=1), progress=lambda *now: told.append(now))
    pd.testing.assert_frame_equal(there.rows, here.rows)
    pd.testing.assert_frame_equal(there.trajectories, here.trajectories)
    assert list(there.pictures) == list(here.pictures)
    assert all((there.pictures[name] == values).all() for name, values in here.pictures.items())
    assert there.failures == here.failures
    assert {each.denoiser for each in here.failures} == {"fails"}
    assert (told[0][0], told[-1][0]) == (0, told[-1][1])


def test_sample_that_loses_its_workers_or_is_stopped(tmp_path, small_blocks):
    made = sampling.plan_samples([LAW], ["mmse", "identity"], ["euler"], [3], 8)
    lost = sampling.sample_all(made, tmp_path / "lost", crew=crew(lost=100))
    said = "given up after 3 attempts: it ended"
    assert [(each.denoiser, each.reason) for each in lost.failures] == [("mmse", said), ("identity", said)]
    for number, one in enumerate((Crew(), crew())):
        folder = tmp_path / str(number)

        def stop(done, total, one=one):
            one.stopped = done >= total / 2

        part = sampling.sample_all(made, folder, crew=one, progress=stop)
        assert (len(part.rows["denoiser"].unique()), part.unfinished) == (1, 1)
        again = sampling.sample_all(made, folder)
        assert (again.unfinished, len(again.rows["denoiser"].unique())) == (0, 2)
        assert again.resumed >= 8
        one = Crew()
        one.stopped = True
        with pytest.raises(KeyboardInterrupt):
            sampling.sample_all(made, tmp_path / f"{number}-nothing", crew=one)


def test_posterior(tmp_path, small_blocks):
    made = posterior.plan_posterior(
        LAW, "mask:keep=0.5", ["diffpir:steps=2", "pnp:steps=2"], ["mmse", fails], 0.2, 3, 9
    )
    here = posterior.posterior_all(made, tmp_path / "here")
    there = posterior.posterior_all(made, tmp_path / "there", crew=crew(lost=1))
    pd.testing.assert_frame_equal(there.rows.drop(columns="seconds"), here.rows.drop(columns="seconds"))
    pd.testing.assert_frame_equal(there.images, here.images)
    assert list(there.pictures) == list(here.pictures)
    assert all((there.pictures[name] == values).all() for name, values in here.pictures.items())
    assert there.failures == here.failures
    assert {each.denoiser for each in here.failures} == {"fails"}


def test_posterior_that_loses_its_workers_or_is_stopped(tmp_path, small_blocks):
    made = posterior.plan_posterior(LAW, "mask:keep=0.5", ["pnp:steps=2"], ["mmse", "identity"], 0.2, 3, 12)
    whole = posterior.posterior_all(made, tmp_path / "whole")
    with pytest.raises(DenoiserError, match=r"the exact posterior of images \d to \d+: given up after 3 attempts: it"):
        posterior.posterior_all(made, tmp_path / "lost", crew=crew(lost=100))
    for number, (one, enough) in enumerate([(Crew(), 25), (crew(), 13)]):  # of 36; there two blocks are in flight
        folder = tmp_path / str(number)

        def stop(done, total, one=one, enough=enough):
            one.stopped = done >= enough

        part = posterior.posterior_all(made, folder, crew=one, progress=stop)
        assert set(part.rows["images"]) == {8}
        assert 0 < part.unfinished <= 12
        pd.testing.assert_frame_equal(part.images, whole.images[whole.images["image"] < 8].reset_index(drop=True))
        if number == 0:
            write_report(folder)
            assert "stopped before it was finished" in (folder / "report.html").read_text()
        again = posterior.posterior_all(made, folder)
        assert (again.unfinished, again.resumed) == (0, 36 - part.unfinished)
        pd.testing.assert_frame_equal(again.images, whole.images)
    one = Crew()
    one.stopped = True
    with pytest.raises(KeyboardInterrupt):
        posterior.posterior_all(made, tmp_path / "nothing", crew=one)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trainings = [Training(LAW, network, None, SHORT) for network in ("linear", "dncnn:depth=2,width=4")]
    assert plan.carry_out(trainings, folder) == {}
    return trainings, folder


def files(folder):
    return {name: (folder / name).read_bytes() for name in ("state.safetensors", "log.jsonl")}


def test_a_plan_of_trainings_in_parts_gives_the_same_weights(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "SECONDS", 0.0)  # every part ends where it can
    trainings, whole = trained
    told = []
    assert plan.carry_out(trainings, tmp_path, crew=crew(lost=2), progress=told.append) == {}
    for training in trainings:
        for name in ("best", "last"):
            here, there = (gb.denoiser(f"{place / training.name / name}.safetensors") for place in (whole, tmp_path))
            y = gb.add_noise(gb.family(LAW).sample(range(2)), 0.3)
            assert here(y, 0.3).equal(there(y, 0.3))
    assert [now.progress.step for now in told if now.training == trainings[0]] == [20, 30, 40, 45]
    assert plan.carry_out(trainings, tmp_path, crew=crew(lost=0)) == {}


def test_a_plan_whose_workers_are_lost_goes_on_with_the_others(trained, tmp_path):
    trainings, _ = trained
    failed = plan.carry_out(trainings, tmp_path, crew=crew(lost=5))
    assert list(failed.values()) == ["given up after 3 attempts: it ended"]
    assert plan.carry_out(trainings, tmp_path, crew=crew()) == {}


def test_a_plan_that_is_stopped_goes_on(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "SECONDS", 0.0)
    trainings, _ = trained
    for one in (Crew(), crew()):

        def stop(now, one=one):
            one.stopped = True

        with pytest.raises(PausedError):
            plan.carry_out(trainings, tmp_path, crew=one, progress=stop)
    assert plan.carry_out(trainings, tmp_path) == {}


def test_events_are_not_written_by_workers(trained, tmp_path):
    with pytest.raises(UsageError, match="--tensorboard cannot be given beside --workers"):
        plan.carry_out(trained[0], tmp_path, crew=crew(), tensorboard=True)


def test_generalization(tmp_path):
    study = make_study(LAW, "linear", [1, 3], steps=20, batch=4, images=4, samples=4, sigmas=[0.3])
    here = carry_out(study, tmp_path / "here")
    there = carry_out(study, tmp_path / "there", crew=crew(lost=1))
    pd.testing.assert_frame_equal(here, there)
    with pytest.raises(DenoiserError, match=r"n=1-train-[ab]: given up after 3 attempts: it ended"):
        carry_out(replace(study, sizes=(1,)), tmp_path / "lost", crew=crew(lost=5))
