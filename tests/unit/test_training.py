"""Training: what each step sees, exact resume, several processes, and that it reaches the optimum."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import DenoiserError, StoreError, UsageError
from gahb_bench.networks import weights
from gahb_bench.networks.recipe import read_recipe
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan
from gahb_bench.training.batches import Batches
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import check_possible, make_settings
from gahb_bench.training.trainer import Trainer
from gahb_bench.training.validation import Measured, Validation

SMALL = "edm-unet:levels=2,width=4"


def settings(network=SMALL, family="calpha:size=8", **values):
    quick = {"steps": 30, "batch": 8, "validate_every": 10, "validation_images": 4}
    return make_settings(family, network, quick | values)


class StoppedError(Exception):
    pass


def stop_at(step):
    def progress(told):
        if told.step >= step:
            raise StoppedError

    return progress


def test_each_step_has_its_own_images_and_noise_and_any_cut_sees_the_same():
    whole = Batches(settings(), 0.25)
    parts = [Batches(settings(), 0.25, rank, 2) for rank in range(2)]
    for step in (0, 1, 5):
        together, shares = whole(step), [part(step) for part in parts]
        for name in ("x", "y", "sigma", "weight"):
            assert torch.equal(getattr(together, name), torch.cat([getattr(share, name) for share in shares]))
    first, second = whole(0), whole(1)
    noise = [(step.y - step.x) / step.sigma.reshape(-1, 1, 1, 1) for step in (first, second)]
    assert not torch.isclose(first.x, second.x).any(dim=1).all()
    assert abs(float((noise[0] * noise[1]).mean())) < 5 / np.sqrt(noise[0].numel())
    assert torch.equal(whole(0).y, first.y), "a step can be asked for again"


def test_noise_levels_fill_the_range_evenly_in_log_sigma():
    made = settings(batch=64, sigma_low=0.01, sigma_high=1.0)
    parts = np.sort(np.log(Batches(made, 0.25)(3).sigma.numpy() / 0.01) / np.log(100)) * 64
    assert (np.floor(parts + 1e-4) >= np.arange(64)).all()
    assert (parts <= np.arange(1, 65) + 1e-4).all()


def test_the_weight_is_one_over_the_optimum():
    step = Batches(settings(), 0.25)(0)
    optimum = gb.family("calpha:size=8").reference(step.sigma.double().numpy()).mse
    np.testing.assert_allclose(step.weight.numpy(), 1 / optimum, rtol=0.03)


def test_a_finite_set_is_gone_through_evenly_with_fresh_noise():
    batches = Batches(settings(images=4, batch=8), 0.25)
    images = gb.family("calpha:size=8").sample(range(4), split="train").images
    step = batches(2)
    counts = [int((step.x == image).flatten(1).all(dim=1).sum()) for image in images]
    assert counts == [2, 2, 2, 2]
    assert not torch.equal(batches(2).y - batches(2).x, batches(3).y - batches(3).x)


@pytest.mark.parametrize("images", [5, None])
def test_splits_share_no_image_no_noise_and_no_weights(images):
    made = {split: settings(images=images, split=split, batch=20) for split in ("train", "train-a", "train-b")}
    steps = {split: Batches(each, 0.25)(1) for split, each in made.items()}
    weights_of = {split: _initial_weights(each) for split, each in made.items()}
    for split, step in steps.items():
        own = gb.family("calpha:size=8").sample(range(images or 40), split=split).images
        assert all((image == own).flatten(1).all(dim=1).any() for image in step.x), "it sees its own images"
        again = Batches(made[split], 0.25)(1)
        assert torch.equal(again.y, step.y)
        assert torch.equal(_initial_weights(made[split]), weights_of[split])
    for first, second in itertools.combinations(made, 2):
        assert not (steps[first].x[:, None] == steps[second].x[None]).flatten(2).all(dim=2).any()
        assert not torch.equal(steps[first].sigma, steps[second].sigma)
        noise = [(steps[split].y - steps[split].x).flatten() for split in (first, second)]
        assert abs(float(torch.corrcoef(torch.stack(noise))[0, 1])) < 0.15
        assert abs(float(torch.corrcoef(torch.stack([weights_of[first], weights_of[second]]))[0, 1])) < 0.2


def _initial_weights(made):
    folder = TrainingFolder(Path(), made, main=False)
    trainer = Trainer(made, folder, "cpu", 0, 1)
    trainer.batches.close()
    return torch.cat([value.detach().flatten() for value in trainer.network.parameters() if value.ndim == 4])


def test_a_training_on_a_split_goes_on_bitwise_and_its_recipe_names_the_split(tmp_path):
    made = {split: settings(images=3, split=split) for split in ("train-a", "train-b")}
    whole = {split: fit(each, tmp_path / split) for split, each in made.items()}
    with pytest.raises(StoppedError):
        fit(made["train-b"], tmp_path / "cut", save_seconds=0.0, progress=stop_at(20))
    with pytest.raises(StoreError, match="split 'train-b', not 'train-a'"):
        fit(made["train-a"], tmp_path / "cut")
    resumed = weights.read_tensors(fit(made["train-b"], tmp_path / "cut"))
    a, b = (weights.read_tensors(path) for path in whole.values())
    assert all(torch.equal(resumed[key], b[key]) for key in b)
    assert not all(torch.equal(a[key], b[key]) for key in b)
    assert read_recipe(whole["train-b"])["settings"]["split"] == "train-b"


def test_a_training_from_before_there_were_splits_goes_on(tmp_path):
    whole = weights.read_tensors(fit(settings(), tmp_path / "whole"))
    old = tmp_path / "old"
    with pytest.raises(StoppedError):
        fit(settings(), old, save_seconds=0.0, progress=stop_at(20))
    for name in ("state", "best", "last"):
        path = old / f"{name}.safetensors"
        recipe = read_recipe(path)
        del recipe["settings"]["split"]
        weights.save(path, weights.read_tensors(path), recipe)
    described = json.loads((old / "training.json").read_text())
    del described["settings"]["split"]
    (old / "training.json").write_text(json.dumps(described))
    assert gb.denoiser(str(old / "best.safetensors"))(torch.zeros(1, 1, 8, 8), 0.1).shape == (1, 1, 8, 8)
    with pytest.raises(StoreError, match="split 'train', not 'train-a'"):
        fit(settings(split="train-a"), old)
    ours = weights.read_tensors(fit(settings(), old))
    assert all(torch.equal(ours[key], whole[key]) for key in whole)


def test_the_command_trains_on_a_split(tmp_path):
    command = [sys.executable, "-m", "gahb_bench", "train", "--family", "calpha:size=8", "--network", SMALL]
    command += ["--images", "3", "--steps", "2", "--split"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAHB_CHECK_TYPES": "0"}
    for split, code in (("train-b", 0), ("test", 2)):
        words = [*command, split, "--out", str(tmp_path / split)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert read_recipe(tmp_path / "train-b" / "best.safetensors")["settings"]["split"] == "train-b"
    assert "split=test is not allowed" in done.stderr
    assert not (tmp_path / "test").exists()


@pytest.mark.parametrize("split", ["val", "test", "train-c", ["train-a"]])
def test_a_split_that_is_no_training_set_is_refused(split):
    with pytest.raises(UsageError, match=r"split=.* is not allowed: it should be 'train', 'train-a' or 'train-b'"):
        settings(split=split)


def test_training_lowers_the_regret_and_the_weights_can_be_scored(tmp_path):
    lines = []
    path = fit(settings(steps=60, validate_every=20), tmp_path / "t", progress=lines.append)
    regrets = [line.measured.mean_regret_db for line in lines if line.measured is not None]
    assert len(regrets) == 3
    assert regrets[-1] < regrets[0]
    recipe = read_recipe(path)
    assert recipe["family"] == "calpha:size=8"
    assert recipe["network"] == SMALL
    assert set(recipe["environment"]["packages"]) >= {"torch", "numpy"}
    denoiser = gb.denoiser(str(path))
    assert denoiser.spec == f"network:weights={path}"
    batch = gb.family("calpha:size=8").sample(range(4), split="val")
    module, _ = weights.load(path)
    y = gb.add_noise(batch, 0.1)
    assert torch.equal(denoiser(y, 0.1), module(y, torch.full((4,), 0.1)))
    measured = Validation(settings(), "cpu")(module)
    stored = list(recipe["validation_regret_db"].values())
    np.testing.assert_allclose(measured.regret_db, stored, atol=2e-4)


def test_the_log_states_the_learning_rate_of_its_step(tmp_path):
    fit(settings(network="linear", steps=40, validate_every=10, learning_rate=0.1), tmp_path / "t")
    entries = [json.loads(line) for line in (tmp_path / "t" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries][-2:] == [30, 40]
    for entry in entries[-2:]:
        assert entry["rate"] == pytest.approx(0.05 * (1 + np.cos(np.pi * (entry["step"] - 1) / 40)), abs=1e-12)
    assert entries[-1]["rate"] > 0  # no step for nothing


@pytest.mark.parametrize("network", [SMALL, "linear"])
def test_stopped_and_resumed_is_bitwise_the_same(tmp_path, network):
    made = settings(network=network, steps=40)
    whole = fit(made, tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(made, tmp_path / "cut", save_seconds=0.0, progress=stop_at(20))
    assert json.loads((tmp_path / "cut" / "training.json").read_text())["settings"]["steps"] == 40
    resumed = fit(made, tmp_path / "cut")
    for name in ("last", "best"):
        ours, theirs = (weights.read_tensors(path.with_name(f"{name}.safetensors")) for path in (whole, resumed))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    logs = [
        [
            {**json.loads(line), "seconds": 0, "core_seconds": 0}
            for line in (path.parent / "log.jsonl").read_text().splitlines()
        ]
        for path in (whole, resumed)
    ]
    assert logs[0] == logs[1]


def test_killed_training_goes_on_bitwise_the_same(tmp_path):
    command = [sys.executable, "-m", "gahb_bench", "train", "--family", "calpha:size=8", "--network", SMALL]
    command += ["--steps", "120", "--batch", "8", "--validate-every", "40"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAHB_CHECK_TYPES": "0"}
    whole = subprocess.run([*command, "--out", tmp_path / "a"], env=environment, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen([*command, "--out", tmp_path / "b"], env=environment, stderr=subprocess.PIPE)
    while not (tmp_path / "b" / "state.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    state = read_recipe(tmp_path / "b" / "state.safetensors")
    assert state["step"] < 120, "the test must kill it before its end"
    again = subprocess.run([*command, "--out", tmp_path / "b"], env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    ours, theirs = (weights.read_tensors(tmp_path / name / "last.safetensors") for name in "ab")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_two_processes_learn_as_one(tmp_path):
    command = ["--family", "calpha:size=8", "--network", SMALL, "--steps", "40", "--batch", "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAHB_CHECK_TYPES": "0"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gahb_bench"]
    done = subprocess.run(
        [*launch, "train", *command, "--out", tmp_path / "two"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    fit(settings(steps=40, validate_every=500, validation_images=64), tmp_path / "one")
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert json.loads((tmp_path / "two" / "training.json").read_text())["environment"]["processes"] == 2


def test_another_training_is_not_overwritten(tmp_path):
    fit(settings(steps=2), tmp_path)
    kept = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(StoreError, match="steps 2, not 3"):
        fit(settings(steps=3), tmp_path)
    with pytest.raises(StoreError, match="steps 2, not 3"):
        fit(settings(steps=3), tmp_path, resume=False)
    assert (tmp_path / "last.safetensors").read_bytes() == kept


def test_training_can_start_from_weights(tmp_path):
    first = fit(settings(steps=40), tmp_path / "first")
    lines = []
    made = settings(steps=1, initial=str(first), learning_rate=1e-9)
    second = fit(made, tmp_path / "second", progress=lines.append)
    began = read_recipe(second)["initial"]
    assert began["step"] == 40
    regret = [recipe["validation_regret_db"] for recipe in (read_recipe(second), read_recipe(first))]
    np.testing.assert_allclose(list(regret[0].values()), list(regret[1].values()), atol=1e-3)
    with pytest.raises(UsageError, match="cannot start from it"):
        fit(settings(network="linear", initial=str(first)), tmp_path / "third")


def test_a_log_without_a_state_begins_anew(tmp_path):
    with pytest.raises(StoppedError):
        fit(settings(steps=60, validate_every=60), tmp_path, progress=stop_at(40))
    assert not (tmp_path / "state.safetensors").exists()
    fit(settings(steps=60, validate_every=60), tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [20, 40, 60]


def test_weights_to_start_from_that_were_changed_are_refused(tmp_path):
    first = fit(settings(steps=5), tmp_path / "first")
    made = settings(steps=20, initial=str(first))
    with pytest.raises(StoppedError):
        fit(made, tmp_path / "second", save_seconds=0.0, progress=stop_at(10))
    fit(settings(steps=6), tmp_path / "other")
    (tmp_path / "other" / "best.safetensors").replace(first)
    with pytest.raises(UsageError, match="was changed"):
        fit(made, tmp_path / "second")
    with pytest.raises(StoreError, match="initial_digest"):
        fit(settings(steps=20, initial=str(first)), tmp_path / "second")


def test_weights_that_are_not_finite_are_not_kept(tmp_path, monkeypatch):
    advance = Trainer.advance

    def spoil(self, forward):
        loss = advance(self, forward)
        if self.step == 20:
            with torch.no_grad():
                next(self.average.module.parameters()).fill_(float("nan"))
        return loss

    monkeypatch.setattr(Trainer, "advance", spoil)
    with pytest.raises(DenoiserError, match="no longer a finite number at step 20"):
        fit(settings(), tmp_path)
    tensors = weights.read_tensors(tmp_path / "best.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert read_recipe(tmp_path / "state.safetensors")["step"] == 10


def _drop(name):
    return lambda tensors, facts: ({key: value for key, value in tensors.items() if name not in key}, facts)


@pytest.mark.parametrize(
    "edit",
    [
        _drop("optimizer"),
        _drop("optimizer.0.exp_avg"),
        _drop("average"),
        lambda tensors, facts: (tensors, facts | {"step": 1000}),
        lambda tensors, facts: (tensors, facts | {"step": "x"}),
        lambda tensors, facts: (tensors, {key: value for key, value in facts.items() if key != "least_score"}),
        lambda tensors, facts: ({key: value * float("nan") for key, value in tensors.items()}, facts),
    ],
)
def test_a_state_that_does_not_fit_is_refused(tmp_path, edit):
    with pytest.raises(StoppedError):
        fit(settings(), tmp_path, save_seconds=0.0, progress=stop_at(20))
    path = tmp_path / "state.safetensors"
    weights.save(path, *edit(weights.read_tensors(path), read_recipe(path)))
    with pytest.raises(StoreError, match="begin again with --no-resume"):
        fit(settings(), tmp_path)


def test_runs_and_trainings_do_not_share_a_folder(tmp_path):
    fit(settings(steps=2), tmp_path / "training")
    with pytest.raises(StoreError, match="holds a training"):
        engine.run(make_plan(["calpha:size=8"], ["identity"], [0.1], 2), tmp_path / "training")
    engine.run(make_plan(["calpha:size=8"], ["identity"], [0.1], 2), tmp_path / "run")
    with pytest.raises(StoreError, match="holds a run"):
        fit(settings(steps=2), tmp_path / "run")


def test_a_finished_training_whose_best_weights_are_gone_says_so(tmp_path):
    fit(settings(steps=2), tmp_path).unlink()
    with pytest.raises(StoreError, match="is gone"):
        fit(settings(steps=2), tmp_path)


def test_weights_that_change_while_in_use_are_not_mixed(tmp_path):
    first, second = (fit(settings(steps=steps), tmp_path / str(steps)) for steps in (4, 5))
    live = tmp_path / "live.safetensors"
    live.write_bytes(first.read_bytes())
    denoiser = gb.denoiser(str(live))
    digest = denoiser.facts.digest
    live.write_bytes(second.read_bytes())
    batch = gb.family("calpha:size=8").sample(range(2))
    y = gb.add_noise(batch, 0.1)
    assert torch.equal(denoiser(y, 0.1), gb.denoiser(str(first))(y, 0.1))  # those that were read when it was made
    assert denoiser.facts.digest == digest
    assert gb.denoiser(str(live)).facts.digest != digest


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": 5},
        {"network": None},
        {"shape": "abc"},
        {"shape": [1, 8]},
        {"shape": [-1, 8, 8]},
        {"shape": [1.5, 8, 8]},
        {"std": 0.0},
        {"std": -1.0},
        {"mean": "x"},
        {"network": "unet:width=1000000"},
    ],
)
def test_a_recipe_that_cannot_be_is_refused(tmp_path, wrong):
    path = fit(settings(steps=1), tmp_path / "t")
    weights.save(path, weights.read_tensors(path), read_recipe(path) | wrong)
    with pytest.raises(UsageError):
        gb.denoiser(str(path))(torch.zeros(1, 1, 8, 8), 0.1)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float8_e4m3fn])
def test_tensors_of_another_kind_are_refused(tmp_path, dtype):
    path = fit(settings(steps=1), tmp_path / "t")
    tensors = {name: value.to(dtype) for name, value in weights.read_tensors(path).items()}
    weights.save(path, tensors, read_recipe(path))
    with pytest.raises(UsageError, match=r"not torch\.float32"):
        weights.load(path)


def test_begin_again(tmp_path):
    fit(settings(steps=10), tmp_path)
    before = weights.read_tensors(tmp_path / "last.safetensors")
    fit(settings(steps=10), tmp_path, resume=False)
    after = weights.read_tensors(tmp_path / "last.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    def spoilt(self, step):
        made = self._make(step)
        return replace(made, y=made.y * float("nan")) if step == 25 else made

    monkeypatch.setattr(Batches, "__call__", spoilt)
    with pytest.raises(DenoiserError, match="lower --lr"):
        fit(settings(), tmp_path)
    assert read_recipe(tmp_path / "state.safetensors")["step"] == 20, "the state from before is kept"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 0}, "steps=0 is not allowed"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"sigma_low": 1.0, "sigma_high": 0.1}, "above the highest"),
        ({"sigma_low": 0.0}, "not allowed"),
        ({"precision": "float16"}, "precision=float16 is not allowed"),
        ({"network": "unett"}, "unknown network 'unett'"),
        ({"network": "edm-unet:preset=huge"}, "unknown preset"),
        ({"network": "edm-unet:width=5"}, "multiple of 4"),
        ({"family": "calfa"}, "did you mean 'calpha'"),
    ],
)
def test_impossible_settings_are_refused(values, says):
    with pytest.raises(UsageError, match=says):
        settings(**values)


def test_what_would_fail_later_is_refused_at_once(tmp_path):
    with pytest.raises(UsageError, match="divisible by 2"):
        check_possible(settings(family="calpha:size=9"), "cpu", 1, tmp_path)
    with pytest.raises(UsageError, match="shared evenly by 3"):
        check_possible(settings(), "cpu", 3, tmp_path)
    with pytest.raises(UsageError, match="too large"):
        check_possible(settings(network="linear", family="calpha:size=128"), "cpu", 1, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_possible(settings(), "cpu", 1, tmp_path / "file")


def test_a_law_without_an_optimum_can_be_trained_on(tmp_path):
    lines = []
    fit(settings(family="calpha-contours:law=paper,size=16", steps=4), tmp_path, progress=lines.append)
    assert np.isnan(lines[-1].measured.mean_regret_db)
    assert np.isfinite(lines[-1].measured.mean_mse_db)


def test_the_best_weights_are_those_of_the_least_regret(tmp_path, monkeypatch):
    """Not of the least error, which holds the luck of the draw; of that only where there is no regret."""
    sigma, nan = np.array([0.1]), np.array([np.nan])
    regrets, errors = iter([3.0, 1.0, 2.0]), iter([0.1, 0.3, 0.2])

    def scripted(self, network):
        return Measured(sigma, np.array([next(errors)]), np.array([next(regrets)]))

    monkeypatch.setattr(Validation, "__call__", scripted)
    fit(settings(steps=3, validate_every=1), tmp_path / "a")
    assert read_recipe(tmp_path / "a" / "best.safetensors")["step"] == 2
    errors = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(Validation, "__call__", lambda *_: Measured(sigma, np.array([next(errors)]), nan))
    fit(settings(steps=3, validate_every=1), tmp_path / "b")
    assert read_recipe(tmp_path / "b" / "best.safetensors")["step"] == 2


@pytest.mark.long
@pytest.mark.slow
def test_linear_converges_to_the_wiener_filter(tmp_path):
    made = settings(network="linear", steps=3000, batch=64, learning_rate=5e-3, validate_every=3000)
    path = fit(made, tmp_path)
    law = gb.family("calpha:size=8")
    table = gb.score(law, [str(path), "mmse"], np.geomspace(10**-2.5, 10**0.5, 13), images=512)
    curve = gb.curves(table)
    regret = curve[curve["denoiser"] != "mmse"]["regret_db"]
    assert len(regret) == 13
    assert regret.max() < 0.05
    module, _ = weights.load(path)
    matrix = module.matrix(torch.tensor([0.1]))[0].double().numpy()
    fourier = np.kron(*[np.fft.fft(np.eye(8), norm="ortho")] * 2)
    gains = fourier @ matrix @ fourier.conj().T
    away = np.linalg.norm(gains - np.diag(np.diag(gains))) / np.linalg.norm(gains)
    assert away < 0.05, "the matrix is diagonal in Fourier"
    wiener = law.spectrum.ravel() / (law.spectrum.ravel() + 0.1**2)
    assert np.abs(np.diag(gains) - wiener).max() < 0.05


@pytest.mark.long
@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tmp_path):
    """In processes of their own: torch's compiler cannot trace the checks of types that tests run under."""
    command = [sys.executable, "-m", "gahb_bench", "train", "--family", "calpha:size=8", "--network", SMALL]
    command += ["--steps", "30", "--batch", "8", "--validate-every", "10"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAHB_CHECK_TYPES": "0"}
    losses = []
    for name, options in {"compiled": ["--compile"], "plain": []}.items():
        out = ["--out", tmp_path / name]
        done = subprocess.run([*command, *options, *out], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        losses.append([json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()])
    assert len(losses[0]) == 3
    np.testing.assert_allclose(*losses, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("calpha:size=8", "edm-unet:levels=2,width=8"),
        ("calpha:size=8", "dit:width=32,depth=2,patch=2"),
        ("besov:size=16", "edm-unet:levels=2,width=8"),
    ],
)
def test_bfloat16_costs_no_regret(family, network, tmp_path):
    """At every validation and every noise level, the same regret within 0.02 dB as all in float32."""
    curves = []
    for precision in ("float32", "bf16"):
        measured = []
        made = settings(
            network, family, steps=300, batch=32, validate_every=100, validation_images=64, precision=precision
        )
        fit(made, tmp_path / precision, progress=lambda told, kept=measured: kept.append(told.measured))
        curves.append([each.regret_db for each in measured if each is not None])
    assert np.shape(curves) == (2, 3, 7)
    assert not np.array_equal(*curves), "one of them was in bfloat16"
    np.testing.assert_allclose(*curves, rtol=0, atol=0.02)
